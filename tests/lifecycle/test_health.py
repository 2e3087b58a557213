from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.lifecycle.driver import Driver
from voicepilot.lifecycle.health import CheckStatus, check_health
from voicepilot.lifecycle.inputs import PauseRequested
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, Session


def live(**config: bool) -> Session:
    driver = Driver(enable_inactivity_timeout=True, **config)
    driver.go_live()
    return driver.session


def check(session: Session, name: str, age: float = 1.0) -> tuple[CheckStatus, str]:
    (found,) = [one for one in check_health(session, 1_000 + age).checks if one.name == name]
    return found.status, found.detail


def test_a_live_session_passes_everything() -> None:
    health = check_health(live(), 1_001)
    assert health.is_healthy
    assert health.recommendations == ()


@pytest.mark.parametrize(
    ("gone", "told"), [("renew_at", "renewal"), ("idle_at", "inactivity"), ("beat_at", "heartbeat")]
)
def test_a_timer_that_should_be_armed_and_is_not_is_named(gone: str, told: str) -> None:
    assert check(replace(live(), **{gone: None}), "timer-health") == (CheckStatus.WARN, f"not armed: {told}")


def test_timers_that_are_off_or_frozen_are_not_missed() -> None:
    off = replace(live(enable_heartbeat=False), idle_at=None)
    assert check(off, "timer-health") == (CheckStatus.WARN, "not armed: inactivity")
    driver = Driver(enable_inactivity_timeout=True)
    driver.go_live()
    driver.tell(PauseRequested())
    assert check(driver.session, "timer-health") == (CheckStatus.PASS, "paused")
    silent = Driver(enable_inactivity_timeout=False, enable_heartbeat=False)
    silent.go_live()
    assert check(silent.session, "timer-health") == (CheckStatus.PASS, "all armed")


def test_a_session_that_starts_has_no_timers_to_miss() -> None:
    driver = Driver()
    driver.begin()
    assert check(driver.session, "timer-health") == (CheckStatus.PASS, "no timers are due while starting")


def test_an_hour_is_worth_a_remark() -> None:
    assert check(live(), "session-age", 3_599)[0] is CheckStatus.PASS
    assert check(live(), "session-age", 3_600) == (CheckStatus.WARN, "60 minutes old")


@pytest.mark.parametrize("phase", ConnectionPhase)
def test_a_managed_connection_is_reopened_without_advice_to_do_it(phase: ConnectionPhase) -> None:
    fallen = replace(live(), connection=ConnectionStatus.FAILED, connection_phase=phase)
    (found,) = [one for one in check_health(fallen, 1_001).checks if one.name == "connection"]
    managed = phase not in {ConnectionPhase.NONE, ConnectionPhase.CLOSED}
    assert found.status is CheckStatus.FAIL
    assert found.advice.startswith("It is reopened by itself" if managed else "Reconnect with the current key")
    assert found.detail == "the transport reported a failed connection" + (f" ({phase})" if managed else "")
    worse = replace(fallen, connection=ConnectionStatus.DEGRADED)
    (found,) = [one for one in check_health(worse, 1_001).checks if one.name == "connection"]
    assert ("by itself" in found.advice) is managed


@pytest.mark.parametrize("phase", [ConnectionPhase.NONE, ConnectionPhase.LIVE, ConnectionPhase.CLOSED])
def test_age_is_no_worry_while_a_managed_connection_moves_before_the_cut(phase: ConnectionPhase) -> None:
    old = replace(live(), connection=ConnectionStatus.HEALTHY, connection_phase=phase)
    managed = phase is ConnectionPhase.LIVE
    assert check(old, "session-age", age=4_000)[0] is (CheckStatus.PASS if managed else CheckStatus.WARN)
    assert check(old, "connection") == (CheckStatus.PASS, "healthy (live)" if managed else "healthy")
