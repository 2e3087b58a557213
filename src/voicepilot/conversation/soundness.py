"""Which server events have what the core reads of them; an event without it is passed on and not learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _text(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda event: isinstance(event.get(name), str)


def _object(name: str, *texts: str) -> Callable[[Mapping[str, Any]], bool]:
    def check(event: Mapping[str, Any]) -> bool:
        found = event.get(name)
        return isinstance(found, dict) and all(isinstance(found.get(text), str) for text in texts)

    return check


def _place(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda event: isinstance(event.get(name), int | float) and not isinstance(event.get(name), bool)


NEEDED: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "session.created": _object("session"),
    "session.updated": _object("session"),
    "conversation.item.added": _object("item", "id"),
    "conversation.item.created": _object("item", "id"),
    "conversation.item.done": _object("item", "id"),
    "conversation.item.retrieved": _object("item", "id"),
    "conversation.item.truncated": _text("item_id"),
    "conversation.item.deleted": _text("item_id"),
    "input_audio_buffer.committed": _text("item_id"),
    "input_audio_buffer.speech_stopped": _place("audio_end_ms"),
    "input_audio_buffer.timeout_triggered": _place("audio_end_ms"),
    "response.created": _object("response", "id"),
    "response.done": _object("response"),
    "response.output_audio.delta": _text("delta"),
    "response.audio.delta": _text("delta"),
    "error": _object("error"),
}
"""What the core relies on, by type of event. Names: realtime-wire.md D2."""


def is_sound(event: Mapping[str, Any]) -> bool:
    """Whether the core may learn from `event`."""
    check = NEEDED.get(event["type"])
    return check is None or check(event)
