"""Asks several holders at once to purge, for so long and no longer, and keeps one from hurting the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from voicepilot.ports import PurgeReceipt
from voicepilot.privacy.ledger import Entry, Ledger
from voicepilot.privacy.words import PurgeReason

LIMIT = 0.4
"""Seconds the holders have together, so that a receipt is there within the 0.5 s that a purge may take."""


class Attempt:
    """One holder asked for one of its entries."""

    __slots__ = ("cleared", "entry", "problem")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.cleared = 0  # items
        self.problem: str | None = f"did not finish within {LIMIT:g} s"  # until it does

    async def run(self, ledger: Ledger) -> None:
        """Purge, behind whoever is purging the entry just now. Raises nothing of the holder's."""
        entry = self.entry
        async with entry.lock:
            if not entry.present:  # the one before us did it
                self.problem = None
                return
            generation = entry.generation
            try:
                self.cleared = _counted(await entry.holder.purge(entry.session_id, entry.data_class))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task and task.cancelling():
                    raise
                self.problem = "CancelledError"  # the holder's own affair
            except Exception as error:
                self.problem = type(error).__name__  # its message may quote what was to be purged
            else:
                self.problem = None
                ledger.cleared(entry, generation)

    @property
    def note(self) -> str | None:
        """What is left behind, by whom and why, without content; None if nothing is."""
        return f"{self.entry.name}: {self.entry.data_class.value}: {self.problem}" if self.problem else None


def _counted(count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise TypeError("a holder's purge must return how many items it purged")
    return count


class Outcome(NamedTuple):
    """What came of one attempt, as of the moment the errand settled."""

    entry: Entry
    reason: PurgeReason
    cleared: int  # items
    note: str | None  # what is left behind; None: nothing


Report = Callable[[Sequence[Outcome]], tuple[PurgeReceipt, ...]]


class Errand:
    """The attempts of one order or sweep: a task and its TaskGroup, only for as long as there is work."""

    def __init__(
        self, entries: Sequence[Entry], ledger: Ledger, *, reason: PurgeReason | None, now: Callable[[], float]
    ) -> None:
        self.settled = asyncio.Event()
        self.receipts: tuple[PurgeReceipt, ...] = ()  # once settled
        self._attempts = [Attempt(entry) for entry in entries]
        self._ledger = ledger
        self._reason = reason  # None: each entry's own, as in a sweep
        self._now = now
        ledger.begin(entries)

    async def run(self, report: Report) -> None:
        """Ask everybody and settle, after `LIMIT` at the latest; then wait for those that refuse to be cancelled."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(attempt.run(self._ledger), name="voicepilot-purge") for attempt in self._attempts
            ]
            try:
                await asyncio.wait(tasks, timeout=LIMIT)
            finally:
                for task in tasks:
                    task.cancel()
                self.settle(report)

    def settle(self, report: Report) -> None:
        """Note what was done and what was not, once."""
        if self.settled.is_set():
            return
        outcomes = [
            Outcome(attempt.entry, self._reason or attempt.entry.reason, attempt.cleared, attempt.note)
            for attempt in self._attempts
        ]
        for outcome in outcomes:
            if outcome.note is not None and outcome.entry.present:
                self._ledger.failed(outcome.entry, outcome.reason, self._now())
        self._ledger.end([attempt.entry for attempt in self._attempts])
        self.settled.set()
        self.receipts = report(outcomes)
