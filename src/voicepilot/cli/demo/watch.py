"""Watches the demo from outside: every event, the keys that are handed out, what the provider refuses."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from voicepilot.cli.demo.history import ANSWERED, PROVIDER_DOWN, Held, History, Purged, Said, Seen, Terms
from voicepilot.cli.demo.transcripts import Transcripts
from voicepilot.cli.demo.words import line_of
from voicepilot.cli.screen import Line, Screen
from voicepilot.emulator import RealtimeEmulator
from voicepilot.events import Event, RenewalCompleted, RenewalStarted, SessionEnded, SessionStarted, StateChanged
from voicepilot.ports import PurgeOrder, PurgeReceipt
from voicepilot.runtime.manager import SessionManager

LOOK = 0.1
"""Seconds between two looks at the provider's record, to tell of refusals."""


class Watch:
    """What was seen so far. It is the manager's purger too: `transcripts` does it, with a count before and after."""

    def __init__(self, emulator: RealtimeEmulator, transcripts: Transcripts, screen: Screen, terms: Terms) -> None:
        self._emulator = emulator
        self._transcripts = transcripts
        self._screen = screen
        self._terms = terms
        self._manager: SessionManager | None = None
        self._news = asyncio.Event()
        self.names: dict[str, str] = {}  # by session id
        self.seen: list[Seen] = []
        self.held: list[Held] = []
        self.said: list[Said] = []
        self.purged: list[Purged] = []
        self.refused_starts: list[str] = []
        self.last_words: dict[str, str] = {}

    def attach(self, manager: SessionManager) -> None:
        """Subscribe to everything. The manager's dispose ends the subscriptions."""
        self._manager = manager
        manager.on_session_started(self._note)
        manager.on_session_ended(self._note)
        manager.on_session_renewed(self._note)
        manager.on_session_error(self._note)
        manager.on_session_state_changed(self._note)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that events bring about."""
        while not true():
            self._news.clear()
            await self._news.wait()

    def count(self, kind: str, who: str, *, since: int = 0, why: str | None = None) -> int:
        """How many events of a type about somebody were seen after the first `since` events."""
        return sum(s.type == kind and s.who == who and why in {None, s.why} for s in self.seen[since:])

    def tell(self, who: str, text: str, tone: str = "plain") -> None:
        """Show a line, stamped with the emulator's time."""
        self._screen.tell(self._emulator.now(), who, Line(text, tone))

    def heard(self, said: Said) -> None:
        """A caller's turn is over."""
        self.said.append(said)
        self._news.set()
        if said.outcome == PROVIDER_DOWN:
            self.tell(said.who, "cannot open a call while the provider is down", "dim")
        elif said.outcome != ANSWERED:
            self.tell(said.who, f"a call failed: {said.outcome}", "bad")

    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        """Let the transcripts purge, and note what they held before and after."""
        before = self._held_lines()
        receipt = await self._transcripts.purge(order)
        who = self.names.get(order.session_id, "?")
        self.purged.append(Purged(who=who, receipt=receipt, before=before, after=self._held_lines()))
        return receipt

    async def follow_provider(self) -> None:
        """Tell of every key request that the provider refuses, until cancelled."""
        told = 0
        while True:
            mints = self._emulator.record.mints()
            for status, times in Counter(mint.status for mint in mints[told:] if mint.status != 200).items():
                self.tell("provider", f"refuses {times} key request{'s' * (times > 1)} with {status}", "bad")
            told = len(mints)
            await asyncio.sleep(LOOK)

    def history(self, *, tasks_left: tuple[str, ...], sockets_left: int | None, logged: tuple[str, ...]) -> History:
        """Everything, for the checks."""
        record = self._emulator.record
        return History(
            terms=self._terms,
            seen=tuple(self.seen),
            held=tuple(self.held),
            said=tuple(self.said),
            purged=tuple(self.purged),
            refused_starts=tuple(self.refused_starts),
            mints=tuple(record.mints()),
            connections=tuple(record.connections()),
            refused=tuple(record.refusals()),
            logged=logged,
            tasks_left=tasks_left,
            sockets_left=sockets_left,
            lines_left=sum(self._transcripts.counts().values()),
        )

    def _held_lines(self) -> dict[str, int]:
        return {self.names.get(session_id, "?"): lines for session_id, lines in self._transcripts.counts().items()}

    def _note(self, event: Event) -> None:
        who = event.session.wish.labels.get("name", "?")
        self.names[event.session_id] = who
        now = self._emulator.now()
        self.seen.append(_seen(event, who, now))
        if isinstance(event, SessionStarted | RenewalCompleted):
            self._note_key(event.session_id, who, now)
        self._news.set()
        line = line_of(event)
        if line is not None:
            self.last_words[who] = line.text
            self._screen.tell(now, who, line)

    def _note_key(self, session_id: str, who: str, now: float) -> None:
        if self._manager is not None:
            value = self._manager.credential(session_id).reveal()
            self.held.append(Held(at=now, who=who, key=self._emulator.record.tag(value)))


def _seen(event: Event, who: str, at: float) -> Seen:
    match event:
        case StateChanged(previous_state=previous, new_state=new, reason=reason):
            return Seen(at=at, who=who, type=event.type, previous=previous.value, new=new.value, why=reason)
        case RenewalStarted(trigger=trigger):
            return Seen(at=at, who=who, type=event.type, why=trigger.value)
        case RenewalCompleted(result=result):
            return Seen(at=at, who=who, type=event.type, attempts=result.attempts)
        case SessionEnded(reason=reason):
            return Seen(at=at, who=who, type=event.type, why=reason)
    return Seen(at=at, who=who, type=event.type)


class Complaints(logging.Handler):
    """Collects what goes to the log at ERROR or above; lets nothing through to the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append(f"{record.name}: {record.getMessage()}")
