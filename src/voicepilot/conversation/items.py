"""The items in the order in which they stand, within a bound: beyond it the oldest turns are forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from voicepilot.conversation.item import Entry, Json

ROOM = 0.9
"""The share of the bound to which they shrink, so that they need not with every item that comes."""

REMEMBERED = 1_000
"""How many ids of forgotten items are known."""


class Items:
    """Entries by id; those that stand in the conversation have a place.

    `forget` is told of each item that goes, for whoever keeps something else of it.
    """

    def __init__(self, max_bytes: int, forget: Callable[[str], None]) -> None:
        self.order: list[str] = []
        self.forgotten: list[str] = []
        self._max_bytes = max_bytes
        self._forget = forget
        self._entries: dict[str, Entry] = {}
        self._bytes = 0

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[item_id] for item_id in self.order)

    def get(self, item_id: str) -> Entry | None:
        """The item of that id."""
        return self._entries.get(item_id)

    def learn(self, item: Json) -> Entry | None:
        """What the server says of an item, known or new; None if it does not say which."""
        item_id = item.get("id")
        if not isinstance(item_id, str) or not item_id:
            return None
        entry = self._entries.get(item_id)
        if entry is None:
            entry = self._entries[item_id] = Entry({"id": item_id})
        entry.learn(item)
        self.weigh(entry)
        return entry

    # --- places -----------------------------------------------------------------------------------------------------

    def place(self, entry: Entry, previous: str | None, *, in_front: bool) -> None:
        """Let it stand behind another. The one before it may be known to the server alone, or to us alone.

        `in_front` says whether no previous item means the front, and not the end.
        """
        if not entry.placed:
            self.place_at(entry, self._index(previous, in_front=in_front))

    def place_at(self, entry: Entry, index: int) -> None:
        """Let it stand there."""
        self.order.insert(index, entry.id)
        entry.placed = True

    def _index(self, previous: str | None, *, in_front: bool) -> int:
        if previous == "root" or (previous is None and in_front):
            return 0
        before = self._entries.get(previous) if previous else None
        if before is None or not before.placed or self.order[-1] == previous:
            return len(self.order)
        return self.order.index(before.id) + 1

    def behind_system_messages(self) -> int:
        """The place behind the system messages that stand in front."""
        return next((index for index, entry in enumerate(self) if not entry.is_systems), len(self.order))

    # --- the bound --------------------------------------------------------------------------------------------------

    def weigh(self, entry: Entry) -> None:
        """It has changed."""
        self._bytes -= entry.size
        self._bytes += entry.weigh()

    def grow(self, entry: Entry, size: int) -> None:
        """It has so many bytes more."""
        entry.size += size
        self._bytes += size
        if self._bytes > self._max_bytes:
            self.make_room()

    def make_room(self) -> None:
        """Forget what is too much."""
        if self._bytes <= self._max_bytes:
            return
        for group in self._oldest():
            if self._bytes <= self._max_bytes * ROOM:
                return
            for item_id in group:
                self.remove(item_id)
                self.forgotten.append(item_id)
                del self.forgotten[:-REMEMBERED]

    def _oldest(self) -> list[list[str]]:
        """What to forget first: the turns, then what stands nowhere, then the system messages."""
        loose = [[item_id] for item_id, entry in self._entries.items() if not entry.placed]
        system = [[entry.id] for entry in self if entry.is_systems]
        return [[item["id"] for item in turn] for turn in turns(entry.item for entry in self)] + loose + system

    def remove(self, item_id: str) -> None:
        """Lose an item."""
        entry = self._entries.pop(item_id, None)
        if entry is not None:
            self._bytes -= entry.size
            if entry.placed:
                self.order.remove(item_id)
        self._forget(item_id)

    def clear(self) -> None:
        """Lose everything."""
        self._entries.clear()
        self.order.clear()
        self.forgotten.clear()
        self._bytes = 0


def turns(items: Iterable[Json]) -> Iterator[list[Json]]:
    """The conversation without its system messages, split where the user begins to speak."""
    turn: list[Json] = []
    for item in items:
        if item.get("role") == "system":
            continue
        if item.get("role") == "user" and turn and turn[-1].get("role") != "user":
            yield turn
            turn = []
        turn.append(item)
    if turn:
        yield turn
