"""Who holds which data of which session, and when it is due. Arithmetic on `now`; nothing here waits."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from voicepilot.privacy.retention import RetentionPolicy
from voicepilot.privacy.words import EVERY_SESSION, DataClass, PurgeReason

FIRST_RETRY = 1.0
"""Seconds after which a holder that failed is asked again; doubled with each failure in a row."""

LONGEST_RETRY = 300.0
"""Seconds between two tries at most."""

REMEMBERED = 10_000
"""Sessions that are known to be over; older ones are forgotten."""


class Holder(Protocol):
    """Who holds personal data, and can make it unreachable."""

    @property
    def name(self) -> str:
        """Who this is, for receipts and logs; never personal data."""
        ...

    async def purge(self, session_id: str, data_class: DataClass) -> int:
        """Make what is held of this session and kind unreachable, and say how many items that were.

        Idempotent. Raise to say that it did not work; it is asked again later. Cancelled when it takes too long.
        """
        ...


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A registration, as somebody who asks may see it. Times are seconds since the epoch."""

    session_id: str
    data_class: DataClass
    name: str
    created_at: float
    released_at: float | None  # None: the live session needs it
    due_at: float | None  # when it is purged next, or tried again
    failures: int  # in a row


class Entry:
    """One holder's data of one session and kind."""

    __slots__ = (
        "busy",
        "created_at",
        "data_class",
        "due",
        "failures",
        "generation",
        "holder",
        "lock",
        "name",
        "present",
        "reason",
        "registered_at",
        "released_at",
        "retry_at",
        "session_id",
    )

    def __init__(self, session_id: str, data_class: DataClass, name: str, holder: Holder, now: float) -> None:
        self.session_id = session_id
        self.data_class = data_class
        self.name = name
        self.holder = holder
        self.created_at = now
        self.registered_at = now  # the last time
        self.released_at: float | None = None
        self.retry_at: float | None = None
        self.due: float | None = None  # where it stands in the heap
        self.reason = PurgeReason.RETENTION_EXPIRED  # why it will be swept
        self.failures = 0
        self.generation = 0  # counts registrations, so that an old handle is known for one
        self.busy = 0  # purges that are at it or wait for it
        self.present = True
        self.lock = asyncio.Lock()  # no two purges at once

    def due_at(self, policy: RetentionPolicy) -> float | None:
        """When it must be purged; None while the live session needs it."""
        if self.retry_at is not None or self.released_at is None:
            return self.retry_at
        return self.released_at + policy.window(self.data_class)


class Ledger:
    """Every registration of one controller."""

    def __init__(self, policy: RetentionPolicy) -> None:
        self.policy = policy
        self._sessions: dict[str, dict[tuple[DataClass, str], Entry]] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._heap: list[tuple[float, int, Entry]] = []
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entries in tuple(self._sessions.values()) for entry in tuple(entries.values()))

    # --- what comes and goes ----------------------------------------------------------------------------------------

    def register(self, session_id: str, data_class: DataClass, name: str, holder: Holder, now: float) -> Entry:
        """Note that `holder` has such data. The same id again keeps its first times, so retention is not stretched."""
        entries = self._sessions.setdefault(session_id, {})
        entry = entries.get((data_class, name))
        if entry is None:
            entry = entries[data_class, name] = Entry(session_id, data_class, name, holder, now)
            self._size += 1
        entry.holder, entry.registered_at = holder, now
        entry.generation += 1
        if session_id in self._over:
            self.release(entry, now)
        return entry

    def release(self, entry: Entry, now: float) -> None:
        """The live session no longer needs it: its window begins, once."""
        if entry.present and entry.released_at is None:
            entry.released_at = now
            self._schedule(entry)

    def session_over(self, session_id: str, now: float) -> None:
        """Nothing of the session is needed any more, nor what is registered for it later."""
        self._over[session_id] = None
        self._over.move_to_end(session_id)
        if len(self._over) > REMEMBERED:
            self._over.popitem(last=False)
        for entry in self._sessions.get(session_id, {}).values():
            self.release(entry, now)

    def is_over(self, session_id: str) -> bool:
        """Whether the session was said to be over."""
        return session_id in self._over

    def remove(self, entry: Entry) -> None:
        """Forget an entry: its data is gone."""
        if not entry.present:
            return
        entry.present = False
        self._size -= 1
        entries = self._sessions[entry.session_id]
        del entries[entry.data_class, entry.name]
        if not entries:
            del self._sessions[entry.session_id]
        if len(self._heap) > 4 * self._size + 64:
            self._rebuild()

    def clear(self) -> None:
        """Forget everything."""
        for entry in self:
            entry.present = False
        self._sessions.clear()
        self._heap.clear()
        self._over.clear()
        self._size = 0

    # --- what a purge did -------------------------------------------------------------------------------------------

    def begin(self, entries: Iterable[Entry]) -> None:
        """Purges of these are under way; sweeps leave them alone."""
        for entry in entries:
            entry.busy += 1
            entry.due = None

    def cleared(self, entry: Entry, generation: int) -> None:
        """The holder purged what was registered as `generation`; what was registered meanwhile is new data."""
        if entry.generation == generation:
            self.remove(entry)
            return
        over = entry.session_id in self._over
        entry.created_at = entry.registered_at
        entry.released_at = entry.registered_at if over else None
        entry.retry_at, entry.failures, entry.reason = None, 0, PurgeReason.RETENTION_EXPIRED

    def failed(self, entry: Entry, reason: PurgeReason, now: float) -> None:
        """The holder did not do it: ask again, later each time, even if the session could still use the data."""
        entry.failures += 1
        entry.retry_at = now + min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(entry.failures - 1, 30))
        entry.reason = reason

    def end(self, entries: Iterable[Entry]) -> None:
        """The purges of these are over."""
        for entry in entries:
            entry.busy -= 1
            self._schedule(entry)

    # --- questions --------------------------------------------------------------------------------------------------

    def select(self, session_id: str, classes: frozenset[DataClass]) -> list[Entry]:
        """The entries of a session, or of every session, and of these kinds."""
        entries = self if session_id == EVERY_SESSION else tuple(self._sessions.get(session_id, {}).values())
        return [entry for entry in entries if entry.data_class in classes]

    def next_due(self) -> float | None:
        """When the soonest entry is due."""
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float, limit: int) -> list[Entry]:
        """Up to `limit` entries that are due; they leave the heap until their purge is over."""
        due: list[Entry] = []
        while len(due) < limit and (soonest := self.next_due()) is not None and soonest <= now:
            due.append(entry := heapq.heappop(self._heap)[2])
            entry.due = None
        return due

    def snapshot(self, session_id: str) -> tuple[Held, ...]:
        """The registrations of a session, or of every session."""
        return tuple(
            Held(
                session_id=entry.session_id,
                data_class=entry.data_class,
                name=entry.name,
                created_at=entry.created_at,
                released_at=entry.released_at,
                due_at=entry.due_at(self.policy),
                failures=entry.failures,
            )
            for entry in self.select(session_id, frozenset(DataClass))
        )

    # --- the policy -------------------------------------------------------------------------------------------------

    def change_policy(self, policy: RetentionPolicy, now: float) -> None:
        """Compute every window anew; what is due only because of the change says so when it is swept."""
        before, self.policy = self.policy, policy
        for entry in self:
            old, new = entry.due_at(before), entry.due_at(policy)
            if entry.retry_at is None and old is not None and new is not None and new <= now < old:
                entry.reason = PurgeReason.POLICY_UPDATE
            elif new is not None and new > now and entry.reason is PurgeReason.POLICY_UPDATE:
                entry.reason = PurgeReason.RETENTION_EXPIRED
        self._rebuild()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _schedule(self, entry: Entry) -> None:
        due = entry.due_at(self.policy)
        if due is None or due == entry.due or entry.busy or not entry.present:
            return
        entry.due = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, entry))

    def _rebuild(self) -> None:
        self._heap.clear()
        for entry in self:
            entry.due = None
            self._schedule(entry)

    @staticmethod
    def _stands(item: tuple[float, int, Entry]) -> bool:
        due, _, entry = item
        return entry.present and not entry.busy and entry.due == due
