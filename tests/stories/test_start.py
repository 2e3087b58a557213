"""Starting a session."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.stories.cast import Application, Stamps, StubbornKeyService, phase, seconds_since
from tests.support import a_world

from voicepilot import (
    AuthenticationError,
    ConfigurationError,
    Phase,
    ProviderUnavailableError,
    RateLimitError,
    SessionConfig,
    SessionEndedError,
    SessionLimitError,
    SessionManager,
    SessionStartError,
)
from voicepilot.testing import FakeKeyService, VirtualClock

DOWN = ProviderUnavailableError("down")


@pytest.mark.seed("QUA-002", "Start-1")
async def test_without_configuration_three_sessions_may_be_live() -> None:
    async with SessionManager(FakeKeyService(), clock=VirtualClock()) as manager:
        for _ in range(3):
            await manager.start_session()
        with pytest.raises(SessionLimitError, match="3 sessions are live already"):
            await manager.start_session()


@pytest.mark.seed("QUA-002", "API-startSession", "Start-1", "Start-5")
@pytest.mark.parametrize("other", [Phase.STARTING, Phase.RENEWING, Phase.RECOVERING, Phase.PAUSED, Phase.ENDING])
async def test_a_session_in_any_live_phase_holds_its_slot(other: Phase) -> None:
    async with a_world(limit=1, key_life_seconds=60) as world, asyncio.TaskGroup() as tasks:
        if other is Phase.STARTING:
            world.keys.hang()
            start = tasks.create_task(_ended_start(world.manager))
            await asyncio.sleep(0)
        else:
            session = await world.manager.start_session()
        if other is Phase.RENEWING:
            world.keys.hang()
            tasks.create_task(world.manager.renew_session(session.session_id))
        if other is Phase.RECOVERING:
            world.keys.fail(DOWN, count=50)
            await asyncio.sleep(61)
        if other is Phase.PAUSED:
            await world.manager.pause_session(session.session_id)
        if other is Phase.ENDING:
            world.manager.register_conversation_hooks(Application(ending=0.5))
            tasks.create_task(world.manager.end_session(session.session_id))
        await asyncio.sleep(0)
        assert [known.state for known in world.manager.get_all_sessions()] == [other]
        with pytest.raises(SessionLimitError) as refused:
            await world.manager.start_session()
        assert refused.value.remediation == "End a session first, or raise max_concurrent_sessions."
        await world.manager.end_session(world.manager.get_all_sessions()[0].session_id)
        world.keys.heal()
        if other is Phase.STARTING:
            assert await start
        assert (await world.manager.start_session()).state is Phase.ACTIVE


async def _ended_start(manager: SessionManager) -> bool:
    with contextlib.suppress(SessionEndedError):
        await manager.start_session()
        return False
    return True


@pytest.mark.seed("OVR-002", "API-startSession", "Start-2")
async def test_the_key_is_asked_for_with_the_sessions_own_wishes() -> None:
    async with a_world() as world:
        options = {"audio": {"output": {"voice": "marin"}}}
        session = await world.manager.start_session(
            {"key_life_seconds": 120}, model="gpt-realtime", session=options, labels={"room": "7"}
        )
        await world.manager.renew_session(session.session_id)
        first, second = world.keys.mints
        assert (first.renewal, second.renewal) == (False, True)
        for request in (first.request, second.request):
            assert request.session_id == session.session_id
            assert (request.model, request.session, request.labels) == ("gpt-realtime", options, {"room": "7"})
            assert request.life_seconds == 120


@pytest.mark.seed("Start-2")
async def test_a_key_lives_ten_minutes_unless_told_otherwise() -> None:
    async with a_world() as world:
        session = await world.manager.start_session()
        assert world.keys.mints[0].request.life_seconds == 600
        assert session.expires_at == session.created_at + 600
        for seconds in (9, 7_201):
            with pytest.raises(ConfigurationError, match="key_life_seconds: must be between 10 and 7200 seconds"):
                await world.manager.start_session({"key_life_seconds": seconds})
        assert len(world.keys.mints) == 1


@pytest.mark.seed("API-startSession", "HOOK-onSessionReady", "EVT-session-started", "ARC-003", "Start-3")
async def test_a_start_arms_timers_becomes_active_tells_and_waits_for_the_application() -> None:
    async with a_world() as world:
        order: list[str] = []
        world.manager.on_session_state_changed(lambda event: order.append(event.new_state))
        world.manager.on_session_started(lambda event: order.append(event.type))
        application = Application(ready=2)
        world.manager.register_conversation_hooks(application)
        began = world.clock.now()

        session = await world.manager.start_session()

        assert seconds_since(world, began) == 2
        assert order == ["starting", "active", "session-started"]
        assert application.calls == ["ready"]
        assert application.seen[0].state is Phase.ACTIVE
        assert session.state is Phase.ACTIVE
        timers = world.manager.get_session_diagnostics(session.session_id).timers
        assert (timers.renewal.is_active, timers.inactivity.is_active, timers.heartbeat.is_active) == (True, True, True)


@pytest.mark.seed("API-startSession", "HOOK-onSessionReady", "Start-3")
async def test_a_ready_hook_that_hangs_delays_the_start_by_its_time_limit_only() -> None:
    async with a_world(hook_timeout_seconds=3) as world:
        world.manager.register_conversation_hooks(Application(ready=1e6))
        began = world.clock.now()
        session = await world.manager.start_session()
        assert (seconds_since(world, began), session.state) == (3, Phase.ACTIVE)


@pytest.mark.seed("API-getSessionInfo", "Start-3")
async def test_what_a_start_returns_is_frozen() -> None:
    async with a_world() as world:
        session = await world.manager.start_session()
        with pytest.raises(AttributeError):
            session.state = Phase.FAILED  # type: ignore[misc]
        assert phase(world, session.session_id) is Phase.ACTIVE


@pytest.mark.seed("QUA-003", "Start-4")
async def test_a_retryable_fault_is_retried_until_the_start_works() -> None:
    async with a_world() as world:
        world.keys.fail(DOWN, count=3)
        session = await world.manager.start_session()
        assert session.last_error is None
        assert [mint.request.attempt for mint in world.keys.mints] == [1, 2, 3, 4]
        assert world.recorder.of("authentication-error") == []


@pytest.mark.seed("Start-4", "Start-5")
async def test_no_retry_goes_beyond_the_time_a_start_may_take() -> None:
    async with a_world(start_timeout_seconds=5, max_retry_attempts=100) as world:
        world.keys.fail(DOWN, count=1_000)
        began = world.clock.now()
        with pytest.raises(SessionStartError, match="Failed to obtain session credentials: down"):
            await world.manager.start_session()
        assert seconds_since(world, began) <= 5


@pytest.mark.seed("Start-4", "Start-5")
async def test_a_retry_that_would_come_too_late_is_not_waited_for() -> None:
    async with a_world() as world:
        world.keys.fail(RateLimitError("slow down", retry_after=60))
        began = world.clock.now()
        with pytest.raises(SessionStartError, match="slow down") as failed:
            await world.manager.start_session()
        assert seconds_since(world, began) == 0
        assert (failed.value.retryable, failed.value.fault.retry_after) == (True, 60)


@pytest.mark.seed("Start-4", "Start-5")
async def test_a_provider_that_never_answers_fails_the_start_in_time() -> None:
    async with a_world(start_timeout_seconds=5) as world:
        world.keys.hang(count=10)
        began = world.clock.now()
        with pytest.raises(SessionStartError, match="no key within 5 s") as failed:
            await world.manager.start_session()
        assert seconds_since(world, began) == 5
        assert failed.value.fault.cause == "KEY_REQUEST_TIMEOUT"


@pytest.mark.seed("Start-4")
async def test_a_start_waits_as_long_as_the_provider_asks() -> None:
    async with a_world() as world:
        world.keys.fail(RateLimitError("slow down", retry_after=12))
        began = world.clock.now()
        await world.manager.start_session()
        assert seconds_since(world, began) == 12


@pytest.mark.seed("API-startSession", "EVT-authentication-error", "QUA-001", "Start-5", "Start-7")
async def test_a_start_without_a_key_raises_what_the_provider_said_and_tells_it() -> None:
    async with a_world() as world:
        refusal = AuthenticationError("401: incorrect key", status=401, provider_code="invalid_api_key")
        world.keys.fail(refusal)
        with pytest.raises(SessionStartError) as failed:
            await world.manager.start_session()
        assert failed.value.__cause__ is refusal
        assert not failed.value.retryable
        (told,) = world.recorder.of("authentication-error")
        fault = told.error  # type: ignore[attr-defined]  # an error event
        assert fault == failed.value.fault
        assert (fault.code, fault.cause) == ("SESSION_START_FAILED", "INVALID_CREDENTIALS")
        assert (fault.status, fault.provider_code) == (401, "invalid_api_key")
        assert fault.remediation == "Check that the API key is current and belongs to this endpoint."
        assert len(world.keys.mints) == 1
        assert world.recorder.of("session-started", "session-ended") == []


@pytest.mark.seed("API-getAllSessions", "Start-6")
async def test_a_failed_start_stays_for_diagnostics_and_goes_by_itself() -> None:
    async with a_world() as world:
        world.keys.fail(AuthenticationError("no"))
        with pytest.raises(SessionStartError) as failed:
            await world.manager.start_session()
        session_id = failed.value.session_id
        assert session_id is not None
        await asyncio.sleep(299)
        assert [known.state for known in world.manager.get_all_sessions()] == [Phase.FAILED]
        diagnostics = world.manager.get_session_diagnostics(session_id)
        assert diagnostics.last_error == failed.value.fault
        await asyncio.sleep(2)
        assert world.manager.get_all_sessions() == ()


@pytest.mark.seed("Start-6")
async def test_how_long_a_failed_record_stays_is_an_option() -> None:
    async with a_world(failed_retention_seconds=10) as world:
        world.keys.fail(AuthenticationError("no"))
        with pytest.raises(SessionStartError):
            await world.manager.start_session()
        await asyncio.sleep(9)
        assert len(world.manager.get_all_sessions()) == 1
        await asyncio.sleep(1)
        assert world.manager.get_all_sessions() == ()


@pytest.mark.seed("Start-8", "Start-7", "End-3")
async def test_ending_a_session_that_is_starting_makes_its_start_raise() -> None:
    async with a_world() as world, asyncio.TaskGroup() as tasks:
        world.keys.hang()
        start = tasks.create_task(_ended_start(world.manager))
        await asyncio.sleep(1)
        current = world.manager.get_current_session()
        assert current is not None
        began = world.clock.now()
        await world.manager.end_session()
        assert await start
        assert seconds_since(world, began) == 0
        assert world.recorder.of("session-started", "session-ended") == []
        assert world.manager.get_all_sessions() == ()


@pytest.mark.seed("Start-9")
async def test_cancelling_a_start_ends_the_session() -> None:
    async with a_world(limit=1) as world:
        world.keys.hang()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await world.manager.start_session()
        await asyncio.sleep(0.1)
        assert world.manager.get_all_sessions() == ()
        assert (await world.manager.start_session()).state is Phase.ACTIVE


@pytest.mark.seed("Start-9")
async def test_cancelling_a_start_that_waits_for_its_ready_hook_ends_the_session_that_had_started() -> None:
    async with a_world() as world:
        world.manager.register_conversation_hooks(Application(ready=4))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await world.manager.start_session()
        await asyncio.sleep(0.1)
        (ended,) = world.recorder.of("session-ended")
        assert ended.reason == "start-cancelled"  # type: ignore[attr-defined]  # a SessionEnded
        assert world.keys_held() == 0


@pytest.mark.seed("Start-10")
async def test_a_key_that_arrives_after_the_end_is_released() -> None:
    keys = StubbornKeyService(seconds=1)
    async with a_world(keys=keys) as world, asyncio.TaskGroup() as tasks:
        start = tasks.create_task(_ended_start(world.manager))
        await asyncio.sleep(0.5)
        await world.manager.end_session()
        assert await start
        await asyncio.sleep(5)
        assert (keys.late, len(keys.issued)) == (1, 1)
        assert world.keys_held() == 0
        assert world.manager.get_all_sessions() == ()


@pytest.mark.seed("QUA-004", "API-startSession", "Start-5")
async def test_an_option_that_cannot_be_is_refused_before_anything_happens() -> None:
    async with a_world() as world:
        with pytest.raises(ConfigurationError, match=r"did you mean heartbeat_interval_seconds\?"):
            await world.manager.start_session({"heartbeat_interval_second": 5})
        with pytest.raises(ConfigurationError, match="must be True or False"):
            SessionConfig(enable_heartbeat=1)  # type: ignore[arg-type]
        assert world.recorder.events == []
        assert world.manager.get_all_sessions() == ()


@pytest.mark.seed("TST-fake-time")
async def test_an_hour_of_a_session_takes_no_time_and_is_exact() -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        stamps = Stamps(world)
        await world.manager.start_session()
        await asyncio.sleep(3_600)
        assert stamps.of("renewal-completed") == [590, 1180, 1770, 2360, 2950, 3540]
