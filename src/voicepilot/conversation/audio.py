"""What a session's options say of its audio: nested, or flat as in Azure's preview (realtime-wire.md A1, A3, D4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Json = dict[str, Any]

Side = Literal["input", "output"]

FLAT: Mapping[Side, Mapping[str, str]] = {
    "input": {
        "format": "input_audio_format",
        "transcription": "input_audio_transcription",
        "turn_detection": "turn_detection",
    },
    "output": {"format": "output_audio_format"},
}
"""What the preview calls the options that are nested under `audio` elsewhere."""

PCM = 48_000
"""Bytes in a second of 16 bits at 24 kHz, which is the format where none is named."""

G711 = 8_000


def audio_of(session: Json, side: Side) -> Json:
    """The options of what is heard or said, under their nested names."""
    if "audio" not in session:
        return {name: session.get(flat) for name, flat in FLAT[side].items()}
    nested = session["audio"]
    found = nested.get(side) if isinstance(nested, dict) else None
    return found if isinstance(found, dict) else {}


def form_of(audio: Json) -> str:
    """The name of its format; empty where there is none."""
    found = audio.get("format")
    return str(found.get("type", "") if isinstance(found, dict) else found or "")


def rate_of(audio: Json) -> int:
    """Bytes in a second of it."""
    if any(name in form_of(audio) for name in ("pcmu", "pcma", "g711")):
        return G711
    found = audio.get("format")
    rate = found.get("rate") if isinstance(found, dict) else None
    return 2 * rate if isinstance(rate, int) and rate > 0 else PCM
