"""What options accept, and the errors that name a field, the problem of its value, and what would be right."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from voicepilot.errors import ConfigurationError


class Bounds(msgspec.Struct, frozen=True):
    """What a numeric field accepts, both ends included."""

    low: float
    high: float
    unit: str
    whole: bool = False
    optional: bool = False  # None is accepted, too


def check_number(name: str, value: object, bounds: Bounds) -> None:
    """Raise ConfigurationError for what is no number, or out of bounds."""
    if value is None and bounds.optional:
        return
    kinds: tuple[type, ...] = (int,) if bounds.whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool):
        kind = f"{'whole ' if bounds.whole else ''}number{' or None' if bounds.optional else ''}"
        raise ConfigurationError(f"{name}: must be a {kind}, got {value!r}", field=name)
    assert isinstance(value, int | float)  # noqa: S101 - tells the type checker what the line above established
    if not math.isfinite(value) or not bounds.low <= value <= bounds.high:
        raise ConfigurationError(
            f"{name}: must be between {bounds.low:g} and {bounds.high:.10g} {bounds.unit}, got {value!r}", field=name
        )


def check_known(what: str, changes: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise ConfigurationError for an option that there is not, with the one that may have been meant."""
    for name in changes:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {close[0]}?)" if close else f"; known are {', '.join(known)}"
            raise ConfigurationError(f"{name}: no such {what} option{hint}", field=name)
