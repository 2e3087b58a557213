"""Watches the demo from outside: every event, host call and receipt, the keys that are handed out, refusals."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from voicepilot.cli.demo.history import (
    ANSWERED,
    PROVIDER_DOWN,
    Held,
    History,
    LongCall,
    Notice,
    Planned,
    Purged,
    Said,
    Seen,
    Shown,
    Terms,
)
from voicepilot.cli.demo.transcripts import Transcripts
from voicepilot.cli.demo.words import circuit_line, line_of, plan_line
from voicepilot.cli.screen import Line, Screen
from voicepilot.emulator import RealtimeEmulator
from voicepilot.events import (
    DegradedChanged,
    Event,
    RenewalCompleted,
    RenewalStarted,
    SessionEnded,
    SessionStarted,
    StateChanged,
)
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import Trigger
from voicepilot.ports import PurgeReceipt
from voicepilot.privacy import PrivacyController, Turn
from voicepilot.recovery import (
    AttemptFailed,
    CircuitMoved,
    ErrorReported,
    OperationOver,
    RecoveryExecutor,
    Result,
)
from voicepilot.runtime.manager import SessionManager

EVERYBODY = "everybody"
"""Who a purge of all sessions is about; there should be nothing left for it to do."""

AT_A_KEY = frozenset({"start", "renew", "test_authentication"})
"""The operations whose attempts are requests for keys."""

DIALS = Line("the next connection needs a key that no other was opened with", "dim")

LOOK = 0.1
"""Seconds between two looks at the provider's record, to tell of refusals."""


class Watch:
    """What was seen so far. It is the host, too: what a host is told to show is seen here."""

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
        self.shown: list[Shown] = []
        self.planned: list[Planned] = []
        self.notices: list[Notice] = []
        self.attempts = self.abandoned = 0
        self.texts: list[str] = []
        self.refused_starts: list[str] = []
        self.last_words: dict[str, str] = {}
        self.call: LongCall | None = None

    def attach(self, manager: SessionManager, executor: RecoveryExecutor, controller: PrivacyController) -> None:
        """Subscribe to everything. The manager's dispose ends the subscriptions to it."""
        self._manager = manager
        manager.on_session_started(self._note)
        manager.on_session_ended(self._note)
        manager.on_session_renewed(self._note)
        manager.on_session_error(self._note)
        manager.on_session_state_changed(self._note)
        manager.on_session_degraded(self._note)
        executor.subscribe(OperationOver, self._note_operation)
        executor.subscribe(AttemptFailed, self._note_attempt)
        executor.subscribe(ErrorReported, self._note_report)
        executor.subscribe(CircuitMoved, lambda moved: self._say("provider", circuit_line(moved)))
        controller.on_purged(self._note_purge)

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

    def stored(self, who: str, turn: Turn) -> None:
        """A line was kept; where something was taken out of it, show how."""
        if turn.redactions:
            self.tell(who, f'said what is not for keeping; stored is: "{turn.text}"', "good")

    def set_context(self, key: str, value: object) -> None:
        """The host is told something to show. Implements `ports.Host`."""
        now = self._emulator.now()
        self.shown.append(Shown(at=now, key=key, value=value))
        self._screen.tell(now, "host", Line(f"{key} = {value}", "chapter"))

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
            shown=tuple(self.shown),
            planned=tuple(self.planned),
            notices=tuple(self.notices),
            attempts=self.attempts,
            abandoned=self.abandoned,
            stored=(*(turn.text for turn in self._transcripts.redacted), *self.texts),
            heard=tuple(str(frame.event) for frame in record.frames("conversation.item.create", direction="in")),
            refused_starts=tuple(self.refused_starts),
            mints=tuple(record.mints()),
            connections=tuple(record.connections()),
            refused=tuple(record.refusals()),
            logged=logged,
            tasks_left=tasks_left,
            sockets_left=sockets_left,
            call=self.call,
            turns=tuple(record.turns()),
            frames=tuple(record.frames()),
            lines_left=sum(self._transcripts.held(self.names).values()),
        )

    def _note_purge(self, receipt: PurgeReceipt) -> None:
        kept, held = self._transcripts.kept, self._transcripts.held(self.names)
        purged = Purged(
            who=self.names.get(receipt.session_id, EVERYBODY),
            receipt=receipt,
            kept={name: kept[session_id] for session_id, name in self.names.items()},
            held={name: held[session_id] for session_id, name in self.names.items()},
        )
        self.purged.append(purged)

    def _note_attempt(self, failed: AttemptFailed) -> None:
        self.attempts += failed.context.operation in AT_A_KEY

    def _note_operation(self, over: OperationOver) -> None:
        context = over.context
        if context.operation in AT_A_KEY:
            self.attempts += over.result is Result.SUCCEEDED
            self.abandoned += over.result is Result.CANCELLED
        if over.recovery is None or context.operation != "renew":
            return
        who, did = self.names.get(context.session_id or "", "?"), over.recovery
        self.planned.append(
            Planned(at=self._emulator.now(), who=who, tried=did.tried, step=did.step, fallback=did.fallback)
        )
        self._say(who, plan_line(did))
        self._news.set()

    def _note_report(self, report: ErrorReported) -> None:
        context = report.context
        if context.operation in AT_A_KEY:
            who, code = self.names.get(context.session_id or "", "?"), report.fault.code
            self.notices.append(Notice(at=self._emulator.now(), who=who, code=code, told=report.notify))

    def _note(self, event: Event) -> None:
        who = event.session.wish.labels.get("name", "?")
        self.names[event.session_id] = who
        now = self._emulator.now()
        self.seen.append(_seen(event, who, now))
        if isinstance(event, StateChanged) and event.new_state is Phase.ENDING:
            self.texts += self._transcripts.texts(event.session_id)
        if isinstance(event, SessionStarted | RenewalCompleted):
            self._note_key(event.session_id, who, now)
        self._news.set()
        line = self._line_of(event, who)
        if line is not None:
            self._say(who, line)

    def _line_of(self, event: Event, who: str) -> Line | None:
        if who == self._terms.long_caller:  # who tells of her connection herself
            if isinstance(event, DegradedChanged) or event.type == "connection-error":
                return None
            if isinstance(event, RenewalStarted) and event.trigger is Trigger.CONNECTION:
                return DIALS
        return line_of(event)

    def _say(self, who: str, line: Line) -> None:
        self.last_words[who] = line.text
        self._screen.tell(self._emulator.now(), who, line)

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
        case DegradedChanged(degraded=degraded):
            return Seen(at=at, who=who, type=event.type, degraded=degraded)
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
