"""What the core tells when something went wrong: every field of the fault, where it is kept and where it is told."""

from __future__ import annotations

import pytest

from tests.lifecycle.driver import BEGIN, DOWN, RECEIPT, REFUSED, Driver
from voicepilot.errors import ConfigurationError, Fault, FaultDomain
from voicepilot.events import ErrorType, RenewalCompleted, RenewalFailed, SessionEnded, SessionErrorEvent
from voicepilot.lifecycle import deadlines
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.diagnostics import TimerStatus, diagnose
from voicepilot.lifecycle.effects import AnswerRenewal
from voicepilot.lifecycle.inputs import ConfigUpdated, EndRequested, KeyRejected, PauseRequested, RenewRequested
from voicepilot.lifecycle.session import Session, Setback


def told(driver: Driver) -> SessionErrorEvent:
    return driver.events(SessionErrorEvent)[-1]


def test_a_start_that_timed_out_says_so_and_what_to_do() -> None:
    driver = Driver(start_timeout_seconds=20)
    driver.begin()
    driver.pass_time(20)
    assert driver.fault() == Fault(
        code="SESSION_START_FAILED",
        message="Failed to obtain session credentials: no key within 20 s",
        remediation="Check the network and the base URL; for many starts at once, raise start_timeout_seconds or "
        "max_concurrent_mints.",
        retryable=True,
        domain=FaultDomain.TRANSPORT,
        cause="KEY_REQUEST_TIMEOUT",
        at=BEGIN + 20,
    )
    assert (told(driver).kind, told(driver).error, told(driver).at) == (
        ErrorType.AUTHENTICATION,
        driver.fault(),
        BEGIN + 20,
    )


def test_a_key_that_lapses_is_told_with_what_kept_the_next_one_away() -> None:
    driver = Driver(key_life_seconds=60)
    driver.go_live()
    driver.pass_time(50)
    driver.fail(DOWN)
    driver.pass_time(9)
    while driver.see().expire_at is not None:
        driver.fail(DOWN)
        driver.pass_time(1)
    fault = driver.fault()
    assert fault == Fault(
        code="KEY_EXPIRED",
        message="the key expired before the next one could be fetched: " + fault.message.partition(": ")[2],
        remediation="Wait. New connections wait until a key arrives; open ones go on.",
        retryable=True,
        domain=FaultDomain.AUTH,
        cause=fault.cause,
        at=BEGIN + 60,
    )
    assert fault.cause is not None
    assert driver.see().degraded
    assert (told(driver).kind, told(driver).error, told(driver).at) == (
        ErrorType.AUTHENTICATION,
        fault,
        BEGIN + 60,
    )


def test_a_rejected_key_is_kept_as_the_last_error_and_told() -> None:
    driver = Driver()
    driver.go_live()
    driver.pass_time(5)
    driver.tell(KeyRejected(REFUSED))
    assert (driver.fault().code, driver.fault().at) == (REFUSED.code, BEGIN + 5)
    assert told(driver).error == driver.fault()
    assert driver.key().rejected


def test_a_failed_attempt_is_kept_with_its_time() -> None:
    driver = Driver()
    driver.begin()
    driver.pass_time(2)
    driver.fail(DOWN)
    assert (driver.fault().code, driver.fault().at) == (DOWN.code, BEGIN + 2)


def test_a_silent_session_says_what_to_do_and_why_it_ended() -> None:
    driver = Driver(inactivity_timeout_minutes=1)
    driver.go_live()
    driver.pass_time(60)
    assert told(driver).kind is ErrorType.TIMEOUT
    assert told(driver).error.remediation == "Start a new session when ready to continue."
    driver.say_goodbye()
    (ended,) = driver.events(SessionEnded)
    assert ended.session.session_id == "s"


def test_the_latency_of_a_renewal_is_until_the_swap_not_until_the_hooks_are_done() -> None:
    driver = Driver()
    driver.go_live()
    driver.pass_time(540)
    driver.pass_time(50)
    driver.pass_time(0.25)
    driver.mint()
    driver.finish_hook()
    driver.pass_time(0.5)
    driver.finish_hook()
    (completed,) = driver.events(RenewalCompleted)
    assert completed.at == driver.now
    assert completed.result.latency_ms < (driver.now - BEGIN) * 1000


@pytest.mark.parametrize(
    ("setback", "left", "soonest"),
    [
        (None, 0.0, 4.0),
        (Setback(BEGIN, BEGIN), 0.0, 4.0),
        (Setback(BEGIN + 3.5, BEGIN + 3.5), 0.0, 5.5),
        (Setback(BEGIN, BEGIN + 9), 5.0, 9.0),
        (Setback(BEGIN, BEGIN + 3), 0.0, 4.0),
    ],
)
def test_how_long_the_provider_still_asks_for_peace(setback: Setback | None, left: float, soonest: float) -> None:
    config = SessionConfig(retry_backoff_ms=2_000)
    session = Session(session_id="s", created_at=BEGIN, last_activity=BEGIN, config=config, setback=setback)
    assert deadlines.asked_left(session, BEGIN + 4) == left
    assert deadlines.soonest_attempt(session, BEGIN + 4) == BEGIN + soonest


def test_a_wrong_option_is_named_by_its_field_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SessionConfig().changed({"zzzz": 1})
    assert caught.value.field == "zzzz"
    assert "zzzz: no such session option; known are renewal_margin_seconds, " in caught.value.message


def test_a_beat_keeps_what_was_left_of_it_unless_its_own_interval_changes() -> None:
    old = SessionConfig(heartbeat_interval_seconds=30)
    assert deadlines.beat_left(7.0, old, old.changed({"max_retry_attempts": 1})) == 7
    assert deadlines.beat_left(7.0, old, old.changed({"heartbeat_interval_seconds": 40})) == 40
    assert deadlines.beat_left(None, old, old.changed({"max_retry_attempts": 1})) == 30
    assert deadlines.beat_left(7.0, old, old.changed({"enable_heartbeat": False})) is None


def test_what_stands_still_keeps_what_was_left_when_another_option_changes() -> None:
    driver = Driver(heartbeat_interval_seconds=30, inactivity_timeout_minutes=1)
    driver.go_live()
    driver.pass_time(10)
    driver.tell(PauseRequested())
    driver.tell(ConfigUpdated(driver.see().config.changed({"max_retry_attempts": 1})))
    frozen = driver.see().frozen
    assert frozen is not None
    assert (frozen.beat, frozen.idle) == (20, 50)


def test_a_round_that_failed_is_told_with_its_attempts_and_how_long_it_took() -> None:
    driver = Driver(max_retry_attempts=1, retry_backoff_ms=2_000)
    driver.go_live()
    driver.pass_time(driver.key().expires_at - driver.now - 10)
    began = driver.now
    driver.fail(DOWN)
    driver.pass_time(3)
    driver.fail(DOWN)
    result = driver.events(RenewalFailed)[-1].result
    assert (result.session_id, result.success, result.attempts) == ("s", False, 2)
    assert result.latency_ms == (driver.now - began) * 1000
    assert result.error is not None
    assert result.error.code == "RENEWAL_FAILED"


def test_an_end_is_told_at_its_time() -> None:
    driver = Driver()
    driver.go_live()
    driver.pass_time(7)
    driver.tell(EndRequested("bye"))
    driver.pass_time(0.5)
    driver.say_goodbye()
    (ended,) = driver.events(SessionEnded)
    assert (ended.at, ended.reason, ended.receipt) == (BEGIN + 7.5, "bye", RECEIPT)


def test_a_renewal_of_what_is_over_says_so() -> None:
    driver = Driver()
    driver.go_live()
    driver.tell(EndRequested("bye"))
    driver.tell(RenewRequested())
    result = driver.last(AnswerRenewal).result
    assert result.error is not None
    assert (result.success, result.error.code) == (False, "SESSION_NOT_ACTIVE")


def test_a_session_that_went_live_after_a_failure_holds_no_error_any_more() -> None:
    driver = Driver()
    driver.begin()
    driver.fail(DOWN)
    driver.pass_time(5)
    driver.mint()
    driver.finish_hook()
    assert (driver.see().last_error, driver.see().failures) == (None, 0)


def test_a_paused_timer_says_what_is_left_of_it() -> None:
    driver = Driver(inactivity_timeout_minutes=1)
    driver.go_live()
    driver.pass_time(10)
    driver.tell(PauseRequested())
    driver.pass_time(30)
    inactivity = diagnose(driver.see(), driver.now).timers.inactivity
    assert inactivity == TimerStatus(is_active=False, remaining=50, is_paused=True)
    without = Driver()
    without.go_live()
    without.tell(PauseRequested())
    assert diagnose(without.see(), without.now).timers.inactivity == TimerStatus(is_active=False)


def test_the_jitter_of_a_wait_is_half_of_it_and_depends_on_session_and_mint() -> None:
    config = SessionConfig(retry_backoff_ms=4_000)
    session = Session(session_id="s", created_at=BEGIN, last_activity=BEGIN, config=config, failures=2, tickets=7)
    assert deadlines.next_attempt(session, BEGIN, asked=None) == BEGIN + 8 * (0.5 + deadlines.share("s", 7) / 2)
