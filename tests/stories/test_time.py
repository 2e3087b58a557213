"""Renewal, inactivity and heartbeat; machines that sleep; clocks that jump; pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from tests.stories.cast import FakeExecutor, Stamps, phase
from tests.support import World, a_world

from voicepilot import (
    NextEvent,
    Phase,
    SessionError,
    SessionNotFoundError,
    SessionTimerManager,
    TimerStatus,
)
from voicepilot.ports import OperationContext
from voicepilot.testing import FakeKeyService

T = TypeVar("T")
LONG: dict[str, Any] = {"key_life_seconds": 7_200}


async def started(world: World) -> str:
    return (await world.manager.start_session()).session_id


def beats(world: World, session_id: str) -> int:
    info = world.manager.get_session_info(session_id)
    assert info is not None
    return info.statistics.heartbeat_count


@pytest.mark.seed("EVT-timeout-error", "OPT-inactivityTimeoutMinutes", "QUA-003", "Time-1", "Telling-9")
async def test_five_silent_minutes_end_a_session_and_it_is_told_why() -> None:
    async with a_world() as world:
        stamps = Stamps(world)
        session_id = await started(world)
        await asyncio.sleep(299.9)
        assert phase(world, session_id) is Phase.ACTIVE
        await asyncio.sleep(0.2)
        assert phase(world, session_id) is None
        assert stamps.of("timeout-error", "session-ended") == [300, 300]
        error, ended = world.recorder.of("timeout-error", "session-ended")
        fault = error.error  # type: ignore[attr-defined]  # an error event
        assert (fault.code, fault.message, fault.retryable) == (
            "INACTIVITY_TIMEOUT",
            "no activity for 5 minutes",
            False,
        )
        assert fault.remediation == "Start a new session when ready to continue."
        assert ended.reason == "inactivity-timeout"  # type: ignore[attr-defined]  # a SessionEnded


@pytest.mark.seed("OPT-inactivityTimeoutMinutes")
async def test_the_idle_time_is_an_option() -> None:
    async with a_world(inactivity_timeout_minutes=0.5) as world:
        stamps = Stamps(world)
        await started(world)
        await asyncio.sleep(31)
        assert stamps.of("timeout-error") == [30]


@pytest.mark.seed("OPT-enableInactivityTimeout")
async def test_without_the_inactivity_timeout_a_silent_session_goes_on() -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        await asyncio.sleep(7_200)
        assert phase(world, session_id) is Phase.ACTIVE


@pytest.mark.seed("API-resetInactivityTimer", "QUA-003", "Time-10")
async def test_activity_restarts_the_countdown_and_is_counted() -> None:
    async with a_world() as world:
        session_id = await started(world)
        began = world.clock.now()
        for _ in range(4):
            await asyncio.sleep(200)
            world.manager.reset_inactivity_timer(session_id)
        info = world.manager.get_session_info(session_id)
        assert info is not None
        assert (info.statistics.inactivity_resets, info.last_activity) == (4, began + 800)
        stamps = Stamps(world)
        await asyncio.sleep(301)
        assert stamps.of("timeout-error") == [300]
        world.manager.reset_inactivity_timer(session_id)  # a late audio frame of an ended session does no harm


@pytest.mark.seed("API-resetInactivityTimer", "Time-10")
async def test_activity_arms_no_timer_and_makes_no_step() -> None:
    async with a_world() as world:
        session_id = await started(world)
        entry = world.performer.registry.get(session_id)
        assert entry is not None
        before, heap = entry.session, list(world.manager._timers._heap)
        for _ in range(10_000):
            world.manager.reset_inactivity_timer(session_id)
        assert entry.session is before
        assert world.manager._timers._heap == heap
        assert world.manager.get_session_info(session_id).statistics.inactivity_resets == 10_000  # type: ignore[union-attr]


@pytest.mark.seed("OPT-heartbeatIntervalSeconds", "IMP-002", "Time-1", "Time-8")
async def test_a_heartbeat_comes_every_half_minute() -> None:
    async with a_world(enable_inactivity_timeout=False, **LONG) as world:
        session_id = await started(world)
        await asyncio.sleep(29.9)
        assert beats(world, session_id) == 0
        await asyncio.sleep(0.2)
        assert beats(world, session_id) == 1
        await asyncio.sleep(3_570)
        assert beats(world, session_id) == 120


@pytest.mark.seed("OPT-heartbeatIntervalSeconds", "OPT-enableHeartbeat")
@pytest.mark.parametrize(
    ("options", "count"), [({"heartbeat_interval_seconds": 15}, 8), ({"enable_heartbeat": False}, 0)]
)
async def test_the_heartbeat_is_an_option(options: dict[str, Any], count: int) -> None:
    async with a_world(**options) as world:
        session_id = await started(world)
        await asyncio.sleep(121)
        assert beats(world, session_id) == count


@pytest.mark.seed("Time-8", "Time-2")
async def test_beats_that_were_slept_through_are_one_beat_and_the_rhythm_is_kept() -> None:
    async with a_world(enable_inactivity_timeout=False, **LONG) as world:
        session_id = await started(world)
        world.clock.suspend(100)
        await asyncio.sleep(6)
        assert beats(world, session_id) == 1
        following = world.manager.get_session_diagnostics(session_id).timers.heartbeat
        assert following.remaining == 120 - 106


@pytest.mark.seed("Time-2", "Time-5")
async def test_a_machine_that_slept_too_long_notices_within_five_seconds() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await asyncio.sleep(10)
        world.clock.suspend(3_600)
        await asyncio.sleep(5.1)
        assert phase(world, session_id) is None
        assert world.recorder.of("session-ended")[0].reason == "inactivity-timeout"  # type: ignore[attr-defined]


@pytest.mark.seed("Time-2", "Time-5", "Renewal-10")
async def test_a_key_that_lapsed_while_the_machine_slept_is_replaced_at_once() -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        await asyncio.sleep(10)
        world.clock.suspend(3_600)
        await asyncio.sleep(5)
        assert phase(world, session_id) is Phase.ACTIVE
        assert world.manager.credential(session_id).reveal() == "ek_fake_2"
        assert world.manager.get_session_diagnostics(session_id).key_seconds_left == pytest.approx(600, abs=5)


@pytest.mark.seed("Time-4", "Time-3")
@pytest.mark.parametrize("offset", [-86_400.0, 86_400.0])
async def test_a_jump_of_the_wall_clock_moves_no_deadline(offset: float) -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        stamps = Stamps(world)
        session_id = await started(world)
        await asyncio.sleep(100)
        world.clock.set_wall(offset)
        await asyncio.sleep(600)
        assert stamps.of("renewal-completed") == [590]
        assert phase(world, session_id) is Phase.ACTIVE


@pytest.mark.seed("Time-3")
async def test_a_keys_expiry_is_what_was_left_of_it_when_it_arrived() -> None:
    async with a_world(keys=FakeKeyService(latency=7, key_life=33)) as world:
        session = await world.manager.start_session()
        assert session.expires_at == session.created_at + 7 + 33


@pytest.mark.seed("Time-6")
async def test_a_pause_freezes_inactivity_and_heartbeat_once_and_without_drift() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await asyncio.sleep(20)
        await world.manager.pause_session(session_id)
        assert phase(world, session_id) is Phase.PAUSED
        await asyncio.sleep(100)
        await world.manager.pause_session(session_id)
        timers = world.manager.get_session_diagnostics(session_id).timers
        assert timers.inactivity == TimerStatus(is_active=False, remaining=280, is_paused=True)
        assert timers.heartbeat == TimerStatus(is_active=False, remaining=10, is_paused=True)
        await asyncio.sleep(1_000)
        await world.manager.resume_session(session_id)
        resumed = world.clock.now()
        timers = world.manager.get_session_diagnostics(session_id).timers
        assert timers.inactivity == TimerStatus(is_active=True, scheduled_at=resumed + 280, remaining=280)
        assert timers.heartbeat == TimerStatus(is_active=True, scheduled_at=resumed + 10, remaining=10)
        assert phase(world, session_id) is Phase.ACTIVE


@pytest.mark.seed("Time-6")
async def test_a_paused_session_is_renewed_by_its_keys_expiry_and_stays_paused() -> None:
    async with a_world() as world:
        stamps = Stamps(world)
        session_id = await started(world)
        await world.manager.pause_session(session_id)
        await asyncio.sleep(1_200)
        assert stamps.of("renewal-completed") == [590, 1180]
        assert phase(world, session_id) is Phase.PAUSED


@pytest.mark.seed("Time-6", "Time-7", "IMP-002")
async def test_a_session_held_by_two_runs_on_when_both_let_go() -> None:
    async with a_world() as world:
        session_id = await started(world)
        timers = world.manager._timers
        await asyncio.sleep(20)
        timers.pause(session_id)
        await asyncio.sleep(50)
        await world.manager.pause_session(session_id)
        timers.resume(session_id)
        await asyncio.sleep(50)
        status = world.manager.get_session_diagnostics(session_id).timers
        assert (status.inactivity.remaining, status.heartbeat.is_paused) == (280, True)
        await world.manager.resume_session(session_id)
        await asyncio.sleep(10)
        assert beats(world, session_id) == 1


@pytest.mark.seed("Time-6")
async def test_a_session_that_is_not_running_cannot_be_paused() -> None:
    async with a_world() as world:
        with pytest.raises(SessionNotFoundError):
            await world.manager.pause_session("session-0-none")
        world.keys.hang()
        start = asyncio.ensure_future(world.manager.start_session())
        await asyncio.sleep(0)
        (starting,) = world.manager.get_all_sessions()
        with pytest.raises(SessionError, match="is starting, not active"):
            await world.manager.pause_session(starting.session_id)
        start.cancel()


@pytest.mark.seed("IMP-002", "ARC-002", "Time-7")
async def test_a_recovery_operation_can_stop_inactivity_and_heartbeat_while_it_works() -> None:
    class Repairing(FakeExecutor):
        """Repairs for ten minutes before each renewal."""

        def __init__(self, timers: SessionTimerManager) -> None:
            super().__init__()
            self.timers = timers

        async def execute(self, operation: Callable[[], Awaitable[T]], context: OperationContext) -> T:
            if context.operation == "renew" and context.session_id:
                self.timers.pause(context.session_id)
                await asyncio.sleep(9)
                self.timers.resume(context.session_id)
            return await super().execute(operation, context)

    async with a_world() as world:
        world.manager.set_recovery_executor(Repairing(world.manager._timers))
        session_id = await started(world)
        await asyncio.sleep(29)
        renewal = asyncio.ensure_future(world.manager.renew_session(session_id))
        await asyncio.sleep(8)
        timers = world.manager.get_session_diagnostics(session_id).timers
        assert (timers.inactivity.remaining, timers.inactivity.is_paused) == (271, True)
        assert (timers.heartbeat.remaining, timers.heartbeat.is_paused) == (1, True)
        assert beats(world, session_id) == 0
        assert (await renewal).success
        await asyncio.sleep(1)
        assert beats(world, session_id) == 1
        assert phase(world, session_id) is Phase.ACTIVE


@pytest.mark.seed("ARC-002", "TST-doubles")
async def test_a_timer_manager_of_ones_own_answers_for_its_manager() -> None:
    async with a_world() as world:
        session_id = await started(world)
        timers = world.manager._timers
        assert timers.timer_status(session_id) == world.manager.get_session_diagnostics(session_id).timers
        assert timers.next_event(session_id) == NextEvent("heartbeat", world.clock.now() + 30, 30)
        assert timers.timer_status("session-0-none") is None
