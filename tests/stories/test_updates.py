"""Changes of config while a session runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.stories.cast import Application, Stamps, phase
from tests.support import World, a_world

from voicepilot import (
    ConfigurationError,
    Phase,
    ProviderUnavailableError,
    RateLimitError,
    SessionConfig,
    SessionNotFoundError,
)
from voicepilot.testing import FakeKeyService

LONG: dict[str, Any] = {"key_life_seconds": 7_200}


async def started(world: World) -> str:
    return (await world.manager.start_session()).session_id


def beats(world: World, session_id: str) -> int:
    info = world.manager.get_session_info(session_id)
    assert info is not None
    return info.statistics.heartbeat_count


async def changed(world: World, session_id: str, **changes: Any) -> None:
    await world.manager.update_session_config(session_id, changes)


@pytest.mark.seed("API-updateSessionConfig", "Time-9")
@pytest.mark.parametrize(
    ("change", "timer", "remaining"),
    [
        ({"renewal_margin_seconds": 100}, "renewal", 400),
        ({"renewal_margin_seconds": 0}, "renewal", 500),
        ({"inactivity_timeout_minutes": 10}, "inactivity", 500),
        ({"inactivity_timeout_minutes": 2}, "inactivity", 20),
        ({"enable_inactivity_timeout": False}, "inactivity", None),
        ({"heartbeat_interval_seconds": 45}, "heartbeat", 45),
        ({"enable_heartbeat": False}, "heartbeat", None),
        ({"max_retry_attempts": 9}, "heartbeat", 20),
    ],
)
async def test_an_update_moves_the_timer_it_concerns_at_once(
    change: dict[str, Any], timer: str, remaining: float | None
) -> None:
    async with a_world() as world:
        session_id = await started(world)
        await asyncio.sleep(100)
        before = world.manager.get_session_diagnostics(session_id).timers
        await changed(world, session_id, **change)
        after = world.manager.get_session_diagnostics(session_id).timers
        assert getattr(after, timer).remaining == remaining
        for other in {"renewal", "inactivity", "heartbeat"} - {timer}:
            assert getattr(after, other) == getattr(before, other)


@pytest.mark.seed("API-updateSessionConfig", "Time-9")
async def test_an_idle_time_that_is_over_already_ends_the_session_now() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await asyncio.sleep(100)
        await changed(world, session_id, inactivity_timeout_minutes=1)
        await asyncio.sleep(0.01)
        assert phase(world, session_id) is None


@pytest.mark.seed("API-updateSessionConfig", "OPT-enableHeartbeat", "OPT-enableInactivityTimeout", "Time-9")
async def test_timers_that_were_off_can_be_switched_on() -> None:
    async with a_world(enable_heartbeat=False, enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        await asyncio.sleep(1_000)
        await changed(world, session_id, enable_heartbeat=True, enable_inactivity_timeout=True)
        timers = world.manager.get_session_diagnostics(session_id).timers
        assert (timers.heartbeat.remaining, timers.inactivity.remaining) == (30, 300)


@pytest.mark.seed("API-updateSessionConfig", "Time-9", "Time-6")
async def test_an_update_of_a_paused_session_counts_when_it_resumes() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await asyncio.sleep(10)
        await world.manager.pause_session(session_id)
        await changed(world, session_id, inactivity_timeout_minutes=1, heartbeat_interval_seconds=7)
        timers = world.manager.get_session_diagnostics(session_id).timers
        assert (timers.inactivity.remaining, timers.heartbeat.remaining) == (50, 7)
        assert timers.inactivity.is_paused
        await world.manager.resume_session(session_id)
        await asyncio.sleep(7)
        assert beats(world, session_id) == 1


@pytest.mark.seed("API-updateSessionConfig", "OPT-maxRetryAttempts", "Time-9")
async def test_retry_numbers_can_be_changed_during_a_round() -> None:
    async with a_world(max_retry_attempts=0, **LONG) as world:
        session_id = await started(world)
        world.keys.fail(ProviderUnavailableError("down"), count=2)
        renewal = asyncio.ensure_future(world.manager.renew_session(session_id))
        await changed(world, session_id, max_retry_attempts=2)
        assert (await renewal).attempts == 3


@pytest.mark.seed("API-updateSessionConfig", "OPT-retryBackoffMs", "Time-9")
@pytest.mark.parametrize("most", [3, 0])
async def test_a_shorter_backoff_shortens_the_wait_under_way(most: int) -> None:
    async with a_world(retry_backoff_ms=60_000, max_retry_attempts=most, **LONG) as world:
        stamps = Stamps(world)
        session_id = await started(world)
        world.keys.fail(ProviderUnavailableError("down"))
        renewal = asyncio.ensure_future(world.manager.renew_session(session_id))
        await asyncio.sleep(1)
        await changed(world, session_id, retry_backoff_ms=1_000)
        await asyncio.sleep(1.1)
        assert (await renewal).success == (most > 0)
        (completed,) = stamps.of("renewal-completed")
        assert 1.5 <= completed <= 2


@pytest.mark.seed("API-updateSessionConfig", "OPT-retryBackoffMs", "Renewal-8", "Time-9")
async def test_a_shorter_backoff_does_not_overrule_what_the_provider_asked_for() -> None:
    async with a_world(retry_backoff_ms=60_000, **LONG) as world:
        stamps = Stamps(world)
        session_id = await started(world)
        world.keys.fail(RateLimitError("slow down", retry_after=50))
        renewal = asyncio.ensure_future(world.manager.renew_session(session_id))
        await asyncio.sleep(10)
        await changed(world, session_id, retry_backoff_ms=1_000)
        assert (await renewal).success
        assert stamps.of("renewal-completed") == [50]


@pytest.mark.seed("API-updateSessionConfig", "Time-9")
async def test_life_hook_limit_and_retention_count_from_the_next_use() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await changed(world, session_id, key_life_seconds=120, hook_timeout_seconds=2)
        world.manager.register_conversation_hooks(Application(suspending=1e6))
        began = world.clock.now()
        await world.manager.renew_session(session_id)
        assert world.clock.now() - began == 2
        assert world.keys.mints[-1].request.life_seconds == 120


@pytest.mark.seed("API-updateSessionConfig", "Time-9")
async def test_a_longer_start_time_helps_a_start_under_way() -> None:
    async with a_world(keys=FakeKeyService(latency=8), start_timeout_seconds=5) as world:
        start = asyncio.ensure_future(world.manager.start_session())
        await asyncio.sleep(1)
        (starting,) = world.manager.get_all_sessions()
        await changed(world, starting.session_id, start_timeout_seconds=20, heartbeat_interval_seconds=5)
        timers = world.manager.get_session_diagnostics(starting.session_id).timers
        assert not timers.inactivity.is_active
        assert not timers.heartbeat.is_active
        assert (await start).state is Phase.ACTIVE


@pytest.mark.seed("API-updateSessionConfig", "QUA-004", "Time-9")
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"heartbeat_interval_seconds": 20, "inactivity_timeout_minutes": 0}, "inactivity_timeout_minutes"),
        ({"heartbeat_interval_seconds": 20, "max_retry_attempts": 2.5}, "max_retry_attempts"),
        ({"heartbeat_interval_seconds": 20, "enable_heartbeat": None}, "enable_heartbeat"),
        ({"heartbeat_interval_seconds": 20, "renewal_margin": 5}, "renewal_margin"),
    ],
)
async def test_an_update_with_one_bad_value_is_refused_whole(changes: dict[str, Any], names: str) -> None:
    async with a_world() as world:
        session_id = await started(world)
        before = world.manager.get_session_diagnostics(session_id).timers
        with pytest.raises(ConfigurationError) as refused:
            await world.manager.update_session_config(session_id, changes)
        assert refused.value.field == names
        assert world.manager.get_session_config(session_id) == SessionConfig()
        assert world.manager.get_session_diagnostics(session_id).timers == before


@pytest.mark.seed("API-updateSessionConfig", "API-getSessionConfig")
async def test_the_config_in_force_can_be_read_compared_and_changed() -> None:
    async with a_world() as world:
        session_id = await started(world)
        assert world.manager.get_session_config(session_id) == SessionConfig()
        updated = await world.manager.update_session_config(session_id, {"retry_backoff_ms": 500})
        assert updated == world.manager.get_session_config(session_id) == SessionConfig(retry_backoff_ms=500)
        assert world.manager.get_session_config("session-0-none") is None
        with pytest.raises(SessionNotFoundError, match="Session session-0-none not found"):
            await world.manager.update_session_config("session-0-none", {})
