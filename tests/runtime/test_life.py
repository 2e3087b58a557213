"""Initialise and dispose, however they cross each other."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest
from tests.support import World, a_world

from voicepilot import (
    ConfigurationError,
    NotInitializedError,
    SessionEndedError,
    SessionManager,
    SessionTimerManager,
)
from voicepilot.testing import FakeKeyService, Recorder, VirtualClock, VirtualTimeLoop


class Collaborator(FakeKeyService):
    """A key service whose own life takes time, or fails."""

    def __init__(self, *, slow: float = 0.0, fails: str = "") -> None:
        super().__init__(initialized=False)
        self.slow = slow
        self.fails = fails
        self.calls: list[str] = []

    async def initialize(self) -> None:
        await self._do("initialize")
        await super().initialize()

    async def dispose(self) -> None:
        await self._do("dispose")
        await super().dispose()

    async def _do(self, what: str) -> None:
        self.calls.append(what)
        if self.slow:
            await asyncio.sleep(self.slow)
        if what == self.fails:
            raise OSError(f"cannot {what}")


def owning(*collaborators: Collaborator) -> SessionManager:
    return SessionManager(collaborators[0], clock=VirtualClock(), owned=collaborators)


def our_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("voicepilot")]


async def test_whoever_initializes_second_can_start_a_session_as_soon_as_it_returns() -> None:
    for keys in (Collaborator(), Collaborator(slow=1)):
        manager = owning(keys)

        async def initialize_and_start(manager: SessionManager = manager) -> str:
            await manager.initialize()
            return (await manager.start_session()).session_id

        assert len(set(await asyncio.gather(initialize_and_start(), initialize_and_start()))) == 2
        assert keys.calls == ["initialize"]
        await manager.dispose()
        assert our_tasks() == []


async def test_dispose_during_initialize_leaves_nothing() -> None:
    keys = Collaborator(slow=1)
    manager = owning(keys)
    beginning = asyncio.create_task(manager.initialize())
    await asyncio.sleep(0.5)
    await manager.dispose()
    await beginning
    assert not manager.is_initialized
    assert keys.calls == ["initialize", "dispose"]
    assert our_tasks() == []
    with pytest.raises(NotInitializedError):
        await manager.start_session()
    with pytest.raises(NotInitializedError):
        await manager.initialize()


@pytest.mark.parametrize("moment", range(6))
async def test_a_cancelled_initialize_leaves_nothing_and_can_be_repeated(moment: int) -> None:
    keys = Collaborator()
    manager = owning(keys)
    beginning = asyncio.create_task(manager.initialize())
    for _ in range(moment):
        await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.wait({beginning})
    await manager.initialize()
    await manager.start_session()
    await manager.dispose()
    assert our_tasks() == []
    assert keys.calls[-1] == "dispose"


@pytest.mark.parametrize("moment", range(6))
async def test_an_async_with_that_is_cancelled_while_it_begins_leaves_nothing(moment: int) -> None:
    keys = Collaborator()
    manager = owning(keys)

    async def use() -> None:
        async with manager:
            await asyncio.sleep(9_999)

    using = asyncio.create_task(use())
    for _ in range(moment):
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.wait({using})
    assert our_tasks() == []
    assert not manager.is_initialized
    assert keys.calls in ([], ["initialize", "dispose"], ["dispose"])


async def test_a_collaborator_that_cannot_begin_is_told_and_the_others_are_let_go() -> None:
    first, second = Collaborator(), Collaborator(fails="initialize")
    with pytest.raises(OSError, match="cannot initialize"):
        async with owning(first, second):
            pytest.fail("it did not begin")
    assert first.calls == ["initialize", "dispose"]
    assert our_tasks() == []


@pytest.mark.parametrize("bad", [Collaborator(fails="dispose"), Collaborator(slow=9_999)], ids=["fails", "hangs"])
async def test_a_collaborator_that_cannot_be_disposed_does_not_hold_up_the_rest(bad: Collaborator) -> None:
    good = Collaborator()
    slow, bad.slow = bad.slow, 0
    manager = owning(good, bad)
    await manager.initialize()
    await manager.start_session()
    bad.slow = slow
    loop = asyncio.get_running_loop()
    began = loop.time()
    await manager.dispose()
    assert loop.time() - began < 5
    assert good.calls == ["initialize", "dispose"]
    assert our_tasks() == []
    with pytest.raises(NotInitializedError, match="disposed"):
        manager.get_all_sessions()


async def test_a_timer_manager_serves_one_manager_at_a_time() -> None:
    timers, clock = SessionTimerManager(), VirtualClock()
    first = SessionManager(FakeKeyService(key_life=60), timers, clock=clock)
    second = SessionManager(FakeKeyService(), timers, clock=clock)
    async with first:
        with pytest.raises(ConfigurationError, match="serves another"):
            await second.initialize()
        assert not second.is_initialized
        with pytest.raises(NotInitializedError):
            await second.start_session()
        await second.dispose()
        recorder = Recorder(first)
        session = await first.start_session()
        await asyncio.sleep(59)
        assert "renewal-completed" in recorder.types(session.session_id)
    third = SessionManager(FakeKeyService(), timers, clock=clock)
    async with third:  # the first one let go of it
        await third.start_session()


async def test_two_managers_share_nothing() -> None:
    async with a_world() as one, a_world() as two:
        left, right = await one.manager.start_session(), await two.manager.start_session()
        assert one.manager.get_session_info(right.session_id) is None
        assert await _renewed(two, left.session_id) is False
        await one.manager.end_session(right.session_id)
        assert two.manager.is_session_active(right.session_id)
        await one.manager.dispose()
        assert await _renewed(two, right.session_id)
        assert {event.session_id for event in two.recorder.events} == {right.session_id}


async def _renewed(world: World, session_id: str) -> bool:
    return (await world.manager.renew_session(session_id)).success


async def test_a_handler_of_one_manager_can_wait_for_another_manager() -> None:
    done: list[Any] = []

    two = World()
    async with a_world() as one, two.manager:
        session = await two.manager.start_session()

        async def handler(_: object) -> None:
            done.append((await two.manager.renew_session(session.session_id)).success)
            await two.manager.end_session(session.session_id)
            done.append(two.manager.get_session_info(session.session_id))
            await two.manager.dispose()
            done.append(two.keys_held())

        one.manager.on_session_started(handler)
        await one.manager.start_session()
        await asyncio.sleep(1)
        assert done == [True, None, 0]


async def test_dispose_during_start_ends_it() -> None:
    async with a_world(keys=FakeKeyService(latency=1)) as world:
        starts = [asyncio.create_task(world.manager.start_session()) for _ in range(3)]
        await asyncio.sleep(0.5)
        await asyncio.gather(world.manager.dispose(), world.manager.dispose())
        results = await asyncio.gather(*starts, return_exceptions=True)
        assert {type(result) for result in results} == {SessionEndedError}


async def test_a_start_while_disposing_is_refused() -> None:
    async with a_world() as world:
        await world.manager.start_session()
        world.purger.delay = 0.4
        disposing = asyncio.create_task(world.manager.dispose())
        await asyncio.sleep(0.1)
        with pytest.raises(SessionEndedError, match="being disposed"):
            await world.manager.start_session()
        await disposing


async def test_a_cancelled_dispose_goes_on() -> None:
    async with a_world() as world:
        await world.manager.start_session()
        world.purger.delay = 0.4
        disposing = asyncio.create_task(world.manager.dispose())
        await asyncio.sleep(0.1)
        disposing.cancel()
        await asyncio.wait({disposing})
        await asyncio.sleep(1)
        assert world.recorder.types()[-1] == "session-ended"
        assert world.leftovers() == []


@pytest.mark.parametrize("busy", [False, True])
def test_a_loop_that_is_closed_without_dispose_holds_nothing_up(busy: bool) -> None:
    worlds = []

    async def main() -> None:
        world = World()
        worlds.append(world)
        await world.manager.initialize()
        session = await world.manager.start_session()
        if busy:
            world.keys.hang(2)
            tasks.append(asyncio.create_task(world.manager.renew_session(session.session_id)))
            tasks.append(asyncio.create_task(world.manager.start_session()))
            await asyncio.sleep(0.1)

    tasks: list[asyncio.Task[Any]] = []
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    gc.collect()
    assert worlds[0].keys_held() == 0
    assert worlds[0].recorder.types().count("session-ended") == 1
    assert all(task.done() for task in tasks)


@pytest.mark.slow
async def test_thousands_of_sessions_leave_no_trace() -> None:
    async with a_world() as world:
        world.recorder.subscriptions.clear()

        async def lives(count: int) -> int:
            for _ in range(count):
                session = await world.manager.start_session()
                world.manager.reset_inactivity_timer(session.session_id)
                await world.manager.end_session(session.session_id)
            for each in (world.recorder.events, world.keys.mints, world.keys.issued, world.keys.ended):
                each.clear()
            world.purger.orders.clear()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await lives(200)
            after = await lives(1_000)
        finally:
            tracemalloc.stop()
        assert after - before < 100_000  # a hundred bytes for each session
        assert len(world.performer.registry) == 0
        assert len(world.manager._timers._heap) <= 64


@pytest.mark.slow
async def test_ten_thousand_sessions_at_once_live_and_end() -> None:
    async with a_world(limit=10_000, enable_heartbeat=False) as world:
        sessions = [await world.manager.start_session() for _ in range(10_000)]
        assert world.performer.registry.slots == 10_000
        assert len(asyncio.all_tasks()) < 10  # an idle session owns no task
        await asyncio.sleep(10)
        await asyncio.gather(*(world.manager.end_session(session.session_id) for session in sessions))
        assert (len(world.performer.registry), world.performer.registry.slots, world.keys_held()) == (0, 0, 0)
