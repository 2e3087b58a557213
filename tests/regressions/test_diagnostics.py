"""Section 7 of the original's defects: diagnostics, health, heartbeat, recovery actions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.support import a_world

from voicepilot import (
    AuthenticationError,
    ConnectionStatus,
    CredentialStatus,
    Fault,
    Phase,
    ProviderUnavailableError,
    SessionErrorEvent,
)

REFUSED = Fault(code="INVALID_CREDENTIALS", message="401", remediation="Log in again.", retryable=False)


@pytest.mark.defect(82)
async def test_each_session_shows_its_own_key() -> None:
    async with a_world(key_life_seconds=60) as world:
        one = (await world.manager.start_session()).session_id
        world.keys.fail(ProviderUnavailableError("down"), count=50)  # more than it asks
        await asyncio.sleep(60.5)
        world.keys.heal()
        two = (await world.manager.start_session()).session_id
        status = {one: CredentialStatus.EXPIRED, two: CredentialStatus.VALID}
        for session_id, expected in status.items():
            assert world.manager.get_session_diagnostics(session_id).credential_status is expected
            health = await world.manager.test_session_health(session_id)
            assert health.is_healthy is (expected is CredentialStatus.VALID)


@pytest.mark.defect(83)
async def test_the_connection_is_what_the_transport_said_and_a_good_beat_heals() -> None:
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id

        def shown() -> tuple[ConnectionStatus, bool]:
            diagnostics = world.manager.get_session_diagnostics(session_id)
            return diagnostics.connection_status, diagnostics.degraded

        assert shown() == (ConnectionStatus.UNKNOWN, False)
        world.manager.report_connection(session_id, ConnectionStatus.FAILED)
        await asyncio.sleep(31)
        assert shown() == (ConnectionStatus.FAILED, True)
        world.manager.report_connection(session_id, ConnectionStatus.HEALTHY)
        await asyncio.sleep(31)
        assert shown() == (ConnectionStatus.HEALTHY, False)


@pytest.mark.defect(84)
async def test_a_key_that_the_provider_refused_is_invalid() -> None:
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id
        world.keys.latency = 1
        world.manager.report_key_rejected(session_id, REFUSED)
        assert world.manager.get_session_diagnostics(session_id).credential_status is CredentialStatus.INVALID
        await asyncio.sleep(2)
        assert world.manager.get_session_diagnostics(session_id).credential_status is CredentialStatus.VALID


@pytest.mark.defect(87)
async def test_a_key_that_lapsed_is_renewed_as_its_remediation_says() -> None:
    async with a_world(key_life_seconds=60) as world:
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"), count=1_000)
        await asyncio.sleep(60.5)
        told = world.recorder.of("authentication-error")[-1]
        assert isinstance(told, SessionErrorEvent)
        assert told.error.code == "KEY_EXPIRED"
        assert "wait until a key arrives" in told.error.remediation
        assert world.manager.get_all_sessions()[0].state is Phase.RECOVERING
        world.keys.heal()
        await asyncio.sleep(60)
        assert world.manager.is_session_active(session.session_id)


@pytest.mark.defect(88)
async def test_a_refusal_of_one_session_fails_that_session_only() -> None:
    async with a_world() as world:
        one = (await world.manager.start_session()).session_id
        two = (await world.manager.start_session()).session_id
        world.keys.fail(AuthenticationError("401"))
        await world.manager.renew_session(one)
        await asyncio.sleep(2)
        states = {info.session_id: info.state for info in world.manager.get_all_sessions()}
        assert states == {one: Phase.FAILED, two: Phase.ACTIVE}
        assert {event.session_id for event in world.recorder.of("authentication-error")} == {one}


@pytest.mark.defect(89)
async def test_a_renewed_key_reaches_the_session_it_was_fetched_for() -> None:
    async with a_world(key_life_seconds=60) as world:
        one = await world.manager.start_session()
        await asyncio.sleep(20)
        two = await world.manager.start_session()
        await asyncio.sleep(35)
        infos = {info.session_id: info for info in world.manager.get_all_sessions()}
        assert infos[one.session_id].remote_session_id == "sess_fake_3" != one.remote_session_id
        assert infos[two.session_id].remote_session_id == two.remote_session_id
        assert world.manager.credential(one.session_id).reveal() == "ek_fake_3"
        assert infos[one.session_id].expires_at == pytest.approx(world.clock.now() + 55)


class Steps:
    """A recovery registrar that keeps what it is given."""

    def __init__(self) -> None:
        self.steps: dict[str, Callable[[str], Awaitable[bool]]] = {}
        self.fallbacks: dict[str, Callable[[str], Awaitable[None]]] = {}

    def add_step(self, name: str, run: Callable[[str], Awaitable[bool]]) -> None:
        self.steps[name] = run

    def add_fallback(self, mode: str, run: Callable[[str], Awaitable[None]]) -> None:
        self.fallbacks[mode] = run


@pytest.mark.defect(91)
@pytest.mark.defect(92)
async def test_force_termination_ends_the_session_that_failed_and_leaves_the_others_timers() -> None:
    async with a_world() as world:
        registrar = Steps()
        world.manager.register_recovery_actions(registrar)
        failing = (await world.manager.start_session()).session_id
        healthy = (await world.manager.start_session()).session_id
        before = world.manager.get_session_diagnostics(healthy).timers
        assert await registrar.steps["SESSION_FORCE_TERMINATION"](failing)
        assert [info.session_id for info in world.manager.get_all_sessions()] == [healthy]
        assert world.manager.get_session_diagnostics(healthy).timers == before
        await asyncio.sleep(31)
        assert world.manager.get_all_sessions()[0].statistics.heartbeat_count == 1


async def test_a_long_session_is_a_warning_not_a_failure() -> None:  # keep 85, 86
    async with a_world(enable_inactivity_timeout=False) as world:
        session_id = (await world.manager.start_session()).session_id
        await asyncio.sleep(3_601)
        health = await world.manager.test_session_health(session_id)
        assert health.is_healthy
        (advice,) = health.recommendations
        assert "60 minutes" in advice
        assert world.manager.get_all_sessions()[0].statistics.heartbeat_count == 120
