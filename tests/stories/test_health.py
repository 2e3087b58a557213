"""Health checks, and what keeps a key secret."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import Any

import msgspec
import pytest
from tests.stories.cast import Application, picture
from tests.support import World, a_world

from voicepilot import (
    AuthenticationError,
    CheckStatus,
    ConnectionStatus,
    HealthCheck,
    Phase,
    ProviderUnavailableError,
    SessionInfo,
    SessionNotFoundError,
    SessionStartError,
)

DOWN = ProviderUnavailableError("down")


async def started(world: World) -> str:
    return (await world.manager.start_session()).session_id


def info_of(world: World, session_id: str) -> SessionInfo:
    info = world.manager.get_session_info(session_id)
    assert info is not None
    return info


async def checks_of(world: World, session_id: str) -> dict[str, HealthCheck]:
    health = await world.manager.test_session_health(session_id)
    assert health.is_healthy == all(check.status != "fail" for check in health.checks)
    assert health.recommendations == tuple(check.advice for check in health.checks if check.status != "pass")
    return {check.name: check for check in health.checks}


@pytest.mark.seed("API-testSessionHealth", "Diagnostics-3")
async def test_a_healthy_session_passes_every_check_and_needs_no_advice() -> None:
    async with a_world() as world:
        session_id = await started(world)
        health = await world.manager.test_session_health(session_id)
        assert (health.session_id, health.at, health.is_healthy) == (session_id, world.clock.now(), True)
        assert health.recommendations == ()
        assert [(check.name, check.status) for check in health.checks] == [
            ("credential-validity", CheckStatus.PASS),
            ("renewal", CheckStatus.PASS),
            ("timer-health", CheckStatus.PASS),
            ("connection", CheckStatus.PASS),
            ("session-age", CheckStatus.PASS),
        ]
        with pytest.raises(SessionNotFoundError):
            await world.manager.test_session_health("session-0-none")


@pytest.mark.seed("API-testSessionHealth", "Diagnostics-3")
async def test_an_old_session_is_warned_of_the_providers_limit() -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        await asyncio.sleep(3_599)
        assert (await checks_of(world, session_id))["session-age"].status == "pass"
        await asyncio.sleep(1)
        check = (await checks_of(world, session_id))["session-age"]
        assert (check.status, check.detail) == ("warn", "60 minutes old")
        assert "plan a reconnect" in check.advice


@pytest.mark.seed("API-testSessionHealth", "Diagnostics-3")
@pytest.mark.parametrize(("status", "verdict"), [("failed", "fail"), ("degraded", "warn"), ("healthy", "pass")])
async def test_the_connection_check_says_what_the_transport_said(status: str, verdict: str) -> None:
    async with a_world() as world:
        session_id = await started(world)
        world.manager.report_connection(session_id, ConnectionStatus(status))
        check = (await checks_of(world, session_id))["connection"]
        assert check.status == verdict
        assert bool(check.advice) == (verdict != "pass")


@pytest.mark.seed("API-testSessionHealth", "Diagnostics-3")
async def test_failed_renewals_are_a_warning_and_a_lapsed_key_is_a_failure() -> None:
    async with a_world(key_life_seconds=60, max_retry_attempts=0, enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        world.keys.fail(DOWN, count=10_000)
        await asyncio.sleep(51)
        checks = await checks_of(world, session_id)
        assert (checks["credential-validity"].status, checks["renewal"].status) == ("pass", "warn")
        assert DOWN.remediation in checks["renewal"].advice
        await asyncio.sleep(40)
        checks = await checks_of(world, session_id)
        assert (checks["credential-validity"].status, checks["renewal"].status) == ("fail", "fail")
        assert "Check that the provider is reachable" in checks["credential-validity"].advice


@pytest.mark.seed("API-testSessionHealth", "TRB-stale-timers", "Diagnostics-3")
async def test_a_timer_that_is_not_armed_is_noticed_and_the_step_that_helps_is_named() -> None:
    async with a_world() as world:
        session_id = await started(world)
        entry = world.performer.registry.get(session_id)
        assert entry is not None
        entry.session = msgspec.structs.replace(entry.session, idle_at=None, beat_at=None)
        check = (await checks_of(world, session_id))["timer-health"]
        assert (check.status, check.detail) == ("warn", "not armed: inactivity, heartbeat")
        assert "SESSION_FORCE_TERMINATION" in check.advice


@pytest.mark.seed("IMP-004", "QUA-003", "Diagnostics-4")
async def test_a_bad_beat_degrades_and_a_good_beat_heals() -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        entry = world.performer.registry.get(session_id)
        assert entry is not None
        assert entry.session.key is not None
        bad = msgspec.structs.replace(entry.session.key, rejected=True)
        good = entry.session.key
        entry.session = msgspec.structs.replace(entry.session, key=bad)
        await asyncio.sleep(30.1)
        assert info_of(world, session_id).degraded
        entry.session = msgspec.structs.replace(entry.session, key=good)
        await asyncio.sleep(30)
        assert not info_of(world, session_id).degraded


# --- secrets ---


@pytest.mark.seed("QUA-001", "Secrets-1")
async def test_a_key_is_shown_by_nothing_but_credential(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []

    def show(value: Any) -> None:
        shown.append(picture(value))

    async with a_world(max_retry_attempts=0) as world:
        world.manager.register_conversation_hooks(Application())
        world.keys.fail(DOWN)
        with pytest.raises(SessionStartError) as failed:
            await started(world)
        show(failed.value)
        session_id = await started(world)
        world.keys.fail(DOWN)
        await world.manager.renew_session(session_id)
        await world.manager.renew_session(session_id)
        credential = world.manager.credential(session_id)
        for value in (credential, credential.key, world.manager, world.performer.vault, world.performer.registry):
            show(value)
        show(world.manager.get_session_info(session_id))
        show(world.manager.get_session_diagnostics(session_id))
        show(await world.manager.test_session_health(session_id))
        show(vars(world.manager))
        with pytest.raises(TypeError, match="must not leave the process"):
            pickle.dumps(credential.key)
        await world.manager.end_session()
        for event in world.recorder.events:
            show(event)
            show(event.diagnostics)
    everything = "\n".join(shown) + caplog.text
    assert len(shown) > 30
    assert "ek_fake" not in everything
    assert credential.reveal() == "ek_fake_2"


@pytest.mark.seed("QUA-001", "Secrets-1")
async def test_a_key_that_is_replaced_or_ended_is_forgotten() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await world.manager.renew_session(session_id)
        assert world.keys_held() == 1
        await world.manager.end_session(session_id)
        assert world.keys_held() == 0
        with pytest.raises(SessionNotFoundError):
            world.manager.credential(session_id)


@pytest.mark.seed("TRB-renewal-failure", "API-getSessionDiagnostics")
async def test_a_failed_session_can_still_be_examined() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await asyncio.sleep(60)
        world.keys.fail(AuthenticationError("401", provider_code="invalid_api_key"))
        await world.manager.renew_session(session_id)
        await asyncio.sleep(10)
        diagnostics = world.manager.get_session_diagnostics(session_id)
        assert (diagnostics.state, diagnostics.uptime, diagnostics.next_event) == (Phase.FAILED, 60, None)
        assert diagnostics.last_error is not None
        assert diagnostics.last_error.provider_code == "invalid_api_key"
