"""The conversation's items: which ones a client may add, and in what order they stand.

Rules: realtime-wire.md D2 ("wire quirks"), F ("carry-over on reconnect").
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

import msgspec

from voicepilot.emulator.checks import (
    Check,
    Json,
    WireError,
    anything,
    array,
    choice,
    invalid,
    missing,
    record,
    tagged,
    text,
    wrong_type,
)

MAX_AUDIO = 15 * 1024 * 1024  # the limit of one append, of its decoded bytes
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")


def audio_bytes(value: object, path: str) -> bytes:
    """Base64 audio, decoded."""
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(path, f"Invalid '{path}': expected base64-encoded audio bytes.") from None
    if len(data) > MAX_AUDIO:
        message = f"Invalid '{path}': audio too long. At most {MAX_AUDIO} bytes can be sent at once."
        raise WireError(message, "string_above_max_length", path)
    return data


def _checked_audio(value: object, path: str) -> object:
    audio_bytes(value, path)
    return value


def _call_id(value: object, path: str) -> str:
    call_id: str = text(32)(value, path)
    if not _CALL_ID.fullmatch(call_id):
        message = f"Invalid '{path}': string does not match pattern. Expected a string that matches '^[a-zA-Z0-9_-]+$'."
        raise invalid(path, message)
    return call_id


def _parts(*kinds: str) -> Check:
    """Content parts of these types."""
    shapes = {
        "input_text": record({"type": anything, "text": text()}, required=("text",)),
        "input_audio": record({"type": anything, "audio": _checked_audio, "transcript": anything}, required=("audio",)),
        "input_image": record({"type": anything, "image_url": _image, "detail": anything}, required=("image_url",)),
        "output_text": record({"type": anything, "text": text()}, required=("text",)),
    }
    return array(tagged("type", {kind: shapes[kind] for kind in kinds}))


def _image(value: object, path: str) -> str:
    url: str = text()(value, path)
    if not url.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")):
        raise invalid(path, f"Invalid '{path}': expected a base64-encoded data URI of a PNG or JPEG image.")
    return url


def _assistant_parts(value: object, path: str) -> object:
    # Replayed assistant speech is refused in the provider's own odd words (openai-agents-js#963).
    for index, part in enumerate(value if isinstance(value, list) else ()):
        if isinstance(part, dict) and part.get("type") == "output_audio" and "text" not in part:
            raise missing(f"{path}[{index}].text")
    return _parts("output_text")(value, path)


_COMMON = {
    "type": anything,
    "id": text(),
    "object": anything,
    "status": choice("completed", "incomplete", "in_progress"),
}
_message = tagged(
    "role",
    {
        role: record({**_COMMON, "role": anything, "content": parts}, required=("content",))
        for role, parts in {
            "system": _parts("input_text"),
            "user": _parts("input_text", "input_audio", "input_image"),
            "assistant": _assistant_parts,
        }.items()
    },
)
_item = tagged(
    "type",
    {
        "message": _message,
        "function_call": record(
            {**_COMMON, "name": text(), "call_id": _call_id, "arguments": text()}, required=("name", "arguments")
        ),
        "function_call_output": record(
            {**_COMMON, "call_id": _call_id, "output": text()}, required=("call_id", "output")
        ),
    },
)


class Entry(msgspec.Struct):
    """An item and what the wire does not always show of it."""

    item: Json
    audio: bytearray = msgspec.field(default_factory=bytearray)
    audio_ms: int = 0  # how long the assistant's speech is; truncation cannot exceed it
    heard: float = 0.0  # seconds of the user's speech
    words: str = ""  # what it says, also where the wire shows no transcript


def checked_item(value: object, path: str) -> Entry:
    """A client's item in the form the server gives it back, without `object`, its audio aside."""
    asked: Json = _item(value, path)
    item: Json = {"id": asked.get("id", ""), "type": asked["type"], "status": "completed"}
    if asked["type"] == "message":
        item["role"] = asked["role"]
        audio = b"".join(base64.b64decode(part["audio"]) for part in asked["content"] if part["type"] == "input_audio")
        item["content"] = [_shown(part) for part in asked["content"]]
        words = " ".join(part.get("text") or part.get("transcript") or "" for part in asked["content"])
        return Entry(item, bytearray(audio), words=words.strip())
    item |= {name: asked[name] for name in ("call_id", "name", "arguments", "output") if name in asked}
    return Entry(item, words=item.get("output", ""))


def _shown(part: Json) -> Json:
    if part["type"] == "input_audio":
        return {"type": "input_audio", "transcript": part.get("transcript")}
    return part


class Items:
    """The items in their order."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._by_id: dict[str, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def get(self, item_id: str) -> Entry | None:
        """The item of that id."""
        return self._by_id.get(item_id)

    @property
    def last_id(self) -> str | None:
        """The id of the last item."""
        return self._entries[-1].item["id"] if self._entries else None

    def add(self, entry: Entry, after: str | None = None) -> str | None:
        """Put an item at the end, at the front (`after="root"`) or behind another; gives the id before it."""
        index = self._index(after)
        item_id = entry.item["id"]
        if item_id in self._by_id:
            raise invalid("item.id", f"Error adding item: item with ID '{item_id}' already exists.")
        self._entries.insert(index, entry)
        self._by_id[item_id] = entry
        return self._entries[index - 1].item["id"] if index else None

    def _index(self, after: str | None) -> int:
        if after is None:
            return len(self._entries)
        if after == "root":
            return 0
        if after not in self._by_id:
            message = f"Error adding item: the previous item with id '{after}' does not exist."
            raise WireError(message, "item_create_invalid_previous_item_id", "previous_item_id")
        return self._entries.index(self._by_id[after]) + 1

    def remove(self, item_id: str) -> None:
        """Take an item out."""
        self._entries.remove(self._by_id.pop(item_id))

    def forget_audio(self, limit: int) -> None:
        """Keep the newest audio, so many bytes of it; an older item stays, without its sound."""
        for entry in reversed(self._entries):
            limit -= len(entry.audio)
            if limit < 0:
                entry.audio.clear()

    def before(self, item_id: str) -> str | None:
        """The id of the item before this one."""
        index = self._entries.index(self._by_id[item_id])
        return self._entries[index - 1].item["id"] if index else None

    def call(self, call_id: str) -> Entry | None:
        """The function call of that call id."""
        for entry in reversed(self._entries):
            if entry.item["type"] == "function_call" and entry.item.get("call_id") == call_id:
                return entry
        return None
