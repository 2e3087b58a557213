"""Where the manager meets whoever keeps what is said: nothing that goes wrong there stops a session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from voicepilot.ports import Transcripts, Turn

T = TypeVar("T")


class TranscriptLink:
    """The keeper of one manager's transcripts, if it has one."""

    def __init__(self, logger: logging.Logger) -> None:
        self.keeper: Transcripts | None = None
        self._logger = logger

    def hear(self, session_id: str, event: Mapping[str, Any]) -> None:
        """Let a server event's words be kept."""
        if self.keeper is None:
            return
        try:
            self.keeper.hear(session_id, event)
        except Exception as error:
            self._tell(session_id, error)

    def forget(self, session_id: str, utterance_id: str) -> None:
        """Let an utterance be forgotten."""
        if self.keeper is not None:
            self._guarded(session_id, partial(self.keeper.drop, session_id, utterance_id), None)

    def turns(self, session_id: str) -> tuple[Turn, ...]:
        """What was said, as far as it is kept."""
        if self.keeper is None:
            return ()
        return self._guarded(session_id, partial(self.keeper.turns, session_id), ())

    def _guarded(self, session_id: str, ask: Callable[[], T], otherwise: T) -> T:
        try:
            return ask()
        except Exception as error:
            self._tell(session_id, error)
            return otherwise

    def _tell(self, session_id: str, error: Exception) -> None:
        """Log what went wrong: its kind alone, because its text may quote what was said."""
        self._logger.error("the transcripts raised %s for session %s", type(error).__name__, session_id)
