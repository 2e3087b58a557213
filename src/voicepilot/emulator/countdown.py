"""Faults that befall a session once it has sent so many more events."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from voicepilot.emulator.effects import Close, Drop, Effect, Freeze, Send
from voicepilot.emulator.faults import Fault

Misfortune = Callable[[Fault], Iterable[Effect]]


class Countdown:
    """Counts the events of a session; `misfortune` gives what a fault does."""

    def __init__(self, misfortune: Misfortune) -> None:
        self._misfortune = misfortune
        self._left: list[tuple[int, Fault]] = []

    def add(self, fault: Fault, events: int) -> None:
        """Let it happen after so many more events; after none, the next is already lost."""
        self._left.append((events, fault))

    def applied(self, effects: list[Effect]) -> list[Effect]:
        """These effects with what befalls them; nothing comes after an end."""
        if not self._left:
            return effects
        given: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send):
                given += self._struck(0)  # a fault after no event at all: this one is too late
            given.append(effect)
            if isinstance(effect, Send):
                given += self._struck(1)
        return _until_the_end(given)

    def _struck(self, events: int) -> list[Effect]:
        """What happens now that so many more events were sent."""
        due = [fault for left, fault in self._left if left <= events]
        self._left = [(left - events, fault) for left, fault in self._left if left > events]
        return [effect for fault in due for effect in self._misfortune(fault)]


def _until_the_end(effects: list[Effect]) -> list[Effect]:
    for index, effect in enumerate(effects):
        if isinstance(effect, Close | Drop | Freeze):
            return effects[: index + 1]
    return effects
