"""What a conversation still has to do, and when: plays that alternate effects and pauses, on one heap."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from voicepilot.emulator.effects import Effect

Play = Iterator[Effect | float]


class Agenda:
    """Plays in the order they are due. A play yields effects, and numbers where it wants to wait so many seconds."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Play]] = []
        self._order = 0

    def add(self, at: float, play: Iterable[Effect | float]) -> None:
        """Start a play at that time, after those already due then."""
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, iter(play)))

    def next_at(self) -> float | None:
        """When there is something to do."""
        return self._heap[0][0] if self._heap else None

    def clear(self) -> None:
        """Do nothing more."""
        self._heap.clear()

    def run(self, now: float, budget: int) -> Iterator[Effect]:
        """The effects due by `now`; after `budget` of them the next pause is the end, and what is left stays due.

        A play is only ever left at a pause, if need be one of 0 seconds, so what must stay together does.
        """
        while self._heap and self._heap[0][0] <= now and budget > 0:
            at, order, play = heapq.heappop(self._heap)
            for step in play:
                if isinstance(step, float | int):
                    heapq.heappush(self._heap, (at + step, order, play))
                    break
                yield step
                budget -= 1
