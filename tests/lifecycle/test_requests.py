"""Somebody waits for a key: by hand, or to dial with it. It is fetched soon, not at once after a failure, and told."""

from __future__ import annotations

from typing import Literal

import pytest
from msgspec.structs import replace

from tests.lifecycle.driver import BEGIN, DOWN, Driver
from voicepilot.events import RenewalCompleted, RenewalStarted, StateChanged
from voicepilot.lifecycle.deadlines import asked_left
from voicepilot.lifecycle.effects import AnswerDials, AnswerRenewal, MintKey, ReleaseKey, RunHook
from voicepilot.lifecycle.inputs import (
    ConnectionReported,
    EndRequested,
    Hook,
    KeyRejected,
    PauseRequested,
    PlanWorked,
    RenewRequested,
)
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import ConnectionStatus, Trigger

DIAL = RenewRequested(Trigger.CONNECTION)
BUSY = replace(DOWN, retry_after=40.0)


def live(**config: object) -> Driver:
    driver = Driver(**config)
    driver.go_live()
    return driver


def recovering(**config: object) -> Driver:
    driver = live(**config)
    driver.pass_time(590)
    while driver.see().phase is not Phase.RECOVERING:
        if driver.in_flight():
            driver.fail()
        driver.pass_time(0.25)
    return driver


def in_backoff(driver: Driver) -> Driver:
    """The last attempt failed just now, and the next is many seconds away."""
    while True:
        driver.pass_time(1)
        if driver.in_flight():
            driver.fail()
            if (driver.see().retry_at or 0.0) > driver.now + 10:
                return driver


class TestWhatIsTold:
    @pytest.mark.parametrize("trigger", [Trigger.MANUAL, Trigger.CONNECTION])
    def test_a_round_is_told_with_the_reason_it_was_asked_for(
        self, trigger: Literal[Trigger.MANUAL, Trigger.CONNECTION]
    ) -> None:
        driver = live()
        driver.tell(RenewRequested(trigger))
        assert [event.trigger for event in driver.events(RenewalStarted)] == [trigger]
        assert driver.events(StateChanged)[-1].reason == "renewal requested"

    def test_the_hooks_hear_of_the_connection_and_not_of_its_key(self) -> None:
        driver = live()
        driver.tell(DIAL)
        effects = driver.mint()
        assert driver.see().phase is Phase.ACTIVE
        assert [order.hook for order in driver.orders(RunHook)] == [Hook.READY]
        assert ReleaseKey(1) in effects
        assert driver.last(AnswerRenewal).result.success
        assert (driver.key().ticket, driver.see().round) == (2, None)
        assert driver.see().renew_at == BEGIN + 590
        assert driver.said()[-2:] == ["state-changed", "renewal-completed"]
        assert driver.events(RenewalCompleted)[0].result.latency_ms == 0

    def test_a_round_that_another_began_keeps_its_trigger_and_its_hooks(self) -> None:
        driver = live()
        driver.pass_time(590)
        assert driver.tell(DIAL) == ()
        driver.renew()
        assert [order.reason for order in driver.orders(RunHook)][1:] == ["automatic-renewal"] * 2

    def test_a_round_for_a_connection_calls_the_hooks_once_somebody_else_waits_too(self) -> None:
        driver = live()
        driver.tell(DIAL)
        driver.tell(RenewRequested())
        driver.renew()
        assert [order.reason for order in driver.orders(RunHook)][1:] == ["manual-renewal"] * 2
        assert driver.last(AnswerRenewal).result.success

    def test_a_paused_session_is_paused_afterwards(self) -> None:
        driver = live()
        driver.tell(PauseRequested())
        driver.tell(DIAL)
        driver.mint()
        assert driver.see().phase is Phase.PAUSED
        driver.tell(DIAL)
        assert driver.see().phase is Phase.RENEWING

    def test_a_paused_session_that_the_timer_renews_calls_its_hooks(self) -> None:
        driver = live()
        driver.tell(PauseRequested())
        driver.pass_time(590)
        driver.mint()
        assert (driver.see().phase, driver.last(RunHook).hook) == (Phase.RENEWING, Hook.SUSPENDING)

    def test_a_recovering_session_is_well_with_the_key(self) -> None:
        driver = recovering(max_retry_attempts=0)
        while not driver.in_flight():
            driver.pass_time(0.5)
        driver.fail(retry_in=30.0)
        driver.pass_time(1)
        driver.tell(DIAL)
        driver.mint()
        assert (driver.see().phase, driver.see().degraded) == (Phase.ACTIVE, False)
        assert driver.events(RenewalStarted)[-1].trigger is Trigger.CONNECTION
        assert Trigger.CONNECTION.value not in {order.reason for order in driver.orders(RunHook)}

    def test_a_key_of_an_attempt_that_is_over_is_given_back(self) -> None:
        driver = live()
        driver.tell(DIAL)
        driver.fail()
        driver.pass_time(2)
        assert (driver.in_flight(), driver.see().tickets) == (3, 3)
        driver.session = replace(driver.session, tickets=2)
        assert driver.mint() == (ReleaseKey(2),)
        assert driver.see().phase is Phase.RENEWING


class TestDialsDoNotWaitForHooks:
    @pytest.mark.parametrize("first", [None, RenewRequested(), DIAL])
    def test_of_the_round_they_join(self, first: RenewRequested | None) -> None:
        driver = live()
        if first is None:
            driver.pass_time(590)
        else:
            driver.tell(first)
        driver.tell(DIAL)
        driver.tell(RenewRequested())
        effects = driver.mint()
        assert AnswerDials() in effects
        assert (driver.key().ticket, driver.see().phase) == (2, Phase.RENEWING)
        assert (driver.last(RunHook).hook, driver.orders(AnswerRenewal)) == (Hook.SUSPENDING, [])
        driver.finish_hook()
        driver.finish_hook()
        assert (driver.key().ticket, driver.see().phase) == (2, Phase.ACTIVE)
        assert driver.last(AnswerRenewal).result.success

    def test_that_are_called_already(self) -> None:
        driver = live()
        driver.pass_time(590)
        assert AnswerDials() not in driver.mint()
        assert driver.key().ticket == 1
        assert driver.tell(RenewRequested()) == ()
        assert driver.tell(DIAL) == (ReleaseKey(1), AnswerDials())
        assert driver.key().ticket == 2
        driver.finish_hook()
        driver.finish_hook()
        assert (driver.key().ticket, driver.see().phase) == (2, Phase.ACTIVE)


class TestDialsGoOn:
    def test_after_each_attempt_that_failed(self) -> None:
        """Whoever dials has a backoff of his own, and does not wait for the end of the round."""
        driver = live(max_retry_attempts=1)
        driver.tell(DIAL)
        (answer,) = driver.fail()
        assert isinstance(answer, AnswerDials)
        assert answer.fault
        assert (answer.fault.code, answer.fault.cause) == ("RENEWAL_FAILED", DOWN.code)
        assert not driver.orders(AnswerRenewal)
        driver.pass_time(1)
        driver.fail()
        assert not driver.last(AnswerRenewal).result.success

    def test_a_start_has_none(self) -> None:
        driver = Driver()
        driver.begin()
        assert driver.fail() == ()


class TestNoLaterThanTheFirstBackoff:
    @pytest.mark.parametrize("given", [RenewRequested(), DIAL])
    @pytest.mark.parametrize("backoff", [500, 2_000])
    def test_in_a_round_that_is_in_backoff(self, given: RenewRequested, backoff: int) -> None:
        driver = in_backoff(recovering(retry_backoff_ms=backoff))
        mints = len(driver.orders(MintKey))
        assert driver.tell(given) == ()
        assert driver.see().retry_at == driver.now + backoff / 1_000
        driver.tell(given)
        driver.pass_time(backoff / 1_000)
        assert len(driver.orders(MintKey)) == mints + 1

    def test_counted_from_the_failure(self) -> None:
        driver = in_backoff(recovering())
        driver.pass_time(5)
        driver.tell(DIAL)
        driver.pass_time(0)
        assert driver.in_flight()

    def test_nor_later_than_it_was_due(self) -> None:
        driver = live()
        driver.tell(RenewRequested())
        driver.fail()
        due = driver.see().retry_at
        driver.tell(DIAL)
        assert driver.see().retry_at == due

    @pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.RECOVERING])
    def test_after_a_round_that_failed(self, phase: Phase) -> None:
        driver = live(max_retry_attempts=0) if phase is Phase.ACTIVE else recovering(max_retry_attempts=0)
        while not driver.in_flight():
            driver.tell(RenewRequested())
            driver.pass_time(1)
        driver.fail(retry_in=30.0)
        assert driver.see().phase is phase
        mints, rounds = len(driver.orders(MintKey)), len(driver.events(RenewalStarted))
        driver.pass_time(0.25)
        driver.tell(DIAL)
        assert (driver.see().retry_at, driver.see().renew_at) == (driver.now + 0.75, None)
        assert len(driver.events(RenewalStarted)) == rounds + 1
        driver.pass_time(0.5)
        assert len(driver.orders(MintKey)) == mints
        driver.pass_time(0.25)
        assert len(driver.orders(MintKey)) == mints + 1
        assert driver.last(MintKey).attempt == 1

    def test_at_once_where_a_key_came_since(self) -> None:
        driver = live()
        driver.tell(DIAL)
        driver.fail(retry_in=0.5)
        driver.pass_time(0.5)
        driver.mint()
        driver.tell(DIAL)
        assert driver.in_flight() == 4

    def test_at_once_after_a_start_that_took_two_attempts(self) -> None:
        driver = Driver()
        driver.begin()
        driver.fail(retry_in=0.5)
        driver.pass_time(0.5)
        driver.mint()
        driver.tell(DIAL)
        assert driver.in_flight() == 3

    def test_a_plan_that_worked_helps_the_round_under_way_too(self) -> None:
        driver = in_backoff(recovering())
        driver.tell(PlanWorked())
        assert driver.see().retry_at == driver.now + 1

    def test_a_successor_that_was_refused_while_the_hooks_ran_is_replaced_after_them(self) -> None:
        driver = live()
        driver.tell(RenewRequested())
        driver.mint()
        driver.finish_hook()
        driver.tell(KeyRejected(DOWN))
        driver.finish_hook()
        driver.pass_time(0)
        assert (driver.in_flight(), driver.see().phase) == (3, Phase.RENEWING)
        assert driver.events(RenewalStarted)[-1].trigger is Trigger.REJECTED
        driver.renew()
        assert driver.see().has_good_key(driver.now)

    def test_a_key_that_was_refused_is_replaced_at_once(self) -> None:
        driver = live(max_retry_attempts=0)
        driver.tell(RenewRequested())
        driver.fail(BUSY)
        driver.tell(KeyRejected(DOWN))
        assert driver.in_flight() == 3


class TestRetryAfter:
    @pytest.mark.parametrize("given", [RenewRequested(), DIAL])
    def test_in_a_round(self, given: RenewRequested) -> None:
        driver = live()
        driver.tell(given)
        driver.fail(BUSY)
        driver.tell(given)
        assert driver.see().retry_at == driver.now + 40

    @pytest.mark.parametrize("given", [RenewRequested(), DIAL])
    def test_between_rounds(self, given: RenewRequested) -> None:
        driver = live(max_retry_attempts=0)
        driver.tell(given)
        driver.fail(BUSY)
        driver.pass_time(10)
        driver.tell(given)
        assert driver.see().retry_at == driver.now + 30

    def test_however_often_somebody_else_refuses_the_attempt_meanwhile(self) -> None:
        driver = live(max_retry_attempts=0)
        driver.tell(RenewRequested())
        driver.fail(BUSY)
        driver.tell(KeyRejected(DOWN))
        driver.fail(retry_in=1.0, counts=False)
        driver.pass_time(10)
        driver.fail(retry_in=1.0, counts=False)
        assert asked_left(driver.session, driver.now) == 30

    def test_whatever_the_connection_says_meanwhile(self) -> None:
        """A dial that fails is the last error, and asks for nothing where keys are fetched."""
        driver = live(max_retry_attempts=0)
        driver.tell(DIAL)
        driver.fail(BUSY)
        driver.tell(ConnectionReported(ConnectionStatus.FAILED, DOWN))
        driver.tell(DIAL)
        assert driver.see().retry_at == driver.now + 40

    def test_nor_does_what_the_connection_is_asked_for_hold_up_a_key(self) -> None:
        driver = live(max_retry_attempts=0)
        driver.tell(DIAL)
        driver.fail()
        driver.tell(ConnectionReported(ConnectionStatus.FAILED, BUSY))
        driver.pass_time(1)
        driver.tell(DIAL)
        assert driver.in_flight() == 3


def test_nobody_waits_for_a_session_that_ends() -> None:
    driver = in_backoff(recovering())
    driver.tell(EndRequested("user-requested"))
    driver.tell(DIAL)
    assert driver.see().retry_at is None
    assert not driver.last(AnswerRenewal).result.success


class TestPatience:
    """Whoever refuses attempts, a breaker say, lets somebody through who cannot wait."""

    def test_a_connection_that_is_dialled_cannot_wait(self) -> None:
        driver = live()
        driver.tell(DIAL)
        assert driver.last(MintKey).patience == 0
        driver.fail()
        driver.pass_time(5)
        assert (driver.last(MintKey).attempt, driver.last(MintKey).patience) == (2, 0)

    def test_a_renewal_by_hand_can_wait_for_half_of_what_is_left_of_the_key(self) -> None:
        driver = live()
        driver.tell(RenewRequested())
        assert driver.last(MintKey).patience == 300

    def test_a_connection_that_was_told_that_there_is_no_key_waits_no_more(self) -> None:
        driver = live()
        driver.tell(RenewRequested())
        driver.tell(DIAL)
        driver.fail()
        driver.pass_time(1)
        assert (driver.last(MintKey).attempt, round(driver.last(MintKey).patience or 0)) == (2, 300)
        assert driver.mint() == (RunHook(Hook.SUSPENDING, "manual-renewal", 5),)

    @pytest.mark.parametrize(("asked", "patience"), [(DIAL, 0), (RenewRequested(), None)])
    def test_a_round_that_a_connection_waits_for_cannot_wait_either(
        self, asked: RenewRequested, patience: float | None
    ) -> None:
        driver = in_backoff(recovering())
        driver.tell(asked)
        driver.pass_time(5)
        assert driver.last(MintKey).patience == patience
