"""The eleven events a client may send, and the form each must have (realtime-wire.md D1)."""

from __future__ import annotations

import msgspec

from voicepilot.emulator.checks import (
    Check,
    Json,
    WireError,
    anything,
    array,
    choice,
    deep,
    invalid,
    missing,
    nullable,
    number,
    record,
    text,
    wrong_type,
)
from voicepilot.emulator.items import audio_bytes, checked_item
from voicepilot.emulator.session import GENERATION, RESPONSE_AUDIO

_event_id = text(512)
_milliseconds = number(0, 2**53, whole=True)


def _event(required: tuple[str, ...] = (), **fields: Check) -> Check:
    return record({"type": anything, "event_id": nullable(_event_id), **fields}, required)


def _input(value: object, path: str) -> object:
    if isinstance(value, dict) and value.get("type") == "item_reference":
        return record({"type": anything, "id": text()}, required=("id",))(value, path)
    return checked_item(value, path)


_response = record(
    {
        **GENERATION,
        "audio": RESPONSE_AUDIO,
        "conversation": choice("auto", "none"),
        "input": array(_input),
        "metadata": nullable(anything),
    }
)

CLIENT_EVENTS: dict[str, Check] = {
    "session.update": _event(("session",), session=anything),
    "input_audio_buffer.append": _event(("audio",), audio=audio_bytes),
    "input_audio_buffer.commit": _event(),
    "input_audio_buffer.clear": _event(),
    "output_audio_buffer.clear": _event(),
    "conversation.item.create": _event(("item",), item=checked_item, previous_item_id=nullable(text())),
    "conversation.item.retrieve": _event(("item_id",), item_id=text()),
    "conversation.item.truncate": _event(
        ("item_id", "content_index", "audio_end_ms"),
        item_id=text(),
        content_index=_milliseconds,
        audio_end_ms=_milliseconds,
    ),
    "conversation.item.delete": _event(("item_id",), item_id=text()),
    "response.create": _event(response=nullable(_response)),
    "response.cancel": _event(response_id=nullable(text())),
}


def decoded(data: str | bytes) -> Json:
    """A frame as a JSON object."""
    try:
        event = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise WireError("We could not parse the JSON of your event. Expected valid JSON.", "invalid_json") from None
    if deep(event):
        raise WireError("The JSON of your event is nested too deeply.", "invalid_json")
    if not isinstance(event, dict):
        raise wrong_type("event", "an object", event)
    return event


def checked_event(event: Json) -> Json:
    """A decoded event whose fields have been checked."""
    kind = event.get("type")
    if kind is None:
        raise missing("type")
    if not isinstance(kind, str) or kind not in CLIENT_EVENTS:
        supported = ", ".join(f"'{name}'" for name in CLIENT_EVENTS)
        shown = f"'{kind[:100]}'" if isinstance(kind, str) else "what was sent"
        raise invalid("type", f"Invalid value: {shown}. Supported values are: {supported}.")
    checked: Json = CLIENT_EVENTS[kind](event, "")
    return checked
