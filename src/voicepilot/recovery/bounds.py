"""What options accept, as data, and one way to refuse the rest by name."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from voicepilot.errors import ConfigurationError


class Bounds(msgspec.Struct, frozen=True):
    """What a numeric field accepts, both ends included."""

    low: float
    high: float
    unit: str
    whole: bool = False
    optional: bool = False


def check(options: msgspec.Struct, bounds: Mapping[str, Bounds]) -> None:
    """Raise `ConfigurationError` naming the first field of `options` that is out of its bounds."""
    for name, bound in bounds.items():
        problem = _problem(getattr(options, name), bound)
        if problem:
            raise ConfigurationError(f"{type(options).__name__}.{name}: {problem}", field=name)


def _problem(value: object, bound: Bounds) -> str | None:
    if value is None and bound.optional:
        return None
    kinds: tuple[type, ...] = (int,) if bound.whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool):
        return f"must be a {'whole ' if bound.whole else ''}number, got {value!r}"
    assert isinstance(value, int | float)  # noqa: S101 - tells the type checker what the line above established
    if math.isfinite(value) and bound.low <= value <= bound.high:
        return None
    return f"must be between {bound.low:g} and {bound.high:g} {bound.unit}, got {value!r}"
