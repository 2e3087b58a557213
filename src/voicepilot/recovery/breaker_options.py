"""When a circuit breaker opens, and for how long: what may be chosen, and the bounds of each choice."""

from __future__ import annotations

import msgspec

from voicepilot.recovery.bounds import Bounds, check

BOUNDS = {
    "failure_ratio": Bounds(0.01, 1, "of all attempts"),
    "minimum_throughput": Bounds(2, 1_000_000, "attempts", whole=True),
    "sampling": Bounds(0.5, 86_400, "seconds"),
    "failures_in_a_row": Bounds(1, 1_000_000, "attempts", whole=True, optional=True),
    "slow_after": Bounds(0.01, 600, "seconds", optional=True),
    "first_break": Bounds(0.5, 86_400, "seconds"),
    "growth": Bounds(1, 10, "times"),
    "urgent_break": Bounds(0.1, 86_400, "seconds", optional=True),
    "probes": Bounds(1, 100, "attempts", whole=True),
}


class BreakerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens and for how long. Raises `ConfigurationError` naming the field that cannot be used."""

    failure_ratio: float = 0.5
    """Open when this share of the attempts in the window failed, given `minimum_throughput`."""

    minimum_throughput: int = 10
    """Attempts that the window must hold before the ratio means anything."""

    sampling: float = 30.0
    """Seconds that the window is long."""

    failures_in_a_row: int | None = 5
    """Open after so many failures without a success between them, whatever the window holds. None: never."""

    slow_after: float | None = 5.0
    """Seconds after which an attempt counts as failed, however it ends. None: slow is fine."""

    first_break: float = 5.0
    """Seconds that the circuit stays open at first; every failed probe multiplies them by `growth`."""

    growth: float = 2.0
    """How much longer each further break is. The cool-down of the operation's policy is the longest."""

    urgent_break: float | None = 1.0
    """Seconds of a break after which whoever cannot wait for its end may probe. None: never. Where the endpoint had
    been asked too much (429), all wait for the end."""

    probes: int = 1
    """Attempts let through when half-open. So many must succeed to close the circuit; one failure opens it again."""

    def __post_init__(self) -> None:
        check(self, BOUNDS)
