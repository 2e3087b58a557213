"""The audio of the items that were committed, in order, for tests that ask whether every frame arrived once.

It stands apart from the record, which holds no audio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.effects import Effect, Send

MOST_HELD = 256 * 1024 * 1024  # bytes: an hour and a half of PCM16; older ones go


class Committed(NamedTuple):
    """The input buffer became an item."""

    connection: int  # as in the record
    item_id: str
    audio: bytes


class Commits:
    """What was committed, on whatever connection."""

    def __init__(self) -> None:
        self.dropped = 0
        self._kept: deque[Committed] = deque()
        self._held = 0

    def __iter__(self) -> Iterator[Committed]:
        return iter(self._kept)

    def note(self, connection: int, conversation: Conversation, effects: Iterable[Effect]) -> None:
        """Keep the audio of what these effects, just ordered by the conversation, say was committed."""
        for effect in effects:
            if isinstance(effect, Send) and effect.event["type"] == "input_audio_buffer.committed":
                item_id = effect.event["item_id"]
                self._keep(Committed(connection, item_id, conversation.audio_of(item_id)))

    def _keep(self, committed: Committed) -> None:
        self._kept.append(committed)
        self._held += len(committed.audio)
        while self._held > MOST_HELD:
            self._held -= len(self._kept.popleft().audio)
            self.dropped += 1
