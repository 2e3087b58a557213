"""What the core tells of a managed connection: each change of its phase, once, with its cause."""

from __future__ import annotations

import pytest

from tests.lifecycle.driver import REFUSED, Driver
from voicepilot.errors import Fault, FaultDomain
from voicepilot.events import ConnectionChanged
from voicepilot.lifecycle.inputs import ConnectionReported, EndRequested
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus

NONE, CONNECTING, RESTORING, LIVE, MOVING, WAITING, CLOSED = ConnectionPhase
UNKNOWN, HEALTHY, DEGRADED, FAILED = ConnectionStatus
CUT = Fault(code="CONNECTION_LOST", message="1006", remediation="r", retryable=True, domain=FaultDomain.TRANSPORT)


def live(*phases: ConnectionPhase) -> Driver:
    """A session whose managed connection came into these phases; nothing of that is in `ordered`."""
    driver = Driver()
    driver.go_live()
    for phase in phases:
        driver.tell(ConnectionReported(HEALTHY, phase=phase))
    driver.ordered.clear()
    return driver


def told(driver: Driver) -> list[tuple[ConnectionPhase, ConnectionPhase, ConnectionStatus]]:
    return [(event.previous_phase, event.new_phase, event.status) for event in driver.events(ConnectionChanged)]


@pytest.mark.parametrize("before", ConnectionPhase)
@pytest.mark.parametrize("after", ConnectionPhase)
def test_a_change_of_phase_is_told_and_no_other_report(before: ConnectionPhase, after: ConnectionPhase) -> None:
    driver = live(before)
    driver.tell(ConnectionReported(DEGRADED, phase=after))
    driver.tell(ConnectionReported(HEALTHY, phase=after))
    assert told(driver) == ([] if before is after else [(before, after, DEGRADED)])


def test_a_transport_of_the_applications_own_changes_no_phase() -> None:
    driver = live(LIVE)
    driver.tell(ConnectionReported(FAILED))
    driver.tell(ConnectionReported(HEALTHY))
    assert told(driver) == []
    assert driver.see().connection_phase is LIVE


def test_a_fall_is_told_before_the_error_it_is() -> None:
    driver = live(LIVE)
    driver.pass_time(7)
    driver.tell(ConnectionReported(FAILED, CUT, CONNECTING))
    assert driver.said() == ["connection-changed", "connection-error", "degraded-changed"]
    (event,) = driver.events(ConnectionChanged)
    assert (event.fault, event.at) == (driver.fault(), driver.now)
    assert (driver.fault().code, driver.fault().at) == ("CONNECTION_LOST", driver.now)
    assert (event.session.connection_phase, event.session.connection, event.session.degraded) == (
        CONNECTING,
        FAILED,
        True,
    )


def test_a_fall_without_a_cause_says_what_to_do_all_the_same() -> None:
    driver = live(LIVE)
    driver.tell(ConnectionReported(FAILED, None, WAITING))
    (event,) = driver.events(ConnectionChanged)
    assert event.fault is not None
    assert (event.fault.code, bool(event.fault.remediation)) == ("CONNECTION_FAILED", True)


def test_a_handover_that_is_put_off_says_why_and_is_no_error() -> None:
    driver = live(LIVE, MOVING)
    driver.tell(ConnectionReported(DEGRADED, CUT, LIVE))
    assert driver.said() == ["connection-changed"]
    (event,) = driver.events(ConnectionChanged)
    assert event.fault is not None
    assert (event.fault.code, event.fault.at) == ("CONNECTION_LOST", driver.now)


def test_what_heals_is_told_as_it_is_after_healing() -> None:
    driver = live(LIVE)
    driver.tell(ConnectionReported(FAILED, CUT, CONNECTING))
    driver.tell(ConnectionReported(HEALTHY, phase=LIVE))
    event = driver.events(ConnectionChanged)[-1]
    assert (event.fault, event.session.last_error, event.session.degraded) == (None, None, False)


@pytest.mark.parametrize("before", ConnectionPhase)
def test_the_end_of_the_session_closes_what_is_not_closed(before: ConnectionPhase) -> None:
    driver = live(before)
    driver.tell(EndRequested("user-requested"))
    assert told(driver) == []
    driver.say_goodbye()
    assert told(driver) == ([] if before in {NONE, CLOSED} else [(before, CLOSED, UNKNOWN)])
    assert not any(event.fault for event in driver.events(ConnectionChanged))


def test_it_is_told_between_the_goodbye_and_the_end() -> None:
    driver = live(LIVE)
    driver.tell(EndRequested("user-requested"))
    driver.say_goodbye()
    assert driver.said() == ["state-changed", "connection-changed", "state-changed", "session-ended"]


def test_how_a_conversation_was_lost_can_still_be_seen_after_the_end() -> None:
    driver = live(LIVE)
    driver.tell(ConnectionReported(FAILED, CUT, CLOSED))
    driver.tell(EndRequested("user-requested"))
    driver.say_goodbye()
    assert told(driver) == [(LIVE, CLOSED, FAILED)]
    assert driver.see().connection is FAILED


@pytest.mark.parametrize("phase", ConnectionPhase)
def test_a_connection_that_is_open_is_one_that_carries_a_call_on_without_a_key(phase: ConnectionPhase) -> None:
    driver = live(phase)
    driver.pass_time(590)
    driver.fail(REFUSED)
    assert phase.is_open is (phase in {LIVE, MOVING})
    assert driver.see().phase is (Phase.ACTIVE if phase.is_open else Phase.ENDING)
