"""What a session costs while nothing happens to it, counted: bytes, objects, tasks and timers, never time."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from voicepilot import EphemeralKey, KeyRequest, SessionConfig, SessionManager
from voicepilot.events import Event
from voicepilot.lifecycle.effects import Effect
from voicepilot.testing import VirtualClock

SESSIONS = 200


class Minter:
    """Gives each session a key of its own and remembers nothing, unlike the fake."""

    is_initialized = True

    async def request_ephemeral_key(self, request: KeyRequest) -> EphemeralKey:
        return EphemeralKey(f"ek_{request.session_id}", expires_in=request.life_seconds, issued_for=request.session_id)

    renew_key = request_ephemeral_key

    async def end_session(self, session_id: str) -> None:
        pass


class Unlimited:
    is_initialized = True
    max_concurrent_sessions = 1_000_000

    def __init__(self) -> None:
        self._config = SessionConfig()

    def session_config(self) -> SessionConfig:
        return self._config


@asynccontextmanager
async def a_manager() -> AsyncIterator[SessionManager]:
    """All subscribed."""

    def heard(_: Event) -> None:
        pass

    async with SessionManager(Minter(), configuration=Unlimited(), clock=VirtualClock()) as manager:
        manager.on_session_started(heard)
        manager.on_session_ended(heard)
        manager.on_session_renewed(heard)
        manager.on_session_error(heard)
        manager.on_session_state_changed(heard)
        manager.on_session_degraded(heard)
        await start(manager, 20)  # what is made once is made
        yield manager


async def start(manager: SessionManager, count: int) -> None:
    for _ in range(count):
        await manager.start_session()
    await asyncio.sleep(0)


async def growth(manager: SessionManager, measure: Callable[[], int]) -> float:
    """By how much a session more makes `measure` grow."""
    gc.collect()
    before = measure()
    await start(manager, SESSIONS)
    gc.collect()
    return (measure() - before) / SESSIONS


def traced_bytes() -> int:
    return tracemalloc.get_traced_memory()[0]


async def test_a_session_with_all_timers_armed_and_all_subscribed_takes_no_more_than_2400_bytes() -> None:
    async with a_manager() as manager:
        tracemalloc.start()
        try:
            assert 500 < await growth(manager, traced_bytes) < 2_400
        finally:
            tracemalloc.stop()


async def test_an_idle_session_is_three_objects_to_the_garbage_collector() -> None:
    async with a_manager() as manager:
        # The entry, its key and the bound on both: whatever is added here makes every full collection longer.
        assert await growth(manager, lambda: len(gc.get_objects())) <= 3


async def test_an_idle_session_owns_no_task() -> None:
    async with a_manager() as manager:
        assert await growth(manager, lambda: len(asyncio.all_tasks())) == 0


async def test_all_sessions_together_own_one_timer_of_the_loop() -> None:
    def timers() -> int:
        loop = asyncio.get_running_loop()
        return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]  # asyncio's heap

    async with a_manager() as manager:
        assert timers() == 1
        await start(manager, SESSIONS)
        assert timers() == 1
        await asyncio.sleep(31)  # every session had a heartbeat
        assert timers() == 1


async def test_nothing_is_retained_by_a_reset_a_heartbeat_or_a_renewal() -> None:
    async with a_manager() as manager:
        ids = [session.session_id for session in manager.get_all_sessions()]

        async def live(rounds: int) -> None:
            for _ in range(rounds):
                for session_id in ids:
                    manager.reset_inactivity_timer(session_id)
                await asyncio.sleep(10)

        await live(150)
        gc.collect()
        before = sys.getallocatedblocks()
        await live(300)
        gc.collect()
        assert sys.getallocatedblocks() - before < 10 * len(ids)


async def test_the_wake_up_heap_stays_in_proportion_to_the_sessions_that_live() -> None:
    async with a_manager() as manager:
        for _ in range(1_000):
            session = await manager.start_session()
            await manager.end_session(session.session_id)
        assert len(manager._timers._heap) <= 4 * len(manager.get_all_sessions()) + 64


async def test_every_effect_is_carried_out() -> None:
    async with a_manager() as manager:
        assert set(manager._performer._acts) == set(Effect.__args__)
