"""What a response cost, as the provider counts it (`response.usage`, realtime-wire.md D2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voicepilot.ports import Usage


def usage_of(response: Mapping[str, Any]) -> Usage:
    """The tokens of a response that is done; nothing where the provider does not say."""
    usage = _dict(response.get("usage"))
    read, made = _dict(usage.get("input_token_details")), _dict(usage.get("output_token_details"))
    return Usage(
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        input_text_tokens=_count(read, "text_tokens"),
        input_audio_tokens=_count(read, "audio_tokens"),
        input_image_tokens=_count(read, "image_tokens"),
        input_cached_tokens=_count(read, "cached_tokens"),
        output_text_tokens=_count(made, "text_tokens"),
        output_audio_tokens=_count(made, "audio_tokens"),
    )


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0
