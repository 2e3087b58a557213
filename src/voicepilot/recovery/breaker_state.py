"""What a circuit breaker knows, what is told to it, and what it answers."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from voicepilot.recovery.breaker_options import BreakerOptions


class Circuit(StrEnum):
    """Whether attempts are let through."""

    CLOSED = "closed"  # all
    OPEN = "open"  # none
    HALF_OPEN = "half-open"  # `probes`, whose results decide, and who cannot wait for those
    WARMING = "warming"  # ever more at a time while all goes well: the endpoint had been asked too much


class Permit(msgspec.Struct, frozen=True):
    """An attempt was let through; bring this back with its result."""

    era: int  # which stretch between two moves of the circuit it belongs to; a result of another era is late
    at: float
    cool_down: float


class Refusal(msgspec.Struct, frozen=True):
    """An attempt was not let through."""

    retry_in: float  # seconds
    cause: str | None  # the code of the fault that opened the circuit


Verdict = Permit | Refusal | None


class Asked(msgspec.Struct, frozen=True):
    """Somebody wants to make an attempt."""

    cool_down: float = math.inf  # seconds; the longest break this operation's policy wants
    patience: float = math.inf  # seconds that can be waited for the end of a break without losing something


class Worked(msgspec.Struct, frozen=True):
    """The endpoint did its part."""

    permit: Permit


class Broke(msgspec.Struct, frozen=True):
    """The endpoint failed."""

    permit: Permit
    code: str | None = None
    crowded: bool = False  # it was asked too much, so all who wait must not come back at once


class Left(msgspec.Struct, frozen=True):
    """The attempt was abandoned, or failed in a way that says nothing about the endpoint."""

    permit: Permit


Given = Asked | Worked | Broke | Left


class Slice(msgspec.Struct, frozen=True):
    """What happened in one part of the window."""

    began_at: float
    good: int = 0
    bad: int = 0


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one endpoint. Frozen, so whoever reads it holds a copy."""

    options: BreakerOptions = BreakerOptions()
    circuit: Circuit = Circuit.CLOSED
    era: int = 0
    slices: tuple[Slice, ...] = ()
    in_a_row: int = 0  # failures since the last success
    breaks: int = 0  # since the circuit was last closed
    open_since: float = 0.0  # or since the latest probe failed, where that was before the end of the break
    open_until: float = 0.0
    probing: tuple[Permit, ...] = ()
    probed_at: float = 0.0  # when the latest probe began
    passed: int = 0  # probes that succeeded
    crowded: bool = False  # the endpoint was asked too much since the last success
    warm_since: float = 0.0
    cause: str | None = None
