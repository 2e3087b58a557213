"""What the mirror reads of a server event, and of the audio settings in it."""

from __future__ import annotations

import msgspec

from voicepilot.conversation.item import Json


class Told(msgspec.Struct, frozen=True):
    """The fields of all the events that say something of an item (realtime-wire.md D2)."""

    type: str
    item_id: str = ""
    response_id: str | None = None
    previous_item_id: str | None = None
    content_index: int = 0
    item: Json = {}
    response: Json = {}
    session: Json = {}
    transcript: str | None = None
    text: str | None = None
    arguments: str | None = None
    audio_end_ms: float = 0


def audio_settings(settings: Json, side: str) -> Json:
    """The settings of `input` or `output` audio: nested, or flat as in the preview (realtime-wire.md A1, A3)."""
    if "audio" not in settings:
        flat = f"{side}_audio_"
        return {name: settings.get(flat + name) for name in ("format", "transcription")}
    nested = settings["audio"]
    found = nested.get(side) if isinstance(nested, dict) else None
    return found if isinstance(found, dict) else {}


def form_of(settings: Json) -> str:
    """The name of an audio format."""
    found = settings.get("format")
    return str(found.get("type", "") if isinstance(found, dict) else found or "")


def rate_of(settings: Json) -> int:
    """Bytes in a millisecond: PCM of 16 bits at 24 kHz, or G.711 at 8 kHz (realtime-wire.md D4)."""
    return 8 if any(name in form_of(settings) for name in ("pcmu", "pcma", "g711")) else 48
