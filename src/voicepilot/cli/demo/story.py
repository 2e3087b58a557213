"""The story of the demo: what is done to three sessions, each chapter waiting for what the last one caused."""

from __future__ import annotations

import asyncio
from itertools import chain, count, cycle
from typing import Any

from voicepilot.cli.demo.call import ASKING, CRASHING, GREETING, LAST, OPTIONS, LongCaller
from voicepilot.cli.demo.callers import LINES, MODEL, AiohttpClient, Caller, OpenAIClient
from voicepilot.cli.demo.history import Terms
from voicepilot.cli.demo.transcripts import Transcripts
from voicepilot.cli.demo.watch import Watch
from voicepilot.cli.demo.words import health_lines
from voicepilot.cli.screen import Row, sentence
from voicepilot.emulator import RealtimeEmulator
from voicepilot.errors import SessionLimitError
from voicepilot.lifecycle.session import SessionInfo
from voicepilot.ports import PurgeOrder
from voicepilot.privacy import PrivacyController
from voicepilot.runtime.manager import SessionManager

KEY_LIFE = 20
MARGIN = 10

TERMS = Terms(
    sessions=("anna", "ben", "cleo"),
    limit=3,
    automatic_renewals=3,
    retry_after=3.0,
    outage=5.0,
    renewed_by_hand="ben",
    silent="cleo",
    inactivity=12.0,
    plan_step="TEST_AUTHENTICATION",
    fallback="degraded-features",
    careless="ben",
    card="4111 1111 1111 1111",
    forgotten="ben",
    long_caller="emma",
    connection_life=7.0,
    handovers=2,
)

CARD_LINE = f"My card is {TERMS.card}, please keep it to yourself."

SESSION: dict[str, Any] = {
    "renewal_margin_seconds": MARGIN,
    "key_life_seconds": KEY_LIFE,
    "inactivity_timeout_minutes": TERMS.inactivity / 60,
    "heartbeat_interval_seconds": 5,
    "max_retry_attempts": 2,
    "retry_backoff_ms": 500,
}
"""Short lives and few attempts, so that an outage of seconds makes a whole round fail."""


class Story:
    """The plot. `play()` it inside a task group that is its own."""

    def __init__(
        self,
        emulator: RealtimeEmulator,
        manager: SessionManager,
        watch: Watch,
        transcripts: Transcripts,
        controller: PrivacyController,
        *,
        openai: bool,
    ) -> None:
        self._emulator = emulator
        self._manager = manager
        self._watch = watch
        self._transcripts = transcripts
        self._controller = controller
        self._openai = openai
        self._ids: dict[str, str] = {}
        self._callers: dict[str, Caller] = {}
        self._talks: dict[str, asyncio.Task[None]] = {}
        self._shown: dict[str, Row] = {}

    async def play(self) -> None:
        """All of it."""
        async with asyncio.TaskGroup() as talking:
            for who in TERMS.sessions:
                await self._start(who, talking)
            await self._refuse_a_fourth()
            await self._first_renewals()
            await self._rate_limit()
            await self._renew_by_hand()
            await self._forget()
            await self._outage()
            await self._fall_silent()
            await self._hold_a_long_call()
            await self._silence()
        await self._end()

    # --- chapters ---------------------------------------------------------------------------------------------------

    async def _start(self, who: str, talking: asyncio.TaskGroup) -> None:
        started = await self._manager.start_session(model=MODEL, labels={"name": who})
        self._ids[who] = started.session_id
        self._callers[who] = caller = self._caller(who, started.session_id)
        self._talks[who] = talking.create_task(caller.talk(), name=f"demo-caller-{who}")
        # The next session starts after the first answer, so that the three do not renew in step.
        await self._watch.until(lambda: any(said.who == who for said in self._watch.said))
        self._tell(who, f"the first turn went through, with the {caller.client.name} client on this session's key")

    async def _refuse_a_fourth(self) -> None:
        try:
            await self._manager.start_session(labels={"name": "dora"})
        except SessionLimitError as error:
            self._watch.refused_starts.append(error.code)
            self._tell("dora", f"refused: {sentence(error.message)} {error.remediation}", "good")
        else:
            self._watch.refused_starts.append("NOT_REFUSED")

    async def _first_renewals(self) -> None:
        self._chapter(f"Keys live {KEY_LIFE} s here and are renewed {MARGIN} s before they lapse")
        await self._all_renewed(since=0)

    async def _rate_limit(self) -> None:
        wait = TERMS.retry_after
        self._chapter(f"The provider will answer the next key request with 429 and Retry-After: {wait:g}")
        since = len(self._watch.seen)
        self._emulator.faults.fail_mints(429, retry_after=wait)
        await self._all_renewed(since=since)

    async def _renew_by_hand(self) -> None:
        who = TERMS.renewed_by_hand
        self._chapter(f"{who.capitalize()} is renewed by hand")
        await self._manager.renew_session(self._ids[who])

    async def _forget(self) -> None:
        who = TERMS.forgotten
        self._chapter(f"{who.capitalize()} wants forgotten what was said so far, and talks on")
        turns = len(self._watch.said)
        # Right after an answer the caller is quiet for a while, so that what is held can be counted.
        await self._watch.until(lambda: any(said.who == who for said in self._watch.said[turns:]))
        order = PurgeOrder(session_id=self._ids[who], reason="consent-withdrawn", target="transcripts")
        receipt = await self._controller.purge(order)
        self._tell(
            who,
            f"receipt: {receipt.cleared} lines purged, {receipt.failed} left, in {receipt.duration * 1000:.0f} ms "
            f"({receipt.reason}, {receipt.target})",
            "good" if receipt.complete else "bad",
        )

    async def _outage(self) -> None:
        self._chapter(f"The provider will be down for {TERMS.outage:g} s, from the next renewal on")
        since = len(self._watch.seen)
        await self._watch.until(lambda: any(seen.type == "renewal-started" for seen in self._watch.seen[since:]))
        self._emulator.faults.outage(seconds=TERMS.outage)
        self._tell("provider", "is down", "bad")
        await self._watch.until(lambda: bool(self._watch.planned))
        await self._show_health(self._watch.planned[0].who)
        await self._all_renewed(since=since)
        self._tell("provider", "is back, and every session has its next key", "good")

    async def _show_health(self, who: str) -> None:
        diagnostics = self._manager.get_session_diagnostics(self._ids[who])
        health = await self._manager.test_session_health(self._ids[who])
        waits = diagnostics.next_event
        self._tell(who, "health and diagnostics at this moment:", "chapter")
        self._tell(
            "",
            f"{diagnostics.state.value}{', degraded' if diagnostics.degraded else ''}; "
            f"key {diagnostics.credential_status.value} for {diagnostics.key_seconds_left or 0:.0f} s; "
            f"next: {f'{waits.kind} in {waits.remaining:.1f} s' if waits else 'nothing'}; "
            f"last error: {diagnostics.last_error.code if diagnostics.last_error else 'none'}",
        )
        for line in health_lines(health):
            self._tell("", line.text, line.tone)

    async def _fall_silent(self) -> None:
        who = TERMS.silent
        self._chapter(f"{who.capitalize()} goes silent, which ends a session after {TERMS.inactivity:g} s here")
        self._callers[who].hush()

    async def _hold_a_long_call(self) -> None:
        who, life = TERMS.long_caller, TERMS.connection_life
        # Nobody else may have a connection open when hers is to crash.
        self._chapter(f"Meanwhile the others say goodbye, and {who.capitalize()} calls")
        for other in TERMS.sessions:
            if other != TERMS.silent:
                await self._say_goodbye(other)
        session = await self._manager.start_session(model=MODEL, labels={"name": who})
        self._ids[who] = session.session_id
        self._tell("--", f"It is one conversation, but the provider cuts a connection after {life:g} s", "chapter")
        began = self._emulator.now()
        async with self._manager.connect(session.session_id, **OPTIONS) as conversation:
            caller = LongCaller(who, conversation, self._hear_of)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(caller.listen(), name="demo-long-caller")
                await self._talk_across(caller)
                await conversation.close()
        turns = self._transcripts.turns(session.session_id)
        said = tuple((turn.role, turn.text) for turn in turns)
        self._watch.call = caller.told_of(lasted=self._emulator.now() - began, transcript=said)

    async def _say_goodbye(self, who: str) -> None:
        self._callers[who].hush()
        await self._talks[who]
        await self._manager.end_session(self._ids[who], reason="goodbye")

    async def _talk_across(self, caller: LongCaller) -> None:
        """Two handovers, between answers; and a crash, in the middle of one."""
        await caller.say(GREETING)
        await caller.say(ASKING)
        dishes = count(1)
        while caller.handovers < TERMS.handovers and not caller.lost:
            await caller.say(f"I also wish for dish number {next(dishes)}.")
        await caller.say("And candles.")
        self._chapter(f"{TERMS.long_caller.capitalize()}'s connection is to crash in the middle of an answer")
        self._emulator.faults.add(f"live:drop:after_events={CRASHING}")
        await caller.say("Please say all of that again, slowly, so that I can write it down.")
        await caller.say(LAST)
        self._tell(TERMS.long_caller, f"asked what was said first, hears: {caller.said[-1][1]}", "good")

    async def _silence(self) -> None:
        who = TERMS.silent
        await self._watch.until(lambda: bool(self._watch.count("session-ended", who)))

    async def _end(self) -> None:
        who = TERMS.long_caller
        self._chapter(f"{who.capitalize()} says goodbye")
        await self._manager.end_session(self._ids[who], reason="goodbye")

    # --- parts ------------------------------------------------------------------------------------------------------

    def _caller(self, who: str, session_id: str) -> Caller:
        official = self._openai and who == TERMS.sessions[0]
        client = (
            OpenAIClient(self._manager.credential_provider(session_id), self._emulator.base_url)
            if official
            else AiohttpClient(self._manager, session_id)
        )
        return Caller(
            who,
            session_id,
            client,
            manager=self._manager,
            transcripts=self._transcripts,
            now=self._emulator.now,
            heard=self._watch.heard,
            stored=self._watch.stored,
            lines=chain(LINES[:1], [CARD_LINE], cycle(LINES)) if who == TERMS.careless else LINES,
        )

    async def _all_renewed(self, *, since: int) -> None:
        await self._watch.until(
            lambda: all(self._watch.count("renewal-completed", who, since=since) for who in TERMS.sessions)
        )

    def _tell(self, who: str, text: str, tone: str = "plain") -> None:
        self._watch.tell(who, text, tone)

    def _hear_of(self, who: str, text: str, tone: str) -> None:
        self._watch.last_words[who] = text
        self._tell(who, text, tone)

    def _chapter(self, text: str) -> None:
        self._watch.tell("--", text, "chapter")

    # --- the live table ---------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """The sessions as they are now; those that are over as they were."""
        if not self._manager.is_initialized:
            return list(self._shown.values())
        for who in TERMS.everybody:
            session = self._manager.get_session_info(self._ids[who]) if who in self._ids else None
            if session is not None:
                self._shown[who] = self._row(who, session)
            elif who in self._shown:
                over = self._watch.last_words.get(who, "")
                self._shown[who] = self._shown[who]._replace(phase="ended", left=None, next_event="", last=over)
        return list(self._shown.values())

    def _row(self, who: str, session: SessionInfo) -> Row:
        diagnostics = self._manager.get_session_diagnostics(session.session_id)
        waits = diagnostics.next_event
        return Row(
            who=who,
            phase=session.state.value,
            left=diagnostics.key_seconds_left,
            life=KEY_LIFE,
            next_event=f"{waits.kind} in {waits.remaining:.0f} s" if waits else "",
            renewals=session.statistics.renewal_count,
            last=self._watch.last_words.get(who, ""),
            degraded=session.degraded,
        )
