"""Section 1 of the original's defects: construction, initialise, dispose."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support import World, a_world

from voicepilot import (
    ConversationLifecycleHooks,
    NotInitializedError,
    Phase,
    SessionEndedError,
    SessionManager,
    SessionTimerManager,
)
from voicepilot.testing import FakeKeyService, Recorder, VirtualClock

CALLS: dict[str, Callable[[SessionManager], Any]] = {
    "start": lambda manager: manager.start_session(),
    "renew": lambda manager: manager.renew_session("x"),
    "end": lambda manager: manager.end_session("x"),
    "end the current one": lambda manager: manager.end_session(),
    "pause": lambda manager: manager.pause_session("x"),
    "resume": lambda manager: manager.resume_session("x"),
    "update": lambda manager: manager.update_session_config("x", {}),
    "health": lambda manager: manager.test_session_health("x"),
    "diagnostics": lambda manager: manager.get_session_diagnostics("x"),
    "reset": lambda manager: manager.reset_inactivity_timer("x"),
    "info": lambda manager: manager.get_session_info("x"),
    "current": lambda manager: manager.get_current_session(),
    "all": lambda manager: manager.get_all_sessions(),
    "is active": lambda manager: manager.is_session_active(),
    "config": lambda manager: manager.get_session_config("x"),
    "credential": lambda manager: manager.credential("x"),
}


@pytest.mark.defect(4)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("state", ["new", "disposed"])
async def test_every_method_says_that_the_manager_is_not_initialized(name: str, state: str) -> None:
    manager = SessionManager(FakeKeyService())
    if state == "disposed":
        await manager.initialize()
        await manager.dispose()
        if name.startswith("end") or name == "reset":  # there is no session any more, so nothing to refuse
            await _called(CALLS[name], manager)
            return
    with pytest.raises(NotInitializedError, match="SessionManager"):
        await _called(CALLS[name], manager)


async def _called(call: Callable[[SessionManager], Any], manager: SessionManager) -> None:
    answer = call(manager)
    if isinstance(answer, Awaitable):
        await answer


@pytest.mark.defect(5)
async def test_dispose_before_initialize_is_nothing_to_do() -> None:
    manager = SessionManager(FakeKeyService())
    await manager.dispose()
    await manager.dispose()
    assert not manager.is_initialized


@pytest.mark.defect(6)
async def test_a_disposed_manager_is_not_kept_alive_by_its_key_service() -> None:
    keys = FakeKeyService()
    gone = []
    for _ in range(5):
        manager = SessionManager(keys, clock=VirtualClock())
        async with manager:
            await manager.start_session()
        gone.append(weakref.ref(manager))
    del manager
    await asyncio.sleep(60)
    gc.collect()
    assert [manager() for manager in gone] == [None] * 5


@pytest.mark.defect(7)
async def test_an_injected_timer_manager_wakes_its_manager() -> None:
    keys, clock = FakeKeyService(key_life=60), VirtualClock()
    async with SessionManager(keys, SessionTimerManager(clock), clock=clock) as manager:
        recorder = Recorder(manager)
        session = await manager.start_session({"inactivity_timeout_minutes": 2})
        await asyncio.sleep(59)
        assert "renewal-completed" in recorder.types(session.session_id)
        await asyncio.sleep(62)
        assert recorder.types(session.session_id)[-1] == "session-ended"


async def _dispose_with_hooks(world: World, **config: Any) -> tuple[str, list[str]]:
    told: list[str] = []

    async def ending(_: object) -> None:
        await asyncio.sleep(0.5)
        told.append("hook")

    world.manager.register_conversation_hooks(ConversationLifecycleHooks(on_session_ending=ending))
    world.manager.on_session_ended(lambda event: told.append(event.reason))
    session = await world.manager.start_session(config)
    await world.manager.dispose()
    return session.session_id, told


@pytest.mark.defect(9)
async def test_dispose_waits_until_every_session_is_properly_over() -> None:
    async with a_world() as world:
        session_id, told = await _dispose_with_hooks(world)
        assert told == ["hook", "disposed"]
        assert world.keys.ended == [session_id]
        assert [order.session_id for order in world.purger.orders] == [session_id]


@pytest.mark.defect(10)
async def test_dispose_ends_sessions_of_every_live_phase() -> None:
    async with a_world(hook_timeout_seconds=60) as world:
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(on_session_ending=lambda _: asyncio.sleep(0.9))
        )
        ending = (await world.manager.start_session()).session_id
        paused = (await world.manager.start_session()).session_id
        await world.manager.pause_session(paused)
        leaving = asyncio.create_task(world.manager.end_session(ending))
        world.keys.hang(2)
        renewing = asyncio.create_task(world.manager.renew_session(paused))
        starting = asyncio.create_task(world.manager.start_session())
        await asyncio.sleep(0.1)
        phases = {info.state for info in world.manager.get_all_sessions()}
        assert phases == {Phase.ENDING, Phase.RENEWING, Phase.STARTING}
        started_id = world.manager.get_all_sessions()[-1].session_id
        await world.manager.dispose()
        await leaving
        assert not (await renewing).success
        with pytest.raises(SessionEndedError):
            await starting
        assert sorted(event.session_id for event in world.recorder.of("session-ended")) == sorted([ending, paused])
        assert {order.session_id for order in world.purger.orders} == {ending, paused, started_id}


@pytest.mark.defect(11)
async def test_the_purge_of_dispose_names_its_own_reason() -> None:
    async with a_world() as world:
        await world.manager.start_session()
        await world.manager.dispose()
        assert [order.reason for order in world.purger.orders] == ["disposed"]


@pytest.mark.defect(12)
async def test_a_start_that_waits_for_its_key_while_dispose_runs_is_ended() -> None:
    async with a_world(keys=FakeKeyService(latency=1)) as world:
        start = asyncio.create_task(world.manager.start_session())
        await asyncio.sleep(0.5)
        await world.manager.dispose()
        with pytest.raises(SessionEndedError):
            await start
        await asyncio.sleep(600)
        assert world.recorder.of("session-started", "session-ended") == []
        assert world.leftovers() == []
