"""TranscriptStore: what was said in each session, in memory, redacted before it is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from voicepilot.clock import SystemClock
from voicepilot.errors import ConfigurationError
from voicepilot.ports import Clock, Role, Turn
from voicepilot.privacy.handles import Registration
from voicepilot.privacy.ledger import Holder
from voicepilot.privacy.redact import Redactor, withheld
from voicepilot.privacy.words import DataClass

TRANSCRIPTS = (DataClass.PARTIAL_TRANSCRIPT, DataClass.FINAL_TRANSCRIPT)

MAX_TURNS = 1_000
MAX_BYTES = 1_048_576


@runtime_checkable
class Registrar(Protocol):
    """With whom what is held gets registered. `PrivacyController` is the real one."""

    def register(self, session_id: str, data_class: DataClass, holder: Holder) -> Registration:
        """Note that `holder` has such data."""
        ...

    def may_hold(self, session_id: str) -> bool:
        """Whether data of this session may still be kept."""
        ...


FINISHED: Mapping[str, tuple[Role, str]] = {
    "conversation.item.input_audio_transcription.completed": ("user", "transcript"),
    "response.output_audio_transcript.done": ("assistant", "transcript"),
    "response.output_text.done": ("assistant", "text"),
}
"""The server events that finish an utterance: who spoke, and which field has the words."""


ITEM_EVENTS = frozenset({"conversation.item.added", "conversation.item.done", "conversation.item.created"})
"""The server events that tell of an item of the conversation; the last is the preview's."""


class _Transcript:
    """One session's turns, oldest first, and its registrations."""

    __slots__ = ("bytes", "counts", "dropped", "registered", "sequence", "turns")

    def __init__(self) -> None:
        self.turns: dict[str, Turn] = {}
        self.registered: dict[DataClass, Registration] = {}
        self.counts: Counter[DataClass] = Counter()
        self.bytes = 0
        self.dropped = 0
        self.sequence = 0

    def put(self, turn: Turn) -> None:
        """Keep a turn, in the place of the one it repeats."""
        self._count(self.turns.get(turn.utterance_id), -1)
        self._count(turn, 1)
        self.turns[turn.utterance_id] = turn

    def remove(self, utterance_id: str) -> None:
        """Forget a turn."""
        self._count(self.turns.pop(utterance_id, None), -1)

    def _count(self, turn: Turn | None, by: int) -> None:
        if turn is not None:
            self.bytes += by * _size(turn.text)
            self.counts[_class_of(turn)] += by


class TranscriptStore:
    """Holds transcripts for a `PrivacyController`, per session, each bounded and purged by itself.

    At most `max_turns` (1 to 100,000) turns and `max_bytes` (1,000 to 100,000,000; UTF-8, redacted) of text are kept
    of each session; beyond that the oldest turns go, and are counted. Nothing is written anywhere else.
    """

    name = "transcripts"

    def __init__(
        self,
        registrar: Registrar,
        *,
        redactor: Redactor | None = None,
        clock: Clock | None = None,
        max_turns: int = MAX_TURNS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        _check_bound("max_turns", max_turns, 1, 100_000)
        _check_bound("max_bytes", max_bytes, 1_000, 100_000_000)
        self._registrar = registrar
        self._redactor = redactor or Redactor()
        self._clock = clock or SystemClock()
        self._max_turns = max_turns
        self._max_bytes = max_bytes
        self._sessions: dict[str, _Transcript] = {}

    # --- what is said -----------------------------------------------------------------------------------------------

    def put_partial(self, session_id: str, role: Role, text: str, utterance_id: str) -> Turn | None:
        """Keep what is known so far of an utterance: all of it, not the addition, which redaction could not judge.

        Replaces what was kept of it; changes nothing once it is final. None: nothing was kept, see `append_final`.
        """
        kept = self._sessions.get(session_id)
        known = kept.turns.get(utterance_id) if kept else None
        if known is not None and known.is_final:
            return known
        return self._put(session_id, role, text, utterance_id, is_final=False)

    def append_final(self, session_id: str, role: Role, text: str, utterance_id: str | None = None) -> Turn | None:
        """Keep a finished utterance, in the place of what was kept under the same id.

        None: nothing was kept, because the session is over or the controller is not there to purge it.
        """
        return self._put(session_id, role, text, utterance_id, is_final=True)

    def hear(self, session_id: str, event: Mapping[str, Any]) -> Turn | None:
        """Keep the words that a Realtime server event finishes, or forget a deleted item; other events are nothing.

        Typed text is finished when its item is in the conversation, and kept the first time it is heard of.

        Additions are not kept: to judge one, what came before would have to be held as it was said. Names are those of
        openai-python `types/realtime/realtime_server_event.py`. None: nothing was kept.
        """
        kind, item_id = str(event.get("type")), event.get("item_id")
        if kind in ITEM_EVENTS:
            return self._hear_item(session_id, event.get("item"))
        if not isinstance(item_id, str):
            return None
        if kind == "conversation.item.deleted":
            self.drop(session_id, item_id)
        if kind not in FINISHED:
            return None
        role, field = FINISHED[kind]
        return self.append_final(session_id, role, str(event.get(field) or ""), item_id)

    def _hear_item(self, session_id: str, item: object) -> Turn | None:
        """Keep what the user typed. A replay on another connection tells of it again."""
        if not isinstance(item, Mapping) or item.get("role") != "user" or not isinstance(item.get("id"), str):
            return None
        kept, typed = self._sessions.get(session_id), _typed(item.get("content"))
        if not typed or (kept is not None and item["id"] in kept.turns):
            return None
        return self.append_final(session_id, "user", typed, item["id"])

    def drop(self, session_id: str, utterance_id: str) -> None:
        """Forget an utterance, such as one that was interrupted or undone."""
        kept = self._sessions.get(session_id)
        if kept is not None:
            kept.remove(utterance_id)
            self._tidy(session_id, kept)

    # --- questions --------------------------------------------------------------------------------------------------

    def turns(self, session_id: str) -> tuple[Turn, ...]:
        """What is kept of a session, in the order in which the utterances began."""
        kept = self._sessions.get(session_id)
        return tuple(kept.turns.values()) if kept else ()

    def dropped(self, session_id: str) -> int:
        """How many turns had to go because there was no room."""
        kept = self._sessions.get(session_id)
        return kept.dropped if kept else 0

    def __len__(self) -> int:
        return len(self._sessions)

    # --- purging ----------------------------------------------------------------------------------------------------

    async def purge(self, session_id: str, data_class: DataClass) -> int:
        """Forget the session's partial or final turns, and say how many. Part of the `Holder` protocol."""
        kept = self._sessions.get(session_id)
        if kept is None:
            return 0
        gone = [turn.utterance_id for turn in kept.turns.values() if _class_of(turn) is data_class]
        for utterance_id in gone:
            kept.remove(utterance_id)
        self._tidy(session_id, kept)
        return len(gone)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _put(self, session_id: str, role: Role, text: str, utterance_id: str | None, *, is_final: bool) -> Turn | None:
        if role not in {"user", "assistant"}:
            raise ConfigurationError("role: must be user or assistant", field="role")
        if not self._registrar.may_hold(session_id):
            return None
        redaction = self._redactor.redact(text)
        if _size(redaction.text) > self._max_bytes:
            redaction = withheld(text)
        kept = self._sessions.setdefault(session_id, _Transcript())
        known = kept.turns.get(utterance_id) if utterance_id is not None else None
        kept.sequence += known is None
        sequence = known.sequence if known else kept.sequence
        turn = Turn(
            utterance_id=f"turn-{sequence}" if utterance_id is None else utterance_id,
            sequence=sequence,
            role=role,
            text=redaction.text,
            is_final=is_final,
            at=self._clock.now(),
            redactions=len(redaction.found),
        )
        kept.put(turn)
        self._make_room(kept, turn)
        self._tidy(session_id, kept)
        return turn

    def _make_room(self, kept: _Transcript, newest: Turn) -> None:
        while len(kept.turns) > self._max_turns or kept.bytes > self._max_bytes:
            oldest = next(id_ for id_ in kept.turns if id_ != newest.utterance_id)
            kept.remove(oldest)
            kept.dropped += 1

    def _tidy(self, session_id: str, kept: _Transcript) -> None:
        """Be registered for exactly what is held."""
        for data_class in TRANSCRIPTS:
            if kept.counts[data_class] and data_class not in kept.registered:
                kept.registered[data_class] = self._registrar.register(session_id, data_class, self)
            elif not kept.counts[data_class] and data_class in kept.registered:
                kept.registered.pop(data_class).dispose()
        if not kept.turns:
            self._sessions.pop(session_id, None)


def _typed(content: object) -> str:
    """The text of an item that was typed."""
    parts = content if isinstance(content, list | tuple) else ()
    said = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "input_text"]
    return "\n".join(text for text in said if isinstance(text, str))


def _class_of(turn: Turn) -> DataClass:
    return DataClass.FINAL_TRANSCRIPT if turn.is_final else DataClass.PARTIAL_TRANSCRIPT


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _check_bound(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(f"{name}: must be a whole number between {low:,} and {high:,}", field=name)
