"""Queries, statistics, diagnostics and the last error: every field has a story."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.stories.cast import Application, phase
from tests.support import World, a_world

from voicepilot import (
    ConnectionPhase,
    ConnectionStatus,
    CredentialStatus,
    Fault,
    FaultDomain,
    NextEvent,
    Phase,
    ProviderUnavailableError,
    SessionConfig,
    SessionDiagnostics,
    SessionError,
    SessionInfo,
    SessionNotFoundError,
    Statistics,
    TimerStatus,
    TimerStatuses,
    Usage,
)
from voicepilot.testing import FakeKeyService

DOWN = ProviderUnavailableError("down")
LOST = Fault(
    code="SOCKET_CLOSED", message="1006", remediation="Reconnect.", retryable=True, domain=FaultDomain.TRANSPORT
)


async def started(world: World) -> str:
    return (await world.manager.start_session()).session_id


def info_of(world: World, session_id: str) -> SessionInfo:
    info = world.manager.get_session_info(session_id)
    assert info is not None
    return info


# --- snapshots ---


@pytest.mark.seed("OVR-001", "API-getSessionInfo")
async def test_every_field_of_a_fresh_session() -> None:
    async with a_world() as world:
        session = await world.manager.start_session({"retry_backoff_ms": 5}, model="m", labels={"a": "b"})
        now = world.clock.now()
        assert world.manager.get_session_info(session.session_id) == SessionInfo(
            session_id=session.session_id,
            state=Phase.ACTIVE,
            created_at=now,
            started_at=now,
            last_activity=now,
            expires_at=now + 600,
            remote_session_id="sess_fake_1",
            model="m",
            labels={"a": "b"},
            config=SessionConfig(retry_backoff_ms=5),
            connection_status=ConnectionStatus.UNKNOWN,
            connection_phase=ConnectionPhase.NONE,
            degraded=False,
            usage=Usage(),
            statistics=Statistics(),
            last_error=None,
        )
        assert world.manager.get_session_info("session-0-none") is None


@pytest.mark.seed("API-getSessionInfo")
async def test_a_snapshot_does_not_change_with_the_session() -> None:
    async with a_world(keys=FakeKeyService(latency=1)) as world:
        before = await world.manager.start_session()
        await world.manager.renew_session(before.session_id)
        await asyncio.sleep(10)
        assert before.expires_at == before.created_at + 601
        assert before.statistics == Statistics()


@pytest.mark.seed("API-getCurrentSession")
async def test_the_current_session_is_the_one_that_was_active_last() -> None:
    async with a_world() as world:
        assert world.manager.get_current_session() is None
        first, second = await started(world), await started(world)
        current = world.manager.get_current_session
        assert current().session_id == second  # type: ignore[union-attr]
        world.manager.reset_inactivity_timer(first)
        assert current().session_id == first  # type: ignore[union-attr]
        await world.manager.end_session(first)
        assert current().session_id == second  # type: ignore[union-attr]
        await world.manager.pause_session(second)
        assert current().session_id == second  # type: ignore[union-attr]


@pytest.mark.seed("API-getAllSessions")
async def test_all_sessions_are_listed_also_those_that_are_ending() -> None:
    async with a_world() as world:
        first, second = await started(world), await started(world)
        world.manager.register_conversation_hooks(Application(ending=0.5))
        end = asyncio.ensure_future(world.manager.end_session(first))
        await asyncio.sleep(0.1)
        listed = {session.session_id: session.state for session in world.manager.get_all_sessions()}
        assert listed == {first: Phase.ENDING, second: Phase.ACTIVE}
        await end
        assert [session.session_id for session in world.manager.get_all_sessions()] == [second]


@pytest.mark.seed("API-isSessionActive", "Diagnostics-5")
async def test_active_means_active_or_renewing_and_asks_for_the_current_session_by_default() -> None:
    async with a_world(key_life_seconds=60, enable_inactivity_timeout=False) as world:
        active = world.manager.is_session_active
        assert not active()
        session_id = await started(world)
        assert (active(), active(session_id), active("session-0-none")) == (True, True, False)
        await world.manager.pause_session(session_id)
        assert not active(session_id)
        await world.manager.resume_session(session_id)
        world.keys.hang()
        world.keys.fail(DOWN, count=10_000)
        await asyncio.sleep(50.5)
        assert (phase(world, session_id), active(session_id)) == (Phase.RENEWING, True)
        await asyncio.sleep(15)
        assert (phase(world, session_id), active()) == (Phase.RECOVERING, False)
        await world.manager.end_session(session_id)
        assert not active(session_id)


# --- statistics ---


@pytest.mark.seed("OVR-001", "QUA-002", "QUA-004", "USE-003")
async def test_renewals_are_counted_and_their_latency_is_averaged_over_successes() -> None:
    async with a_world(keys=FakeKeyService(latency=1), max_retry_attempts=0) as world:
        session_id = await started(world)
        await world.manager.renew_session(session_id)
        world.keys.fail(DOWN)
        await world.manager.renew_session(session_id)
        world.keys.latency = 3
        await asyncio.sleep(1)  # the first backoff, which is part of the latency of whoever asks before
        await world.manager.renew_session(session_id)
        stats = info_of(world, session_id).statistics
        assert (stats.renewal_count, stats.failed_renewal_count) == (2, 1)
        assert stats.average_renewal_latency_ms == pytest.approx(2_000)


@pytest.mark.seed("OVR-001", "QUA-004", "EVT-session-ended")
async def test_the_last_statistics_are_in_the_ended_event() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await asyncio.sleep(31)
        world.manager.reset_inactivity_timer(session_id)
        await world.manager.renew_session(session_id)
        assert info_of(world, session_id).statistics.total_duration_ms == 0
        await world.manager.end_session(session_id)
        (ended,) = world.recorder.of("session-ended")
        assert ended.statistics == Statistics(  # type: ignore[attr-defined]  # a SessionEnded
            renewal_count=1, heartbeat_count=1, inactivity_resets=1, total_duration_ms=31_000
        )


# --- diagnostics ---


@pytest.mark.seed("API-getSessionDiagnostics", "IMP-002", "Diagnostics-1")
async def test_every_field_of_the_diagnostics() -> None:
    async with a_world() as world:
        session_id = await started(world)
        began = world.clock.now()
        await asyncio.sleep(10)
        assert world.manager.get_session_diagnostics(session_id) == SessionDiagnostics(
            session_id=session_id,
            state=Phase.ACTIVE,
            timers=TimerStatuses(
                renewal=TimerStatus(is_active=True, scheduled_at=began + 590, remaining=580),
                inactivity=TimerStatus(is_active=True, scheduled_at=began + 300, remaining=290),
                heartbeat=TimerStatus(is_active=True, scheduled_at=began + 30, remaining=20),
            ),
            credential_status=CredentialStatus.VALID,
            key_seconds_left=590,
            connection_status=ConnectionStatus.UNKNOWN,
            connection_phase=ConnectionPhase.NONE,
            degraded=False,
            last_error=None,
            uptime=10,
            next_event=NextEvent(kind="heartbeat", at=began + 30, remaining=20),
        )


@pytest.mark.seed("API-getSessionDiagnostics")
async def test_diagnostics_of_an_unknown_session_raise() -> None:
    async with a_world() as world:
        with pytest.raises(SessionNotFoundError, match="Session session-0-none not found"):
            world.manager.get_session_diagnostics("session-0-none")


@pytest.mark.seed("API-getSessionDiagnostics", "Diagnostics-1")
async def test_the_key_is_missing_then_valid_then_expired_and_each_session_has_its_own() -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        world.keys.hang()
        start = asyncio.ensure_future(world.manager.start_session())
        await asyncio.sleep(1)
        (starting,) = world.manager.get_all_sessions()
        missing = world.manager.get_session_diagnostics(starting.session_id)
        assert (missing.credential_status, missing.key_seconds_left) == (CredentialStatus.MISSING, None)
        assert (missing.next_event, missing.uptime) == (NextEvent("start-timeout", missing.next_event.at, 29), 0)  # type: ignore[union-attr]
        with pytest.raises(SessionError, match="holds no key while starting"):
            world.manager.credential(starting.session_id)
        start.cancel()
        short = (await world.manager.start_session({"key_life_seconds": 10})).session_id
        world.keys.fail(DOWN, count=10_000)
        await asyncio.sleep(11)
        world.keys.heal()
        other = await started(world)
        status = {id_: world.manager.get_session_diagnostics(id_).credential_status for id_ in (short, other)}
        assert status == {short: CredentialStatus.EXPIRED, other: CredentialStatus.VALID}


@pytest.mark.seed("API-getSessionDiagnostics", "Diagnostics-1")
@pytest.mark.parametrize("status", list(ConnectionStatus))
async def test_the_connection_is_what_the_transport_said_last(status: ConnectionStatus) -> None:
    async with a_world() as world:
        session_id = await started(world)
        world.manager.report_connection(session_id, status)
        assert world.manager.get_session_diagnostics(session_id).connection_status is status


@pytest.mark.seed("API-getSessionDiagnostics", "Diagnostics-1")
async def test_the_next_event_is_the_soonest_of_what_the_session_waits_for() -> None:
    async with a_world(enable_heartbeat=False, key_life_seconds=60) as world:
        session_id = await started(world)
        kinds: list[str | None] = []

        def note() -> None:
            event = world.manager.get_session_diagnostics(session_id).next_event
            kinds.append(event.kind if event else None)

        note()
        world.keys.hang()
        world.keys.fail(DOWN, count=10_000)
        await asyncio.sleep(50.5)
        note()
        await asyncio.sleep(5)
        note()
        await asyncio.sleep(200)  # then the attempt under way, up to 30 s later, comes before inactivity
        world.keys.heal()
        await world.manager.renew_session(session_id)
        note()
        assert kinds == ["renewal", "key-expiry", "retry", "inactivity"]


# --- the last error ---


@pytest.mark.seed("IMP-004", "API-onSessionError", "Diagnostics-2")
async def test_the_last_error_is_kept_without_a_listener_until_a_success() -> None:
    async with a_world(max_retry_attempts=0) as world:
        for subscription in world.recorder.subscriptions:
            subscription.dispose()
        session_id, other = await started(world), await started(world)
        world.keys.fail(DOWN)
        await world.manager.renew_session(session_id)
        kept = world.manager.get_session_diagnostics(session_id).last_error
        assert kept is not None
        assert (kept.code, kept.at) == ("RENEWAL_FAILED", world.clock.now())
        assert world.manager.get_session_diagnostics(other).last_error is None
        await world.manager.renew_session(session_id)
        assert world.manager.get_session_diagnostics(session_id).last_error is None


@pytest.mark.seed("IMP-004", "Diagnostics-2")
async def test_a_connection_that_is_healthy_again_clears_its_own_error_only() -> None:
    async with a_world(max_retry_attempts=0) as world:
        session_id = await started(world)
        world.manager.report_connection(session_id, ConnectionStatus.FAILED, LOST)
        assert info_of(world, session_id).last_error == msgspec.structs.replace(LOST, at=world.clock.now())
        world.manager.report_connection(session_id, ConnectionStatus.HEALTHY)
        assert info_of(world, session_id).last_error is None
        world.keys.fail(DOWN)
        await world.manager.renew_session(session_id)
        world.manager.report_connection(session_id, ConnectionStatus.HEALTHY)
        assert info_of(world, session_id).last_error is not None
        assert info_of(world, session_id).degraded


@pytest.mark.seed("IMP-004", "Diagnostics-2")
async def test_a_renewal_does_not_hide_a_connection_that_is_still_failed() -> None:
    async with a_world() as world:
        session_id = await started(world)
        world.manager.report_connection(session_id, ConnectionStatus.FAILED, LOST)
        await world.manager.renew_session(session_id)
        diagnostics = world.manager.get_session_diagnostics(session_id)
        assert (diagnostics.connection_status, diagnostics.degraded) == (ConnectionStatus.FAILED, True)
