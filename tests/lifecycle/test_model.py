"""A random life of the pure core, with what must hold after every step of it."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from tests.lifecycle.driver import DOWN, RECEIPT, REFUSED, Driver
from voicepilot.events import (
    ConnectionChanged,
    LimitApproaching,
    SessionEnded,
    SessionErrorEvent,
    SessionStarted,
    StateChanged,
    UsageCounted,
)
from voicepilot.lifecycle import deadlines
from voicepilot.lifecycle.effects import Forget, MintKey, ReleaseKey, ReleaseSlot, RunHook
from voicepilot.lifecycle.inputs import (
    ConfigUpdated,
    ConnectionClosed,
    ConnectionReported,
    EndRequested,
    HoldReleased,
    HoldTaken,
    HookFinished,
    KeyMinted,
    KeyRejected,
    MintFailed,
    PauseRequested,
    PlanWorked,
    Purged,
    RenewRequested,
    ResumeRequested,
    SlotRefused,
    SlotReserved,
    StartRequested,
    UsageReported,
)
from voicepilot.lifecycle.limits import Limit, is_near, is_reached
from voicepilot.lifecycle.machine import note_activity, wake_at
from voicepilot.lifecycle.phases import OVER, RUNNING, Phase
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, Deadline, Trigger
from voicepilot.lifecycle.usage import Usage

AT_LIMIT = "LIMIT_REACHED"

CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "renewal_margin_seconds": st.sampled_from([0, 10, 3600]),
        "renewal_spread_seconds": st.sampled_from([0, 30]),
        "inactivity_timeout_minutes": st.sampled_from([1, 5, 600]),
        "heartbeat_interval_seconds": st.sampled_from([1, 30]),
        "max_retry_attempts": st.sampled_from([0, 1, 3]),
        "enable_heartbeat": st.booleans(),
        "enable_inactivity_timeout": st.booleans(),
        "key_life_seconds": st.sampled_from([10, 60, 600]),
        "max_duration_seconds": st.sampled_from([None, 1, 60, 7200]),
        "max_total_tokens": st.sampled_from([None, 100, 1_000]),
        "max_audio_seconds": st.sampled_from([None, 10]),
        "limit_warning_fraction": st.sampled_from([0.5, 0.9, 1]),
    },
)
SECONDS = st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0, 10.0, 60.0, 400.0, 7200.0])


class Life(RuleBasedStateMachine):
    """The world answers the core as it likes: late, twice, wrongly, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.handed: set[int] = set()  # tickets a key was handed in for
        self.looked_at = 0
        self.phase = Phase.IDLE
        self.moves = 0
        self.connection = ConnectionPhase.NONE
        self.connection_moves = 0
        self.ended_at: int | None = None

    @rule(config=CONFIGS)
    @precondition(lambda self: self.driver.session.phase is Phase.IDLE)
    def configure(self, config: dict[str, object]) -> None:
        self.driver.tell(ConfigUpdated(self.driver.session.config.changed(config)))

    @rule(refused=st.booleans())
    @precondition(lambda self: self.driver.session.phase is Phase.IDLE)
    def start(self, refused: bool) -> None:
        self.driver.tell(StartRequested())
        self.driver.tell(SlotRefused(DOWN) if refused and self.driver.now % 7 > 5 else SlotReserved())

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.driver.pass_time(seconds)

    @rule(seconds=SECONDS)
    def the_machine_sleeps(self, seconds: float) -> None:
        self.driver.sleep_through(seconds)

    @rule(life=st.sampled_from([1.0, 10.0, 60.0, 600.0]), back=st.integers(0, 2))
    @precondition(lambda self: self.driver.session.tickets > 0)
    def a_key_arrives(self, life: float, back: int) -> None:
        ticket = max(1, self.driver.session.tickets - back)
        if ticket not in self.handed:
            self.handed.add(ticket)
            self.driver.tell(KeyMinted(ticket, life))

    @rule(retryable=st.integers(0, 9), back=st.integers(0, 1), retry_in=st.sampled_from([None, 0.0, 5.0]))
    @precondition(lambda self: self.driver.session.tickets > 0)
    def a_mint_fails(self, retryable: int, back: int, retry_in: float | None) -> None:
        ticket = max(1, self.driver.session.tickets - back)
        if ticket not in self.handed:
            fault = DOWN if retryable else REFUSED
            self.driver.tell(MintFailed(ticket, fault, retry_in, counts=retry_in is None))

    @rule()
    @precondition(lambda self: bool(self.driver.orders(RunHook)))
    def a_hook_finishes(self) -> None:
        self.driver.tell(HookFinished(self.driver.last(RunHook).hook))

    @rule(trigger=st.sampled_from([Trigger.MANUAL, Trigger.CONNECTION]))
    def somebody_waits_for_a_key(self, trigger: Literal[Trigger.MANUAL, Trigger.CONNECTION]) -> None:
        mints = len(self.driver.orders(MintKey))
        self.driver.tell(RenewRequested(trigger))
        session, now = self.driver.session, self.driver.now
        if session.phase in RUNNING:
            asks = session.round is not None and session.round.ticket is not None
            soon = session.retry_at is not None and session.retry_at <= deadlines.soonest_attempt(session, now)
            swaps = session.round is not None and (session.round.incoming or session.round.swapped_at is not None)
            assert asks or soon or swaps, "he waits for something that is as soon as may be"
        if len(self.driver.orders(MintKey)) > mints:
            assert session.setback is None or session.setback.at + session.config.retry_backoff_ms / 1_000 <= now

    @rule()
    def paused(self) -> None:
        self.driver.tell(PauseRequested())

    @rule()
    def resumed(self) -> None:
        self.driver.tell(ResumeRequested())

    @rule()
    def a_plan_works(self) -> None:
        self.driver.tell(PlanWorked())

    @rule(take=st.booleans())
    def held(self, take: bool) -> None:
        self.driver.tell(HoldTaken("recovery") if take else HoldReleased("recovery"))

    @rule(config=CONFIGS)
    def reconfigured(self, config: dict[str, object]) -> None:
        self.driver.tell(ConfigUpdated(self.driver.session.config.changed(config)))

    @rule(status=st.sampled_from(ConnectionStatus), phase=st.sampled_from([None, *ConnectionPhase]))
    def the_transport_reports(self, status: ConnectionStatus, phase: ConnectionPhase | None) -> None:
        self.driver.tell(ConnectionReported(status, phase=phase))

    @rule(tokens=st.sampled_from([0, 1, 60, 500]), seconds=st.sampled_from([0.0, 0.25, 6.0]))
    def something_is_used(self, tokens: int, seconds: float) -> None:
        self.driver.tell(UsageReported(Usage(input_tokens=tokens, output_audio_seconds=seconds)))

    @rule()
    def the_key_is_rejected(self) -> None:
        self.driver.tell(KeyRejected(REFUSED))

    @rule()
    def somebody_speaks(self) -> None:
        self.driver.session = note_activity(self.driver.session, self.driver.now, 1)

    @rule(odds=st.integers(0, 2))
    def ended(self, odds: int) -> None:
        if odds == 0:
            self.driver.tell(EndRequested("user-requested"))

    @rule()
    @precondition(lambda self: self.driver.session.phase is Phase.ENDING)
    def the_goodbye_goes_on(self) -> None:
        if self.driver.session.key is not None or self.driver.session.started_at is None:
            self.driver.tell(ConnectionClosed())
        self.driver.tell(Purged(RECEIPT))

    # --- what must hold ---

    @invariant()
    def each_change_of_phase_is_published_once_and_in_order(self) -> None:
        changes = self.driver.events(StateChanged)
        for change in changes[self.moves :]:
            assert change.previous_state is self.phase
            assert change.new_state is not change.previous_state
            self.phase = change.new_state
        self.moves = len(changes)
        assert self.phase is self.driver.session.phase

    @invariant()
    def each_change_of_the_connection_is_published_once_and_in_order(self) -> None:
        changes = self.driver.events(ConnectionChanged)
        for change in changes[self.connection_moves :]:
            assert change.previous_phase is self.connection
            assert change.new_phase is not change.previous_phase
            assert (change.status is ConnectionStatus.FAILED) <= (change.fault is not None)
            self.connection = change.new_phase
        self.connection_moves = len(changes)
        assert self.connection is self.driver.session.connection_phase

    @invariant()
    def no_connection_outlives_its_session(self) -> None:
        if self.driver.session.phase in OVER:
            assert self.connection in {ConnectionPhase.NONE, ConnectionPhase.CLOSED}

    @invariant()
    def ended_is_told_if_and_only_if_started_was(self) -> None:
        started, ended = len(self.driver.events(SessionStarted)), len(self.driver.events(SessionEnded))
        assert started == (1 if self.driver.session.started_at is not None else 0)
        assert ended == (started if self.driver.session.phase in OVER else 0)

    @invariant()
    def nothing_is_ordered_after_the_end_but_giving_keys_back(self) -> None:
        if self.ended_at is not None:
            later = self.driver.ordered[self.ended_at :]
            assert {type(effect).__name__ for effect in later} <= {"ReleaseKey", "AnswerRenewal"}
        elif self.driver.session.phase in OVER:
            self.ended_at = len(self.driver.ordered)

    @invariant()
    def every_key_is_held_or_released_exactly_once(self) -> None:
        released = Counter(order.ticket for order in self.driver.orders(ReleaseKey))
        session = self.driver.session
        held = {session.key.ticket} if session.key else set()
        if session.round and session.round.incoming:
            held.add(session.round.incoming.ticket)
        for ticket in self.handed:
            assert (ticket in held) + released[ticket] == 1
        assert set(released) <= self.handed

    @invariant()
    def deadlines_are_armed_only_in_live_phases(self) -> None:
        if self.driver.session.phase in OVER | {Phase.ENDING, Phase.IDLE}:
            assert wake_at(self.driver.session) is None

    @invariant()
    def a_running_session_always_waits_for_something(self) -> None:
        session = self.driver.session
        if session.phase in RUNNING:
            assert session.round is not None or session.renew_at is not None

    @invariant()
    def a_round_waits_for_an_answer_a_time_or_a_hook(self) -> None:
        session = self.driver.session
        if session.round and session.round.ticket is None and session.retry_at is None:
            assert session.round.incoming is not None or session.round.swapped_at is not None

    @invariant()
    def a_key_is_never_thought_to_live_longer_than_it_was_given(self) -> None:
        session = self.driver.session
        if session.key and session.expire_at is not None:
            assert session.expire_at == session.key.expires_at

    @invariant()
    def a_connection_is_given_its_key_without_a_hook(self) -> None:
        assert Trigger.CONNECTION.value not in {order.reason for order in self.driver.orders(RunHook)}

    @invariant()
    def a_setback_is_forgotten_with_the_next_key(self) -> None:
        session = self.driver.session
        if session.phase in {Phase.ACTIVE, Phase.PAUSED} and not session.failures and not session.failed_rounds:
            assert session.setback is None

    @invariant()
    def no_wait_between_attempts_is_longer_than_the_cap(self) -> None:
        retry_at = self.driver.session.retry_at
        if retry_at is not None:
            assert retry_at - self.driver.now <= deadlines.BACKOFF_CAP

    @invariant()
    def a_slot_is_released_once(self) -> None:
        assert len(self.driver.orders(ReleaseSlot)) <= 1
        assert len(self.driver.orders(Forget)) == (1 if self.driver.session.phase in OVER else 0)

    @invariant()
    def holds_and_frozen_timers_go_together(self) -> None:
        session = self.driver.session
        assert (session.frozen is not None) == bool(session.holds)
        if session.frozen:
            assert session.idle_at is None
            assert session.beat_at is None

    @invariant()
    def what_was_used_is_told_and_summed(self) -> None:
        total = sum((event.added for event in self.driver.events(UsageCounted)), Usage())
        assert self.driver.session.usage == total

    @invariant()
    def a_session_that_used_up_a_limit_ends_at_once(self) -> None:
        session, now = self.driver.session, self.driver.now
        if session.phase in RUNNING and any(is_reached(session, limit, now) for limit in Limit):
            assert session.limit_at is not None
            assert session.limit_at <= now

    @invariant()
    def a_limit_that_is_near_was_told(self) -> None:
        session, now = self.driver.session, self.driver.now
        if session.phase in RUNNING:
            near = {limit for limit in Limit if is_near(session, limit, now)}
            due = {Limit.DURATION} if session.warn_at is not None and session.warn_at <= now else set()
            assert session.warned == near - due
            assert near - due <= {event.limit for event in self.driver.events(LimitApproaching)}

    @invariant()
    def a_limit_ends_a_session_that_reached_it_and_no_other(self) -> None:
        session = self.driver.session
        if session.farewell and session.farewell.reason == "limit-reached" and session.phase is not Phase.FAILED:
            (told,) = [event for event in self.driver.events(SessionErrorEvent) if event.error.code == AT_LIMIT]
            assert any(is_reached(told.session, limit, told.at) for limit in Limit)

    @invariant()
    def tickets_are_never_used_twice(self) -> None:
        tickets = [order.ticket for order in self.driver.orders(MintKey)]
        assert tickets == sorted(set(tickets))


Life.TestCase.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)
TestLife = pytest.mark.slow(Life.TestCase)


def test_every_deadline_is_a_field_of_the_session() -> None:
    session = Driver().session
    for deadline in Deadline:
        assert wake_at(replace(session, **{deadline.value: 5.0})) == 5.0
