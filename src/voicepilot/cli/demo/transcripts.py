"""What is said in the demo, in a real TranscriptStore, and counted on the way in: the purges are checked against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from voicepilot.ports import Role
from voicepilot.privacy import TranscriptStore, Turn


class Transcripts:
    """Keeps each session's lines, also for managed connections. Of what was redacted it remembers how it is stored."""

    def __init__(self, store: TranscriptStore) -> None:
        self._store = store
        self.kept: Counter[str] = Counter()  # how many lines were ever kept, by session id
        self.redacted: list[Turn] = []

    def add(self, session_id: str, role: Role, text: str) -> Turn | None:
        """Keep a line of the session's conversation; None when the session is over."""
        turn = self._store.append_final(session_id, role, text)
        if turn is not None:
            self.kept[session_id] += 1
            if turn.redactions:
                self.redacted.append(turn)
        return turn

    def hear(self, session_id: str, event: Mapping[str, Any]) -> Turn | None:
        """Keep what a server event finishes. Implements `ports.Transcripts`, with the next two."""
        with self._counted(session_id):
            return self._store.hear(session_id, event)

    def drop(self, session_id: str, utterance_id: str) -> None:
        """Forget an utterance: it was never finished, and will be said again."""
        with self._counted(session_id):
            self._store.drop(session_id, utterance_id)

    def turns(self, session_id: str) -> tuple[Turn, ...]:
        """What is held of a session."""
        return self._store.turns(session_id)

    @contextmanager
    def _counted(self, session_id: str) -> Iterator[None]:
        before = len(self._store.turns(session_id))
        yield
        self.kept[session_id] += len(self._store.turns(session_id)) - before

    def held(self, session_ids: Iterable[str]) -> dict[str, int]:
        """How many lines of each session are held now."""
        return {session_id: len(self._store.turns(session_id)) for session_id in session_ids}

    def texts(self, session_id: str) -> tuple[str, ...]:
        """What is held of a session, as it is stored."""
        return tuple(turn.text for turn in self._store.turns(session_id))
