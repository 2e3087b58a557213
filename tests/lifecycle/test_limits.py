"""The leash: what a session uses is counted, a limit is told before it is reached, and then the session ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lifecycle.driver import BEGIN, DOWN, Driver
from voicepilot.events import ErrorType, LimitApproaching, SessionEnded, SessionErrorEvent, UsageCounted
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.diagnostics import next_event
from voicepilot.lifecycle.effects import AnswerRenewal, CloseConnection, Purge, RunHook
from voicepilot.lifecycle.inputs import (
    ConfigUpdated,
    EndRequested,
    HoldTaken,
    Hook,
    PauseRequested,
    RenewRequested,
    UsageReported,
)
from voicepilot.lifecycle.limits import Limit, is_near, is_reached
from voicepilot.lifecycle.machine import wake_at
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import NO_WARNINGS, info
from voicepilot.lifecycle.usage import NOTHING_USED, Usage

QUIET: dict[str, Any] = {"enable_heartbeat": False, "enable_inactivity_timeout": False, "key_life_seconds": 7200}


def a_session(**config: Any) -> Driver:
    driver = Driver(**{**QUIET, **config})
    driver.go_live()
    return driver


def use(driver: Driver, **used: Any) -> None:
    driver.tell(UsageReported(Usage(**used)))


def told(driver: Driver) -> list[tuple[str, float, float, float]]:
    return [(event.limit, event.used, event.allowed, event.at - BEGIN) for event in driver.events(LimitApproaching)]


class TestUsage:
    def test_every_kind_is_added_by_itself(self) -> None:
        fields = Usage.__struct_fields__
        one = Usage(**{name: number for number, name in enumerate(fields, 1)})
        two = Usage(**{name: 10 * number for number, name in enumerate(fields, 1)})
        assert one + two == Usage(**{name: 11 * number for number, name in enumerate(fields, 1)})

    def test_the_totals_are_of_both_directions_and_count_nothing_twice(self) -> None:
        used = Usage(
            input_tokens=10,
            input_text_tokens=4,
            input_audio_tokens=6,
            input_cached_tokens=3,
            output_tokens=5,
            output_audio_tokens=5,
            input_audio_seconds=1.5,
            output_audio_seconds=0.5,
        )
        assert (used.total_tokens, used.audio_seconds) == (15, 2.0)

    def test_sessions_that_used_nothing_share_that(self) -> None:
        assert a_session().session.usage is a_session().session.usage is NOTHING_USED
        driver = a_session(max_total_tokens=100)
        use(driver, input_tokens=1)
        assert driver.session.warned is NO_WARNINGS

    def test_what_is_used_is_summed_told_and_shown(self) -> None:
        driver = a_session()
        use(driver, input_tokens=10)
        use(driver, output_tokens=5)
        assert [event.added.total_tokens for event in driver.events(UsageCounted)] == [10, 5]
        assert [event.usage.total_tokens for event in driver.events(UsageCounted)] == [10, 15]
        assert info(driver.session).usage == Usage(input_tokens=10, output_tokens=5)

    def test_it_survives_a_renewal(self) -> None:
        driver = a_session()
        use(driver, input_tokens=10)
        driver.tell(RenewRequested())
        driver.renew()
        assert driver.session.usage.total_tokens == 10

    def test_what_is_told_while_the_session_ends_counts_and_changes_nothing_else(self) -> None:
        driver = a_session(max_total_tokens=100, max_duration_seconds=10)
        driver.tell(EndRequested("user-requested"))
        use(driver, input_tokens=1_000)
        assert wake_at(driver.session) is None
        driver.say_goodbye()
        (ended,) = driver.events(SessionEnded)
        assert (ended.reason, ended.session.usage.total_tokens) == ("user-requested", 1_000)
        assert told(driver) == []

    @pytest.mark.parametrize("begun", [False, True])
    def test_before_the_start_there_is_nothing_to_use(self, begun: bool) -> None:
        driver = Driver(max_total_tokens=1)
        if begun:
            driver.begin()
        use(driver, input_tokens=5)
        assert driver.session.usage is NOTHING_USED


class TestDuration:
    def test_it_is_told_and_then_the_session_ends_to_the_second(self) -> None:
        driver = a_session(max_duration_seconds=100)
        driver.pass_time(99.999)
        assert told(driver) == [("max_duration_seconds", 90, 100, 90)]
        assert driver.see().phase is Phase.ACTIVE
        driver.pass_time(0.001)
        assert driver.see().phase is Phase.ENDING

    def test_it_counts_from_the_moment_the_session_became_active(self) -> None:
        driver = Driver(max_duration_seconds=20, **QUIET)
        driver.begin()
        driver.pass_time(15)
        driver.mint()
        driver.finish_hook()
        driver.pass_time(19.9)
        assert driver.see().phase is Phase.ACTIVE
        driver.pass_time(0.1)
        assert driver.see().phase is Phase.ENDING

    def test_the_end_is_that_of_inactivity_with_its_own_reason(self) -> None:
        driver = a_session(max_duration_seconds=100)
        driver.pass_time(100)
        (error,) = driver.events(SessionErrorEvent)
        assert (error.kind, error.error.code) == (ErrorType.TIMEOUT, "LIMIT_REACHED")
        assert error.error.message == "max_duration_seconds: 100 used of 100"
        assert "max_duration_seconds" in error.error.remediation
        assert (driver.session.last_error, error.error.at) == (error.error, driver.now)
        hook = driver.last(RunHook)
        assert (hook.hook, hook.reason) == (Hook.ENDING, "limit-reached")
        assert wake_at(driver.session) is None
        driver.say_goodbye()
        assert [type(order) for order in driver.ordered if isinstance(order, CloseConnection | Purge)] == [
            CloseConnection,
            Purge,
        ]
        assert driver.last(Purge).reason == "limit-reached"
        (ended,) = driver.events(SessionEnded)
        assert (ended.reason, driver.see().phase) == ("limit-reached", Phase.ENDED)

    def test_a_machine_that_slept_through_it_tells_and_ends_on_waking(self) -> None:
        driver = a_session(max_duration_seconds=100)
        driver.sleep_through(5_000)
        assert driver.said()[-3:] == ["limit-approaching", "state-changed", "timeout-error"]
        assert driver.see().phase is Phase.ENDING

    @pytest.mark.parametrize("how", ["paused", "held", "renewing", "recovering", "between rounds"])
    def test_nothing_stops_it(self, how: str) -> None:
        driver = a_session(max_duration_seconds=100, max_retry_attempts=0, key_life_seconds=60)
        if how == "paused":
            driver.tell(PauseRequested())
        if how == "held":
            driver.tell(HoldTaken("recovery"))
        if how in {"renewing", "recovering"}:
            driver.tell(RenewRequested())
        if how == "between rounds":
            driver.tell(RenewRequested())
            driver.fail(DOWN)
        driver.pass_time(40 if how != "recovering" else 70)
        driver.pass_time(100 - (driver.now - BEGIN))
        assert driver.see().phase is Phase.ENDING
        assert driver.see().farewell is not None
        assert [event.error.code for event in driver.events(SessionErrorEvent)][-1] == "LIMIT_REACHED"

    def test_a_renewal_that_it_cuts_short_is_answered(self) -> None:
        driver = a_session(max_duration_seconds=100)
        driver.pass_time(99)
        driver.tell(RenewRequested())
        driver.pass_time(1)
        assert not driver.last(AnswerRenewal).result.success

    def test_it_is_a_next_event_of_the_diagnostics(self) -> None:
        driver = a_session(max_duration_seconds=100)
        assert driver.session.limit_at == BEGIN + 100
        coming = next_event(driver.session, driver.now)
        assert coming is not None
        assert (coming.kind, coming.remaining) == ("limit-warning", 90)
        driver.pass_time(95)
        coming = next_event(driver.session, driver.now)
        assert coming is not None
        assert (coming.kind, coming.remaining) == ("limit", 5)
        use(driver, input_tokens=1)
        assert driver.see().warn_at is None

    def test_inactivity_still_ends_it_before(self) -> None:
        driver = a_session(max_duration_seconds=100, enable_inactivity_timeout=True, inactivity_timeout_minutes=1)
        driver.pass_time(60)
        assert driver.session.farewell is not None
        assert driver.session.farewell.reason == "inactivity-timeout"


@pytest.mark.parametrize(
    ("limit", "once"),
    [
        ("max_total_tokens", {"input_tokens": 4, "output_tokens": 6}),
        ("max_audio_seconds", {"input_audio_seconds": 7.5, "output_audio_seconds": 2.5}),
    ],
)
class TestWhatIsUsed:
    def test_it_is_told_once_and_ends_the_session_at_the_limit(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session(**{limit: 100})
        for _ in range(8):
            use(driver, **once)
        assert told(driver) == []
        use(driver, **once)
        assert told(driver) == [(limit, 90, 100, 0)]
        driver.pass_time(50)
        assert driver.see().phase is Phase.ACTIVE
        use(driver, **once)
        driver.pass_time(0)
        assert driver.see().phase is Phase.ENDING
        assert len(told(driver)) == 1
        (error,) = driver.events(SessionErrorEvent)
        assert error.error.message == f"{limit}: 100 used of 100"

    def test_a_leap_over_both_marks_is_told_and_ends(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session(**{limit: 5})
        use(driver, **once)
        driver.pass_time(0)
        assert told(driver) == [(limit, 10, 5, 0)]
        assert driver.see().phase is Phase.ENDING

    def test_without_a_limit_nothing_is_told(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session(**{limit: None})
        for _ in range(1_000):
            use(driver, **once)
        driver.pass_time(0)
        assert told(driver) == []
        assert driver.see().phase is Phase.ACTIVE

    def test_the_fraction_says_when(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session(**{limit: 100, "limit_warning_fraction": 0.2})
        use(driver, **once)
        assert told(driver) == []
        use(driver, **once)
        assert told(driver) == [(limit, 20, 100, 0)]

    def test_at_the_whole_fraction_it_is_told_as_it_ends(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session(**{limit: 10, "limit_warning_fraction": 1})
        use(driver, **once)
        assert told(driver) == [(limit, 10, 10, 0)]
        driver.pass_time(0)
        assert driver.see().phase is Phase.ENDING

    def test_a_limit_set_below_what_was_used_ends_it_at_once(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session()
        use(driver, **once)
        driver.tell(ConfigUpdated(SessionConfig(**{**QUIET, limit: 10})))
        driver.pass_time(0)
        assert driver.see().phase is Phase.ENDING

    def test_a_limit_set_just_above_what_was_used_is_told_at_once(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session()
        use(driver, **once)
        driver.tell(ConfigUpdated(SessionConfig(**{**QUIET, limit: 11})))
        driver.pass_time(0)
        assert told(driver) == [(limit, 10, 11, 0)]
        assert driver.see().phase is Phase.ACTIVE

    def test_raised_in_time_it_lets_the_session_go_on_and_is_told_again(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session(**{limit: 11})
        use(driver, **once)
        driver.tell(ConfigUpdated(SessionConfig(**{**QUIET, limit: 100})))
        for _ in range(8):
            use(driver, **once)
        driver.pass_time(0)
        assert [(used, allowed) for _, used, allowed, _ in told(driver)] == [(10, 11), (90, 100)]
        assert driver.see().phase is Phase.ACTIVE

    def test_raised_but_still_near_it_is_not_told_again(self, limit: str, once: dict[str, Any]) -> None:
        driver = a_session(**{limit: 10.5 if limit == "max_audio_seconds" else 11})
        use(driver, **once)
        driver.tell(ConfigUpdated(SessionConfig(**{**QUIET, limit: 11})))
        assert len(told(driver)) == 1

    def test_raised_after_it_was_reached_but_before_the_end_began_it_goes_on(
        self, limit: str, once: dict[str, Any]
    ) -> None:
        driver = a_session(**{limit: 10})
        use(driver, **once)
        driver.tell(ConfigUpdated(SessionConfig(**{**QUIET, limit: None})))
        driver.pass_time(0)
        assert driver.see().phase is Phase.ACTIVE


@given(
    start=st.floats(0, 2e9),
    most=st.floats(1, 2_592_000),
    fraction=st.floats(0.01, 1),
)
def test_at_its_deadlines_a_duration_is_near_and_reached_whatever_the_rounding(
    start: float, most: float, fraction: float
) -> None:
    driver = Driver(**QUIET, max_duration_seconds=most, limit_warning_fraction=fraction)
    driver.now = start
    driver.begin()
    driver.mint()
    session = driver.session
    assert session.warn_at is not None
    assert session.limit_at is not None
    assert is_near(session, Limit.DURATION, session.warn_at)
    assert is_reached(session, Limit.DURATION, session.limit_at)
    assert not is_reached(session, Limit.DURATION, math.nextafter(session.limit_at, 0))


class TestDurationUpdated:
    def test_a_shorter_one_that_has_passed_ends_it_at_once(self) -> None:
        driver = a_session()
        driver.pass_time(60)
        driver.tell(ConfigUpdated(SessionConfig(**QUIET, max_duration_seconds=60)))
        driver.pass_time(0)
        assert driver.see().phase is Phase.ENDING

    def test_a_longer_one_moves_both_marks_and_is_told_again(self) -> None:
        driver = a_session(max_duration_seconds=100)
        driver.pass_time(95)
        driver.tell(ConfigUpdated(SessionConfig(**QUIET, max_duration_seconds=200)))
        driver.pass_time(104.5)
        assert [at for *_, at in told(driver)] == [90, 180]
        assert driver.see().phase is Phase.ACTIVE
        driver.pass_time(0.5)
        assert driver.see().phase is Phase.ENDING

    def test_none_lets_it_go_on(self) -> None:
        driver = a_session(max_duration_seconds=100)
        driver.tell(ConfigUpdated(SessionConfig(**QUIET)))
        driver.pass_time(6_000)
        assert driver.see().phase is Phase.ACTIVE
        assert told(driver) == []

    def test_one_set_while_starting_counts_from_the_start(self) -> None:
        driver = Driver(**QUIET)
        driver.begin()
        driver.tell(ConfigUpdated(SessionConfig(**QUIET, max_duration_seconds=10)))
        driver.pass_time(5)
        driver.mint()
        driver.pass_time(9.9)
        assert driver.see().phase is Phase.ACTIVE
        driver.pass_time(0.1)
        assert driver.see().phase is Phase.ENDING
