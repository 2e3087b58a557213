"""Everything that happened, in order, for tests to ask about.

No secret gets in: credentials appear as a tag made with a salt of this emulator's own, strings that look like keys
are replaced wherever they stand in a frame, and audio by its length.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import deque
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from voicepilot.emulator.checks import Json

KEPT = 20_000  # entries; older ones go
MOST_HELD = 32 * 1024 * 1024  # bytes of their frames, as JSON
LONGEST = 4_000  # characters of one string in a recorded frame
_SECRETS = re.compile(r"\b(?:ek_|sk-|sk_)[A-Za-z0-9_-]{6,}|\bBearer\s+\S+")
_SECRET_FIELDS = frozenset({"authorization", "api-key", "api_key"})


class Mint(msgspec.Struct, frozen=True, kw_only=True, tag="mint", tag_field="kind"):
    """A request for a key, and how it was answered."""

    at: float
    status: int | None  # None where there was no answer: hang or reset
    credential: str | None  # the tag of what the client authenticated with
    key: str | None = None  # the tag of the key that was made
    model: str | None = None
    asked: float | None = None  # seconds of life asked for
    expires_at: int | None = None  # as on the wire
    valid_until: float | None = None  # the moment from which the key is refused
    session: str | None = None  # the placeholder id in the answer
    safety_identifier: str | None = None
    provider: str = "openai"
    fault: str | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", tag_field="kind"):
    """A socket that was not opened, or any other request that was turned away."""

    at: float
    path: str
    status: int | None
    credential: str | None
    code: str | None = None


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened", tag_field="kind"):
    """A socket was opened."""

    at: float
    connection: int
    credential: str | None  # the tag of the key or API key it was opened with
    session: str
    model: str
    provider: str = "openai"
    call: str | None = None  # the call it is a sideband of


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag="closed", tag_field="kind"):
    """A socket was closed; code 1006 where no close frame went either way."""

    at: float
    connection: int
    code: int
    reason: str
    by: Literal["client", "server"]


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag="frame", tag_field="kind"):
    """An event on a socket; `out` is from the server."""

    at: float
    connection: int
    direction: Literal["in", "out"]
    type: str
    event: Json


class CallMade(msgspec.Struct, frozen=True, kw_only=True, tag="call", tag_field="kind"):
    """A WebRTC call was made or hung up."""

    at: float
    call: str
    action: Literal["created", "hangup"]
    credential: str | None
    session: str | None = None


Entry = Mint | Refused | Opened | Closed | Frame | CallMade


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A socket's whole life."""

    opened: Opened
    closed: Closed | None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One response: what went before it and what it said."""

    connection: int
    response: str
    status: str
    user: str | None  # the last text or transcript of the user, where one was on the wire
    text: str
    calls: tuple[tuple[str, str], ...] = ()  # name and arguments of the functions called


class Record:
    """The list of what happened; `add` is the emulator's, the rest is for tests."""

    def __init__(self) -> None:
        self.dropped = 0
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._held = 0
        self._salt = secrets.token_bytes(16)

    def tag(self, secret: str) -> str:
        """How a credential appears here; ask with the key you hold to find it."""
        return f"key-{hashlib.sha256(self._salt + secret.encode('utf-8', 'replace')).hexdigest()[:10]}"

    def add(self, entry: Entry) -> None:
        """Something happened."""
        size = len(msgspec.json.encode(entry.event)) if isinstance(entry, Frame) else 0
        self._entries.append(entry)
        self._sizes.append(size)
        self._held += size
        while len(self._entries) > KEPT or self._held > MOST_HELD:
            self._entries.popleft()
            self._held -= self._sizes.popleft()
            self.dropped += 1

    def frame(self, at: float, connection: int, direction: Literal["in", "out"], event: Json) -> None:
        """An event passed a socket."""
        shown: Json = self._clean(event)
        kind = str(shown.get("type", "?"))
        self.add(Frame(at=at, connection=connection, direction=direction, type=kind, event=shown))

    def entries(self) -> list[Entry]:
        """Everything that is kept."""
        return list(self._entries)

    def clear(self) -> None:
        """Forget what happened so far."""
        self._entries.clear()
        self._sizes.clear()
        self._held = self.dropped = 0

    def mints(self) -> list[Mint]:
        """The requests for keys."""
        return [entry for entry in self.entries() if isinstance(entry, Mint)]

    def refusals(self) -> list[Refused]:
        """What was turned away, mints apart."""
        return [entry for entry in self.entries() if isinstance(entry, Refused)]

    def calls(self) -> list[CallMade]:
        """The WebRTC calls."""
        return [entry for entry in self.entries() if isinstance(entry, CallMade)]

    def frames(self, kind: str | None = None, *, direction: Literal["in", "out"] | None = None) -> list[Frame]:
        """The events on sockets, of one type or direction if asked."""
        return [
            entry
            for entry in self.entries()
            if isinstance(entry, Frame) and kind in {None, entry.type} and direction in {None, entry.direction}
        ]

    def connections(self) -> list[Connection]:
        """The sockets, in the order they were opened."""
        entries = self.entries()
        closed = {entry.connection: entry for entry in entries if isinstance(entry, Closed)}
        return [
            Connection(opened=entry, closed=closed.get(entry.connection))
            for entry in entries
            if isinstance(entry, Opened)
        ]

    def turns(self) -> list[Turn]:
        """The responses that are done."""
        return turns_of(self.frames())

    def _clean(self, value: Any) -> Any:
        match value:
            case str():
                return self._clean_text(value)
            case list():
                return [self._clean(element) for element in value]
            case dict():
                return {name: self._clean_field(name, element) for name, element in value.items()}
            case _:
                return value

    def _clean_field(self, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return self._clean(value)
        if name.lower() in _SECRET_FIELDS:
            return self.tag(value)
        if name == "audio" or (name == "delta" and len(value) > 200):
            return f"<{len(value) * 3 // 4} bytes>"
        return self._clean_text(value)

    def _clean_text(self, text: str) -> str:
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}…"
        return _SECRETS.sub(lambda found: self.tag(found.group()), text)


def turns_of(frames: Iterable[Frame]) -> list[Turn]:
    """The turns in a list of frames."""
    said: dict[int, str] = {}
    turns = []
    for frame in frames:
        if frame.direction == "out":
            if words := _user_words(frame.event):
                said[frame.connection] = words
            if frame.type == "response.done":
                turns.append(_turn(frame, said.get(frame.connection)))
    return turns


def _user_words(event: Json) -> str | None:
    if event["type"].endswith("input_audio_transcription.completed"):
        return str(event["transcript"])
    item = event.get("item", {})
    if event["type"] != "conversation.item.added" or item.get("role") != "user":
        return None
    return "".join(part.get("text") or "" for part in item["content"]) or None


def _turn(frame: Frame, user: str | None) -> Turn:
    response = frame.event["response"]
    parts = [part for item in response["output"] for part in item.get("content", ())]
    calls = [(item["name"], item["arguments"]) for item in response["output"] if item["type"] == "function_call"]
    return Turn(
        connection=frame.connection,
        response=response["id"],
        status=response["status"],
        user=user,
        text="".join(part.get("text") or part.get("transcript") or "" for part in parts),
        calls=tuple(calls),
    )
