"""Everything the client said that the server has not confirmed, in order, so that nothing is lost with a connection.

An entry is sent at once, or waits. When a connection is lost, whatever it had not confirmed is sent again to the next
one. Audio is confirmed when it is committed: by server VAD up to `speech_stopped.audio_end_ms`, by hand up to the
commit (realtime-wire.md D2, D3).
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from voicepilot.conversation.audio import PCM, Json

APPEND = "input_audio_buffer.append"
COMMIT = "input_audio_buffer.commit"
CLEAR = "input_audio_buffer.clear"
CREATE = "conversation.item.create"
RESPOND = "response.create"
UPDATE = "session.update"
TRUNCATE = "conversation.item.truncate"
ANSWERED: Mapping[str, str] = {
    "conversation.item.truncated": "conversation.item.truncate",
    "conversation.item.deleted": "conversation.item.delete",
    "conversation.item.retrieved": "conversation.item.retrieve",
}
"""Server events that confirm the client event about the same item."""

LASTING = frozenset({APPEND, COMMIT, CLEAR, CREATE, RESPOND, UPDATE, *ANSWERED.values()})
"""What must reach the server; anything else (`response.cancel`) is about the moment, and goes with it."""

QUIET = 5.0
"""Seconds of audio kept while nobody speaks and the server listens: its padding and more (realtime-wire.md D4).

So long must the server have shown that it lives, too, since the audio was sent: one that is slow or frozen hears no
silence, it hears nothing.
"""

LEAST_COMMIT = 0.1
"""Seconds of audio that the provider wants in a turn at least."""


class Entry:
    """One client event."""

    __slots__ = ("end", "event", "kind", "link_end", "sent", "sent_at", "size", "start", "unwanted")

    def __init__(self, event: Json, start: float, end: float) -> None:
        self.event = event
        self.kind: str = event["type"]
        self.sent = False
        self.sent_at = 0.0
        self.unwanted = False  # an answer that was cancelled before it began
        self.start = start  # audio: its place in everything appended to the conversation, in seconds
        self.end = end
        self.link_end = 0.0  # audio: seconds of audio sent on its connection, up to its end
        self.size = len(event["audio"]) if self.kind == APPEND else len(msgspec.json.encode(event))


class _Piece(NamedTuple):
    """A stretch of audio: its place in everything appended, and the end of its place on the connection."""

    start: float
    end: float
    link_end: float


class Journal:
    """The entries, oldest first."""

    def __init__(self, max_audio: float, max_bytes: int) -> None:
        self.rate = PCM  # bytes of audio in a second, until the session says otherwise
        self.appended = 0.0  # seconds of audio, since the conversation began
        self.now = 0.0  # the machine's time
        self.stopped: float | None = None  # where the turn ends that is about to be committed, on the connection
        self._max_audio = max_audio
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._bytes = 0  # of events, audio in base64
        self._audio = 0.0  # seconds
        self._on_link = 0.0  # seconds of audio sent on the connection
        self._gone: list[_Piece] = []  # audio that was sent, is not committed, and was not kept

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def audio(self) -> float:
        """Seconds of audio in it."""
        return self._audio

    # --- what the client says ---------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether text may still come; audio makes room for it."""
        return self._bytes <= self._max_bytes or self._audio > 0

    def add(self, event: Json) -> Entry:
        """Take an event in, unsent."""
        seconds = _bytes_of(event["audio"]) / self.rate if event["type"] == APPEND else 0.0
        entry = Entry(event, self.appended, self.appended + seconds)
        self.appended += seconds
        self._audio += seconds
        self._bytes += entry.size
        self._entries.append(entry)
        return entry

    def mark_sent(self, entry: Entry) -> None:
        """It went out; what nobody confirms is not kept."""
        entry.sent, entry.sent_at = True, self.now
        if entry.kind == APPEND:
            self._on_link += entry.end - entry.start
            entry.link_end = self._on_link
        elif entry.kind not in LASTING:
            self._remove(entry)

    def drop(self, entry: Entry) -> None:
        """Nobody needs to be told."""
        self._remove(entry)

    def fail(self, kind: str) -> None:
        """The oldest event of this kind that was sent has failed at the server."""
        self._drop_first(kind)

    def unsent(self) -> list[Entry]:
        """What waits."""
        return [entry for entry in self._entries if not entry.sent]

    def awaits(self, kind: str) -> bool:
        """Whether an event of this kind was sent and is not confirmed."""
        return any(entry.sent and entry.kind == kind for entry in self._entries)

    def awaits_answer(self) -> bool:
        """Whether something but audio was sent and is not confirmed."""
        return any(entry.sent and entry.kind != APPEND for entry in self._entries)

    def has_sent_audio(self) -> bool:
        """Whether the server may have audio that it has not committed."""
        return bool(self._gone) or any(entry.sent and entry.kind == APPEND for entry in self._entries)

    # --- what the server confirms -----------------------------------------------------------------------------------

    def confirm(self, event: Mapping[str, Any]) -> Entry | None:
        """Drop what a server event confirms. Commits are told to `committed`."""
        match event["type"]:
            case "conversation.item.added" | "conversation.item.created":
                return self._drop_item(CREATE, event["item"]["id"])
            case "response.created":
                return self._drop_first(RESPOND)
            case "session.updated":
                return self._drop_first(UPDATE)
            case "input_audio_buffer.cleared":
                self._cleared()
            case "error":
                return self._drop_refused(event["error"].get("event_id"))
            case kind if kind in ANSWERED:
                return self._drop_item(ANSWERED[kind], event["item_id"] if "item_id" in event else event["item"]["id"])
        return None

    def committed(self) -> list[str]:
        """A turn was committed: its audio, in base64, is the server's from now on."""
        if self.stopped is not None:
            taken, self.stopped = self._take_until(self.stopped), None
            return taken
        commit = next((entry for entry in self._entries if entry.kind == COMMIT and entry.sent), None)
        if commit is None:  # nobody here asked for it: the other side of a call did
            return self._take_until(self._on_link)
        taken = [entry.event["audio"] for entry in self._before(commit) if entry.kind == APPEND]
        for entry in self._before(commit):
            if entry.kind in {APPEND, CLEAR}:
                self._remove(entry)
        self._settle_gone(commit)
        self._remove(commit)
        return taken

    def _settle_gone(self, last: Entry) -> None:
        """What was not kept of the audio before `last` is the server's, or nobody's."""
        self._gone = [piece for piece in self._gone if piece.start >= last.start]

    def _take_until(self, place: float) -> list[str]:
        """The audio sent up to `place`, in seconds of this connection; an entry across it is cut in two."""
        taken = []
        self._gone = [_after(piece, place) for piece in self._gone if piece.link_end > place + 1e-6]
        for entry in list(self._entries):
            if entry.kind != APPEND or not entry.sent or entry.link_end - (entry.end - entry.start) >= place - 1e-6:
                continue
            if entry.link_end <= place + 1e-6:
                taken.append(entry.event["audio"])
                self._remove(entry)
            else:
                taken.append(self._cut(entry, entry.end - (entry.link_end - place)))
        return taken

    def _cut(self, entry: Entry, at: float) -> str:
        data = base64.b64decode(entry.event["audio"])
        size = round((at - entry.start) * self.rate / 2) * 2  # whole samples
        head, tail = base64.b64encode(data[:size]).decode(), base64.b64encode(data[size:]).decode()
        self._audio -= at - entry.start
        self._bytes += len(tail) - entry.size
        entry.event, entry.start, entry.size = {**entry.event, "audio": tail}, at, len(tail)
        return head

    def _cleared(self) -> None:
        clear = next((entry for entry in self._entries if entry.kind == CLEAR and entry.sent), None)
        if clear is None:
            return
        for entry in self._before(clear):
            if entry.kind == APPEND:
                self._remove(entry)
        self._settle_gone(clear)
        self._remove(clear)

    def _before(self, last: Entry) -> list[Entry]:
        entries = list(self._entries)
        return entries[: entries.index(last)]

    def _drop_item(self, kind: str, item_id: str) -> Entry | None:
        for entry in self._entries:
            if entry.kind == kind and entry.sent:
                about = entry.event["item"]["id"] if kind == CREATE else entry.event["item_id"]
                if about == item_id:
                    return self._remove(entry)
        return None

    def _drop_first(self, kind: str) -> Entry | None:
        entry = next((entry for entry in self._entries if entry.kind == kind and entry.sent), None)
        return self._remove(entry) if entry else None

    def _drop_refused(self, event_id: object) -> Entry | None:
        if event_id is None:
            return None
        entry = next((entry for entry in self._entries if entry.event.get("event_id") == event_id), None)
        return self._remove(entry) if entry else None

    def _remove(self, entry: Entry) -> Entry:
        self._entries.remove(entry)
        self._audio -= entry.end - entry.start
        self._bytes -= entry.size
        return entry

    # --- connections ------------------------------------------------------------------------------------------------

    def cancel_answers(self) -> int:
        """The client wants none of the answers that it asked for; gives how many had not been asked for yet."""
        waiting = [entry for entry in self._entries if entry.kind == RESPOND and not entry.sent]
        for entry in waiting:
            self._remove(entry)
        for entry in self._entries:
            entry.unwanted = entry.kind == RESPOND
        return len(waiting)

    def start_over(self) -> None:
        """Another connection begins: whatever is not confirmed is to be sent again, in order."""
        for entry in [entry for entry in self._entries if entry.unwanted]:
            self._remove(entry)
        self._on_link, self.stopped = 0.0, None
        for entry in self._entries:
            entry.sent = False

    def unsend_audio(self) -> None:
        """The server was told to forget the audio it had not committed."""
        for entry in self._entries:
            if entry.kind == APPEND:
                entry.sent = False

    @property
    def forgotten(self) -> float:
        """Seconds of audio that were sent, are not committed, and were not kept."""
        return sum(piece.end - piece.start for piece in self._gone)

    def lose_forgotten(self) -> list[tuple[float, float]]:
        """The connection that had it is gone, or was told to forget it: these pieces are lost."""
        lost, self._gone = [(piece.start, piece.end) for piece in self._gone], []
        return lost

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._gone.clear()
        self._audio, self._bytes = 0.0, 0

    # --- bounds -----------------------------------------------------------------------------------------------------

    def trim(self, *, silent_until: float | None = None) -> list[tuple[float, float]]:
        """Make room: the oldest audio goes. Gives the pieces, in seconds, that had not been sent and are lost.

        Where the server listens for speech and heard none in what was sent before `silent_until`, only a few seconds
        of that are kept.
        """
        lost: list[tuple[float, float]] = []
        if silent_until is not None:
            self._forget_silence(silent_until - QUIET)
        while self._audio > self._max_audio + 1e-6 or self._bytes > self._max_bytes:
            oldest = next((entry for entry in self._entries if entry.kind == APPEND), None)
            if oldest is None:
                break
            self._remove(oldest)
            if oldest.sent:
                self._forget(oldest)
            else:
                lost.append((oldest.start, oldest.end))
                self._drop_empty_commit()
        return lost

    def _forget(self, entry: Entry) -> None:
        last = self._gone[-1] if self._gone else None
        if last is not None and last.end == entry.start:
            self._gone[-1] = _Piece(last.start, entry.end, entry.link_end)
        else:
            self._gone.append(_Piece(entry.start, entry.end, entry.link_end))

    def _drop_empty_commit(self) -> None:
        """The server would refuse to commit what is left of a turn, if it is next to nothing."""
        left = self.forgotten
        for entry in self._entries:
            if entry.kind == COMMIT and not entry.sent and left < LEAST_COMMIT:
                self._remove(entry)
            if entry.kind in {COMMIT, CLEAR}:
                return
            left += entry.end - entry.start

    def _forget_silence(self, before: float) -> None:
        while self._entries and self._entries[0].kind == APPEND and self._entries[0].sent:
            oldest = self._entries[0]
            if self._on_link - oldest.link_end <= QUIET or oldest.sent_at > before:
                return
            self._remove(oldest)


def _bytes_of(audio: str) -> int:
    return len(audio) * 3 // 4 - audio[-2:].count("=")


def _after(piece: _Piece, place: float) -> _Piece:
    """What of it lies behind that place on the connection."""
    return piece._replace(start=max(piece.start, piece.end - (piece.link_end - place)))
