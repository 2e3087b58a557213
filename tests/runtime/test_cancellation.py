"""A cancellation at every single await of start, renew, end and dispose, and of every task of the manager."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

import pytest
from tests.support import World

from voicepilot import (
    ConversationLifecycleHooks,
    EphemeralKey,
    KeyRequest,
    Phase,
    PurgeOrder,
    PurgeReceipt,
    SessionEndedError,
    SessionError,
    StateChanged,
)
from voicepilot.runtime.vault import KeyVault
from voicepilot.testing import FakeKeyService, FakePurger, run_virtual

T = TypeVar("T")
Scene = Callable[["Stage"], Awaitable[None]]


class Injector:
    """Cancels the task that pauses for the `at`-th time, counting the pauses of everything it watches."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.pauses = 0
        self.hit = ""

    def watch(self, work: Coroutine[Any, Any, T], name: str) -> Coroutine[Any, Any, T]:
        async def watched() -> T:
            return await _Watched(work, self, name)

        return watched()

    def note_pause(self, name: str) -> None:
        self.pauses += 1
        if self.pauses == self.at:
            self.hit = name
            task = asyncio.current_task()
            assert task is not None
            task.cancel()


class _Watched(Awaitable[T]):
    def __init__(self, work: Coroutine[Any, Any, T], injector: Injector, name: str) -> None:
        self._work, self._injector, self._name = work, injector, name

    def __await__(self) -> Generator[Any, Any, T]:
        resume: Callable[[], Any] = lambda: self._work.send(None)  # noqa: E731
        while True:
            try:
                waits_for = resume()
            except StopIteration as stop:
                result: T = stop.value
                return result
            self._injector.note_pause(self._name)
            try:
                yield waits_for
                resume = lambda: self._work.send(None)  # noqa: E731
            except BaseException as error:
                resume = lambda error=error: self._work.throw(error)  # type: ignore[misc]  # noqa: E731


async def pause() -> None:
    """Pause in every way there is."""
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    await asyncio.sleep(0)


class Pausing(FakeKeyService):
    def __init__(self) -> None:
        super().__init__()
        self.turns: set[object] = set()  # that have come and were not given back

    async def take_turn(self, session_id: str) -> Callable[[], None]:
        turn = object()
        await pause()
        self.turns.add(turn)
        try:
            await pause()
        except BaseException:
            self.turns.remove(turn)
            raise
        return lambda: self.turns.discard(turn)

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        await pause()
        key = await super()._answer(request, renewal=renewal)
        await pause()
        return key

    async def end_session(self, session_id: str) -> None:
        await pause()
        await super().end_session(session_id)


class PausingPurger(FakePurger):
    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        await pause()
        return await super().purge(order)


class CountingVault(KeyVault):
    """Counts what goes in and out, by ticket."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: Counter[tuple[str, int]] = Counter()
        self.released: Counter[tuple[str, int]] = Counter()

    def put(self, session_id: str, ticket: int, key: EphemeralKey) -> None:
        self.taken[session_id, ticket] += 1
        super().put(session_id, ticket, key)

    def release(self, session_id: str, ticket: int) -> None:
        self.released[session_id, ticket] += 1
        super().release(session_id, ticket)


class Stage(World):
    """A world in which everything pauses, and an injector that watches it."""

    def __init__(self, injector: Injector) -> None:
        self.queue = Pausing()
        super().__init__(keys=self.queue, limit=3, retry_backoff_ms=10)
        self.injector = injector
        self.manager.set_privacy_controller(PausingPurger())
        self.vault = self.performer.vault = CountingVault()
        names = ("on_session_ready", "on_session_suspending", "on_session_resumed", "on_session_ending")
        hooks: dict[str, Any] = dict.fromkeys(names, self._hook)
        self.manager.register_conversation_hooks(ConversationLifecycleHooks(**hooks))
        for subscribe in (self.manager.on_session_state_changed, self.manager.on_session_renewed):
            subscribe(self._handler)

    async def _hook(self, *_: object) -> None:
        await pause()

    async def _handler(self, _: object) -> None:
        await pause()

    def call(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        return asyncio.create_task(self.injector.watch(work, name))


INNER = {"Minting._fetch", "Lanes._work", "Observers._deliver"}


def watch_inner_tasks(injector: Injector) -> None:
    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        name = work.__qualname__
        if name not in INNER:
            return asyncio.Task(work, loop=loop, **options)
        task = asyncio.Task(injector.watch(work, name), loop=loop, **options)
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began
        return task

    asyncio.get_running_loop().set_task_factory(factory)


async def _started(stage: Stage) -> str:
    return (await stage.manager.start_session()).session_id


async def start(stage: Stage) -> None:
    try:
        await stage.call(stage.manager.start_session(), "start_session")
    except (asyncio.CancelledError, SessionError):
        pass
    else:
        assert [info.state for info in stage.manager.get_all_sessions()] == [Phase.ACTIVE]


async def renew(stage: Stage) -> None:
    session_id = await _started(stage)
    waiter = stage.call(stage.manager.renew_session(session_id), "renew_session")
    await asyncio.wait({waiter})
    if waiter.cancelled():
        await asyncio.sleep(1)  # it goes on without the waiter
    assert stage.recorder.types().count("renewal-completed") == 1


async def end(stage: Stage) -> None:
    session_id = await _started(stage)
    began = stage.clock.now()
    waiter = stage.call(stage.manager.end_session(session_id), "end_session")
    await asyncio.wait({waiter})
    if waiter.cancelled():
        await stage.manager.end_session(session_id)
    assert stage.clock.now() - began <= 2
    assert stage.recorder.types()[-1] == "session-ended"


async def end_while_renewing(stage: Stage) -> None:
    session_id = await _started(stage)
    renewal = stage.call(stage.manager.renew_session(session_id), "renew_session")
    await asyncio.sleep(0.015)
    await asyncio.wait({renewal, stage.call(stage.manager.end_session(session_id), "end_session")})
    await stage.manager.end_session(session_id)
    assert stage.manager.get_session_info(session_id) is None


async def end_while_starting(stage: Stage) -> None:
    starting = stage.call(stage.manager.start_session(), "start_session")
    await asyncio.sleep(0.005)
    await asyncio.wait({starting, stage.call(stage.manager.end_session(), "end_session")})
    if not starting.cancelled() and stage.injector.hit != "end_session":
        assert isinstance(starting.exception(), SessionEndedError)


async def dispose(stage: Stage) -> None:
    await _started(stage)
    began = stage.clock.now()
    tasks: set[asyncio.Task[Any]] = {
        stage.call(stage.manager.start_session(), "start_session"),
        stage.call(stage.manager.dispose(), "dispose"),
    }
    await asyncio.wait(tasks)
    await stage.manager.dispose()
    assert stage.clock.now() - began <= 4
    assert stage.recorder.types().count("session-ended") == 1


SCENES: list[Scene] = [start, renew, end, end_while_renewing, end_while_starting, dispose]


async def _play(scene: Scene, injector: Injector, *, inner: bool) -> None:
    stage = Stage(injector)
    async with asyncio.timeout(60):
        await stage.manager.initialize()
        if inner:
            watch_inner_tasks(injector)
        await scene(stage)
        asyncio.get_running_loop().set_task_factory(None)
        injector.at = 0
        await asyncio.sleep(1)
        await _check_no_half_state(stage)
        await stage.manager.dispose()
    assert stage.leftovers() == [], injector.hit
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert stage.queue.turns == set(), injector.hit
    assert set(stage.vault.taken.values()) <= {1}
    assert stage.vault.taken == stage.vault.released, injector.hit
    _check_events(stage)


async def _check_no_half_state(stage: Stage) -> None:
    """Whatever is still there works, and all slots but its own are free."""
    if not stage.manager.is_initialized:
        return
    for info in stage.manager.get_all_sessions():
        if info.state is not Phase.FAILED:
            assert info.state is Phase.ACTIVE, stage.injector.hit
            assert (await stage.manager.renew_session(info.session_id)).success
    free = 3 - stage.performer.registry.slots
    assert stage.performer.registry.slots == len(stage.performer.registry.live())
    for _ in range(free):
        await stage.manager.start_session()


def _check_events(stage: Stage) -> None:
    for session_id in {event.session_id for event in stage.recorder.events}:
        events = [event for event in stage.recorder.events if event.session_id == session_id]
        types = [event.type for event in events]
        assert types.count("session-started") == types.count("session-ended") <= 1
        last = events[-1]
        assert last.type == "session-ended" or (isinstance(last, StateChanged) and last.new_state.value == "ended")


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("inner", [False, True], ids=["callers", "inner tasks"])
def test_a_cancellation_at_any_await_leaves_nothing(scene: Scene, inner: bool) -> None:
    hits: Counter[str] = Counter()
    for at in range(1, 1_000):
        injector = Injector(at)
        if inner:  # the callers are watched by another, which never strikes
            run_virtual(_play(_with_quiet_callers(scene), injector, inner=True))
        else:
            run_virtual(_play(scene, injector, inner=False))
        if not injector.hit:
            break
        hits[injector.hit] += 1
    assert hits.total() >= (10 if inner else 1)
    assert not inner or set(hits) <= INNER


def _with_quiet_callers(scene: Scene) -> Scene:
    async def quiet(stage: Stage) -> None:
        stage.injector = Injector(0)
        await scene(stage)

    return quiet


@pytest.mark.parametrize("name", ["start", "renew", "end"])
async def test_a_caller_that_is_cancelled_again_and_again_leaves_nothing(name: str) -> None:
    stage = Stage(Injector(0))
    async with stage.manager:
        session_id = await _started(stage)
        calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "start": stage.manager.start_session,
            "renew": lambda: stage.manager.renew_session(session_id),
            "end": lambda: stage.manager.end_session(session_id),
        }
        for _ in range(20):
            task = asyncio.create_task(calls[name]())
            await asyncio.sleep(0.005)
            task.cancel()
            task.cancel()
            await asyncio.wait({task})
            await asyncio.sleep(0.05)
    assert stage.leftovers() == []
    assert stage.vault.taken == stage.vault.released


async def test_cancelling_a_start_at_the_moment_it_is_answered_ends_the_session() -> None:
    stage = Stage(Injector(0))
    answered: list[bool] = []

    def cancel() -> None:
        entry = stage.performer.registry.current()
        answered.append(entry is not None and entry.start is not None and entry.start.done())
        starting.cancel()

    async def ready(_: object) -> None:
        asyncio.get_running_loop().call_soon(cancel)  # the answer comes first, and the caller hears of it after

    async with stage.manager:
        stage.manager.register_conversation_hooks(ConversationLifecycleHooks(on_session_ready=ready))
        starting = asyncio.create_task(stage.manager.start_session())
        await asyncio.wait({starting})
        assert answered == [True]
        assert starting.cancelled()
        await asyncio.sleep(2)
        assert stage.manager.get_all_sessions() == ()
        assert stage.recorder.types()[-1] == "session-ended"
