"""When to try again: policies as data, and `decide()`, which is pure.

Jitter is derived from the correlation id and the attempt, so a replay waits the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from voicepilot.errors import Fault, FaultDomain
from voicepilot.recovery.bounds import Bounds, check


class Backoff(StrEnum):
    """How the waits grow."""

    NONE = "none"  # one attempt
    IMMEDIATE = "immediate"  # no wait
    LINEAR = "linear"  # initial, then `step` more each time
    EXPONENTIAL = "exponential"  # initial, then `growth` times as long each time
    HYBRID = "hybrid"  # none at first, then as exponential


class Jitter(StrEnum):
    """Which part of a wait is left to chance. A jittered wait is never longer than the wait."""

    NONE = "none"
    FULL = "full"  # all of it
    EQUAL = "equal"  # half of it


GUARDRAILS = {
    "attempts": Bounds(1, 8, "attempts", whole=True),
    "initial": Bounds(0, 5, "seconds"),
    "growth": Bounds(1, 5, "times"),
    "step": Bounds(0, 5, "seconds"),
    "cap": Bounds(0, 60, "seconds"),
    "cool_down": Bounds(5, 120, "seconds"),
    "budget": Bounds(1, 120, "seconds"),
}
"""What a policy accepts, so that no setting makes a hot loop or an endless wait."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how patiently an operation is tried. Raises `ConfigurationError` outside of `GUARDRAILS`."""

    backoff: Backoff = Backoff.EXPONENTIAL
    attempts: int = 4
    """Attempts in all, the first included."""

    initial: float = 0.5
    """Seconds of the first wait that is not zero."""

    growth: float = 2.0
    """Exponential and hybrid: how many times longer each wait is than the one before."""

    step: float = 0.0
    """Linear: how many seconds longer each wait is than the one before."""

    cap: float = 8.0
    """Seconds; no wait is longer, jitter included, unless the provider asked for it."""

    budget: float = 60.0
    """Seconds that the operation may take, attempts and waits together."""

    cool_down: float = 30.0
    """Seconds; the longest break of a breaker that this operation opens."""

    jitter: Jitter = Jitter.EQUAL

    def __post_init__(self) -> None:
        check(self, GUARDRAILS)


# fmt: off
_E, _H, _L, _I = Backoff.EXPONENTIAL, Backoff.HYBRID, Backoff.LINEAR, Backoff.IMMEDIATE
_P = RetryPolicy
ENVELOPES: Mapping[FaultDomain, RetryPolicy] = {
    FaultDomain.AUTH:           _P(backoff=_E, initial=1,    growth=2,   cap=12,  attempts=5, cool_down=45, budget=75),
    FaultDomain.SESSION:        _P(backoff=_H, initial=0.5,  growth=1.8, cap=8,   attempts=4, cool_down=40, budget=70),
    FaultDomain.TRANSPORT:      _P(backoff=_E, initial=0.4,  growth=2.2, cap=9,   attempts=6, cool_down=35, budget=90),
    FaultDomain.AUDIO:          _P(backoff=_L, initial=0.25, step=0.75,  cap=4,   attempts=4, cool_down=20, budget=45),
    FaultDomain.UI:             _P(backoff=_I, initial=0,                cap=0,   attempts=2, cool_down=5,  budget=10),
    FaultDomain.COPILOT:        _P(backoff=_E, initial=0.8,  growth=1.9, cap=7.5, attempts=5, cool_down=50, budget=80),
    FaultDomain.INFRASTRUCTURE: _P(backoff=_E, initial=1.5,  growth=2.5, cap=15,  attempts=3, cool_down=60, budget=100),
}
"""What an operation of a domain gets when nothing else was said."""
# fmt: on


class Enough(StrEnum):
    """Why an operation is not tried again."""

    NOT_RETRYABLE = "not-retryable"
    ATTEMPTS = "attempts-used-up"
    BUDGET = "budget-used-up"


def decide(policy: RetryPolicy, fault: Fault, attempt: int, elapsed: float, correlation_id: str) -> float | Enough:
    """Seconds to wait after attempt `attempt` (from 1) failed with `fault`, or why that was the last.

    What the provider asked for is obeyed even above the cap; when it does not fit into the budget, nothing does.
    """
    if not fault.retryable:
        return Enough.NOT_RETRYABLE
    if attempt >= policy.attempts or policy.backoff is Backoff.NONE:
        return Enough.ATTEMPTS
    return within_budget(policy, max(delay(policy, attempt, correlation_id), fault.retry_after or 0.0), elapsed)


def within_budget(policy: RetryPolicy, wait: float, elapsed: float) -> float | Enough:
    """`wait`, if there would be time left after it."""
    return wait if elapsed + wait < policy.budget else Enough.BUDGET


def delay(policy: RetryPolicy, attempt: int, correlation_id: str) -> float:
    """Seconds that `policy` waits after attempt `attempt` (from 1), jitter included."""
    full = min(policy.cap, _grown(policy, attempt))
    match policy.jitter:
        case Jitter.NONE:
            return full
        case Jitter.FULL:
            return full * share(correlation_id, attempt)
        case Jitter.EQUAL:
            return full * (0.5 + share(correlation_id, attempt) / 2)


def _grown(policy: RetryPolicy, attempt: int) -> float:
    match policy.backoff:
        case Backoff.NONE | Backoff.IMMEDIATE:
            return 0.0
        case Backoff.LINEAR:
            return policy.initial + (attempt - 1) * policy.step
        case Backoff.EXPONENTIAL:
            return policy.initial * policy.growth ** min(attempt - 1, 64)
        case Backoff.HYBRID:
            return 0.0 if attempt == 1 else policy.initial * policy.growth ** min(attempt - 2, 64)


def share(correlation_id: str, number: int) -> float:
    """A number from 0 to 1 that looks random and is always the same for the same id and number."""
    digest = hashlib.blake2b(f"{correlation_id}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
