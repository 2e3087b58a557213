from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.lifecycle.driver import REFUSED, Driver
from voicepilot.errors import Fault, FaultDomain
from voicepilot.lifecycle.health import CheckStatus, HealthCheck, check_health, is_healthy
from voicepilot.lifecycle.inputs import PauseRequested
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, Lease, Session

CUT = Fault(code="CUT", message="1006", remediation="Nothing.", retryable=True, domain=FaultDomain.TRANSPORT)


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


NETWORK = "Check the network between this host and the provider."
UNMANAGED, CLOSED = ConnectionPhase.NONE, ConnectionPhase.CLOSED
DOING = {
    ConnectionPhase.CONNECTING: "connecting: a connection is being opened",
    ConnectionPhase.RESTORING: "restoring: connected, the conversation is being replayed",
    ConnectionPhase.LIVE: "live: a connection carries the conversation",
    ConnectionPhase.MOVING: "moving: a connection carries the conversation, the next one is being prepared",
    ConnectionPhase.WAITING: "waiting: there is no connection, the next attempt is due later",
    ConnectionPhase.CLOSED: "closed: the conversation is over",
}


def connection(phase: ConnectionPhase, status: ConnectionStatus, error: Fault | None = None) -> HealthCheck:
    session = replace(live(), connection=status, connection_phase=phase, last_error=error)
    (found,) = [one for one in check_health(session, 1_001).checks if one.name == "connection"]
    return found


@pytest.mark.parametrize("status", [ConnectionStatus.UNKNOWN, ConnectionStatus.HEALTHY])
@pytest.mark.parametrize("phase", DOING)
def test_a_managed_connection_without_trouble_says_what_it_does(
    phase: ConnectionPhase, status: ConnectionStatus
) -> None:
    assert connection(phase, status) == HealthCheck("connection", CheckStatus.PASS, DOING[phase])


def test_a_transport_of_the_applications_own_says_how_it_is() -> None:
    found = [connection(UNMANAGED, status) for status in ConnectionStatus]
    assert [(check.status, check.detail) for check in found] == [
        (CheckStatus.PASS, "no transport has reported yet"),
        (CheckStatus.PASS, "healthy"),
        (CheckStatus.WARN, "the transport reported a degraded connection"),
        (CheckStatus.FAIL, "the transport reported a failed connection"),
    ]
    assert [check.advice for check in found] == [
        "",
        "",
        "Watch latency and packet loss; reconnect if it lasts.",
        "Reconnect with the current key; check the network between this host and the provider.",
    ]


@pytest.mark.parametrize("phase", DOING)
def test_a_managed_connection_that_fell_is_reopened_without_advice_to_do_it(phase: ConnectionPhase) -> None:
    found = connection(phase, ConnectionStatus.FAILED, CUT)
    assert (found.status, found.detail) == (CheckStatus.FAIL, DOING[phase])
    lost = "The conversation is lost: begin another with connect()."
    assert found.advice == f"{lost if phase is CLOSED else 'It is reopened by itself. If that lasts:'} {NETWORK}"


@pytest.mark.parametrize("phase", [ConnectionPhase.WAITING, CLOSED])
def test_what_the_provider_refused_is_not_blamed_on_the_network(phase: ConnectionPhase) -> None:
    found = connection(phase, ConnectionStatus.FAILED, REFUSED)
    assert found.advice.endswith(f" {REFUSED.remediation}")
    assert NETWORK not in found.advice


def test_a_fall_of_which_the_cause_was_forgotten_has_advice() -> None:
    assert connection(ConnectionPhase.WAITING, ConnectionStatus.FAILED).advice.endswith(NETWORK)


def test_a_handover_that_is_put_off_is_a_warning_that_says_so() -> None:
    found = connection(ConnectionPhase.LIVE, ConnectionStatus.DEGRADED)
    assert found.status is CheckStatus.WARN
    assert found.detail == f"{DOING[ConnectionPhase.LIVE]}, but the next one could not be opened"
    assert found.advice == f"The next one is tried again by itself before this one is cut. If that lasts: {NETWORK}"


@pytest.mark.parametrize("phase", [ConnectionPhase.NONE, ConnectionPhase.LIVE, ConnectionPhase.CLOSED])
def test_age_is_no_worry_while_a_managed_connection_moves_before_the_cut(phase: ConnectionPhase) -> None:
    old = replace(live(), connection=ConnectionStatus.HEALTHY, connection_phase=phase)
    managed = phase is ConnectionPhase.LIVE
    assert check(old, "session-age", age=4_000)[0] is (CheckStatus.PASS if managed else CheckStatus.WARN)


@given(
    phase=st.sampled_from(Phase),
    left=st.sampled_from([None, -1.0, 0.0, 60.0]),
    rejected=st.booleans(),
    failed_rounds=st.integers(0, 2),
    connection=st.sampled_from(ConnectionStatus),
    connection_phase=st.sampled_from(ConnectionPhase),
)
def test_the_heartbeat_sees_what_the_checks_see(
    phase: Phase,
    left: float | None,
    rejected: bool,
    failed_rounds: int,
    connection: ConnectionStatus,
    connection_phase: ConnectionPhase,
) -> None:
    key = None if left is None else Lease(1, 900.0, 1_000.0 + left, rejected=rejected)
    session = replace(
        live(),
        phase=phase,
        key=key,
        failed_rounds=failed_rounds,
        connection=connection,
        connection_phase=connection_phase,
    )
    assert is_healthy(session, 1_000.0) is check_health(session, 1_000.0).is_healthy
