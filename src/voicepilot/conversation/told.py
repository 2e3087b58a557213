"""What the mirror reads of a server event."""

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
