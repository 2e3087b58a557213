"""Section 4 of the original's defects: renewal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from tests.support import a_world

from voicepilot import (
    ConversationLifecycleHooks,
    MissingCredentialsError,
    NetworkError,
    Phase,
    ProviderUnavailableError,
    SessionErrorEvent,
    StateChanged,
)
from voicepilot.ports import OperationContext

T = TypeVar("T")


class Passing:
    """A recovery executor that runs everything once."""

    async def execute(self, operation: Callable[[], Awaitable[T]], context: OperationContext) -> T:
        return await operation()


@pytest.mark.defect(53)
async def test_behind_a_recovery_executor_a_failed_renewal_keeps_what_the_provider_said() -> None:
    async with a_world() as world:
        world.manager.set_recovery_executor(Passing())
        session = await world.manager.start_session()
        world.keys.fail(MissingCredentialsError("gone", provider_code="no_key", remediation="Set it."))
        error = (await world.manager.renew_session(session.session_id)).error
        assert error is not None
        assert (error.code, error.cause, error.provider_code) == ("RENEWAL_FAILED", "MISSING_CREDENTIALS", "no_key")
        assert (error.retryable, error.remediation) == (False, "Set it.")
        assert len(world.keys.mints) == 2


@pytest.mark.defect(54)
async def test_a_blip_at_an_automatic_renewal_is_retried() -> None:
    async with a_world(key_life_seconds=60) as world:
        session = await world.manager.start_session()
        world.keys.fail(NetworkError("blip"), count=2)
        await asyncio.sleep(59)
        assert world.recorder.types().count("renewal-completed") == 1
        assert world.recorder.of("renewal-failed", "renewal-error") == []
        assert world.manager.is_session_active(session.session_id)


@pytest.mark.defect(55)
@pytest.mark.parametrize("by_hand", [True, False])
async def test_a_renewal_by_the_timer_tells_what_one_by_hand_tells(by_hand: bool) -> None:
    async with a_world(key_life_seconds=60, max_retry_attempts=0) as world:
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"))
        told = len(world.recorder.events)
        if by_hand:
            await world.manager.renew_session(session.session_id)
            await asyncio.sleep(0.9)
        else:
            await asyncio.sleep(50.4)
        assert world.recorder.types()[told:][:5] == [
            *["state-changed", "renewal-started"],
            *["state-changed", "renewal-failed", "renewal-error"],
        ]


@pytest.mark.defect(56)
async def test_a_session_that_cannot_go_on_is_ended_properly_and_leaves_the_registry() -> None:
    told: list[str] = []
    async with a_world(enable_inactivity_timeout=False) as world:
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(on_session_ending=lambda info: told.append(info.state.value))
        )
        session = await world.manager.start_session()
        world.keys.fail(MissingCredentialsError("gone"))
        await world.manager.renew_session(session.session_id)
        await asyncio.sleep(2)
        assert told == ["ending"]
        assert world.recorder.types()[-2:] == ["state-changed", "session-ended"]
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert (info.state, world.performer.registry.slots) == (Phase.FAILED, 0)
        beats = info.statistics.heartbeat_count
        await asyncio.sleep(290)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert info.statistics.heartbeat_count == beats
        await asyncio.sleep(15)
        assert world.manager.get_session_info(session.session_id) is None


@pytest.mark.defect(57)
@pytest.mark.defect(58)
async def test_every_change_of_phase_is_told_with_where_it_came_from() -> None:
    async with a_world(key_life_seconds=60) as world:
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"), count=9)
        await asyncio.sleep(200)
        await world.manager.pause_session(session.session_id)
        await world.manager.resume_session(session.session_id)
        await world.manager.end_session(session.session_id)
        moves = [event for event in world.recorder.events if isinstance(event, StateChanged)]
        path = [moves[0].previous_state.value, *(move.new_state.value for move in moves)]
        assert [move.previous_state.value for move in moves] == path[:-1]
        assert path[:3] == ["idle", "starting", "active"]
        assert "recovering" in path
        assert path[-4:] == ["paused", "active", "ending", "ended"]
        assert all(move.reason for move in moves)


@pytest.mark.defect(58)
async def test_a_renewal_of_a_session_that_is_ending_or_failed_is_refused() -> None:
    async with a_world() as world:
        session = await world.manager.start_session()
        world.purger.delay = 0.3
        ending = asyncio.create_task(world.manager.end_session(session.session_id))
        await asyncio.sleep(0.1)
        result = await world.manager.renew_session(session.session_id)
        assert not result.success
        await ending
        assert len(world.keys.mints) == 1


@pytest.mark.defect(59)
async def test_concurrent_renewals_ask_for_one_key() -> None:
    async with a_world() as world:
        world.keys.latency = 0.5
        session = await world.manager.start_session()
        results = await asyncio.gather(*(world.manager.renew_session(session.session_id) for _ in range(5)))
        assert all(result.success for result in results)
        assert (len(world.keys.mints), world.keys_held()) == (2, 1)


@pytest.mark.defect(60)
async def test_only_the_session_schedules_its_renewals_and_the_old_key_is_forgotten() -> None:
    async with a_world(key_life_seconds=60, enable_inactivity_timeout=False) as world:
        session = await world.manager.start_session()
        await asyncio.sleep(505)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert len(world.keys.mints) == 11 == 1 + info.statistics.renewal_count
        assert world.keys_held() == 1


async def test_an_unknown_session_is_a_failed_result() -> None:  # keep 47
    async with a_world() as world:
        result = await world.manager.renew_session("session-unknown")
        assert result.error is not None
        assert (result.success, result.latency_ms, result.error.code) == (False, 0, "SESSION_NOT_FOUND")
        assert (result.error.retryable, result.error.remediation) == (False, "Start a new session.")


async def test_the_average_latency_is_over_successes_only() -> None:  # keep 49
    async with a_world(max_retry_attempts=0) as world:
        session = await world.manager.start_session()
        for latency in (1, 3):
            world.keys.latency = latency
            await world.manager.renew_session(session.session_id)
        world.keys.latency = 9
        world.keys.fail(NetworkError("down"))
        await world.manager.renew_session(session.session_id)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert info.statistics.average_renewal_latency_ms == pytest.approx(2_000)
        assert (info.statistics.renewal_count, info.statistics.failed_renewal_count) == (2, 1)


async def test_a_failed_round_tells_failed_then_error_and_never_raises() -> None:  # keep 51, 52
    async with a_world(max_retry_attempts=0) as world:
        session = await world.manager.start_session()
        world.keys.fail(RuntimeError("bug"))
        assert not (await world.manager.renew_session(session.session_id)).success
        assert world.recorder.types()[-3:] == ["renewal-failed", "renewal-error", "degraded-changed"]
        event = world.recorder.events[-2]
        assert isinstance(event, SessionErrorEvent)
        assert event.error.retryable
