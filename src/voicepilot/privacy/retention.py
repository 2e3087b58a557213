"""How long each kind of data may stay once the live session no longer needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from voicepilot.errors import ConfigurationError
from voicepilot.privacy.words import DataClass

BOUNDS: Mapping[str, tuple[float, float]] = {
    "audio_seconds": (0, 3_600),
    "partial_transcript_seconds": (0, 86_400),
    "final_transcript_seconds": (0, 2_592_000),
    "diagnostics_seconds": (0, 2_592_000),
}
"""Seconds each window may have, both ends included; 2,592,000 are 30 days."""


class RetentionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Retention windows in seconds. 0 means: at once.

    Raises `ConfigurationError` naming every field that is not a number within `BOUNDS`.
    """

    audio_seconds: float = 5
    partial_transcript_seconds: float = 30
    final_transcript_seconds: float = 120
    diagnostics_seconds: float = 86_400

    def __post_init__(self) -> None:
        problems = [(name, problem) for name in BOUNDS if (problem := _problem(name, getattr(self, name)))]
        if problems:
            raise ConfigurationError("; ".join(problem for _, problem in problems), field=problems[0][0])

    def window(self, data_class: DataClass) -> float:
        """Seconds that data of this kind may stay."""
        match data_class:
            case DataClass.AUDIO:
                return self.audio_seconds
            case DataClass.PARTIAL_TRANSCRIPT:
                return self.partial_transcript_seconds
            case DataClass.FINAL_TRANSCRIPT:
                return self.final_transcript_seconds
            case DataClass.DIAGNOSTICS:
                return self.diagnostics_seconds


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The policy, since when it applies, and who set it."""

    policy: RetentionPolicy
    updated_at: float  # seconds since the epoch, on the controller's clock
    source: Literal["default", "user"]


def _problem(name: str, value: object) -> str | None:
    low, high = BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{name}: must be a number of seconds, got {type(value).__name__}"
    if not math.isfinite(value) or not low <= value <= high:
        return f"{name}: must be between {low:g} and {high:,.0f} seconds, got {value!r}"
    return None
