"""Hooks and handlers that call the manager back: nothing deadlocks, nothing changes its order."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support import World, a_world

from voicepilot import (
    ConnectionStatus,
    ConversationLifecycleHooks,
    Event,
    Fault,
    NotInitializedError,
    SessionError,
    StateChanged,
    Subscription,
)

Call = Callable[[World, str], Awaitable[Any]]

REJECTED = Fault(code="INVALID_CREDENTIALS", message="no", remediation="Log in.", retryable=True)


async def _start(world: World, _: str) -> Any:
    return await world.manager.start_session()


async def _end(world: World, session_id: str) -> Any:
    await world.manager.end_session(session_id)


async def _renew(world: World, session_id: str) -> Any:
    return await world.manager.renew_session(session_id)


async def _dispose(world: World, _: str) -> Any:
    await world.manager.dispose()


async def _initialize(world: World, _: str) -> Any:
    await world.manager.initialize()


async def _pause_and_resume(world: World, session_id: str) -> Any:
    await world.manager.pause_session(session_id)
    await world.manager.resume_session(session_id)


async def _update(world: World, session_id: str) -> Any:
    await world.manager.update_session_config(session_id, {"renewal_margin_seconds": 20})


async def _query(world: World, session_id: str) -> Any:
    world.manager.get_session_info(session_id)
    world.manager.get_current_session()
    world.manager.get_all_sessions()
    world.manager.get_session_diagnostics(session_id)
    world.manager.credential(session_id)
    world.manager.reset_inactivity_timer(session_id)
    await world.manager.test_session_health(session_id)


async def _subscribe(world: World, _: str) -> Any:
    def heard(event: Event) -> None: ...

    with world.manager.on_session_ended(heard):
        world.manager.register_conversation_hooks(ConversationLifecycleHooks()).dispose()
    world.manager.on_session_state_changed(heard)


async def _report(world: World, session_id: str) -> Any:
    world.manager.report_connection(session_id, ConnectionStatus.FAILED)
    world.manager.report_connection(session_id, ConnectionStatus.HEALTHY)
    world.manager.report_key_rejected(session_id, REJECTED)


CALLS: dict[str, Call] = {
    call.__name__.strip("_"): call
    for call in (
        *(_start, _end, _renew, _dispose, _initialize, _pause_and_resume),
        *(_update, _query, _subscribe, _report),
    )
}
HOOKS = ["on_session_ready", "on_session_suspending", "on_session_resumed", "on_session_ending"]
FAMILIES = ["started", "ended", "renewed", "error", "state_changed"]
QUICK = 0.5  # seconds of virtual time; nothing in here takes any by itself


def subscribe(world: World, family: str, handler: Callable[[Any], Awaitable[None] | None]) -> Subscription:
    subscribed: Subscription = getattr(world.manager, f"on_session_{family}")(handler)
    return subscribed


async def _live(world: World) -> None:
    """A life that touches every hook and every family of events, whatever happens in between."""
    try:
        session = await world.manager.start_session()
        world.manager.report_connection(session.session_id, ConnectionStatus.FAILED)
        await world.manager.renew_session(session.session_id)
        await world.manager.end_session(session.session_id)
    except (SessionError, NotInitializedError):
        pass  # what was called meanwhile ended it


def _check_order(world: World) -> None:
    """Every session's phases connect, and nothing is said after its end."""
    for session_id in {event.session_id for event in world.recorder.events}:
        events = [event for event in world.recorder.events if event.session_id == session_id]
        moves = [event for event in events if isinstance(event, StateChanged)]
        for before, after in itertools.pairwise(moves):
            assert before.new_state is after.previous_state
        types = [event.type for event in events]
        assert types.count("session-started") == types.count("session-ended") <= 1
        assert "session-ended" not in types[:-1]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("where", [*HOOKS, *FAMILIES])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a while"])
async def test_an_async_hook_or_handler_may_call_anything(call: str, where: str, late: bool) -> None:
    outcomes: list[Any] = []
    calling = False

    async def back(seen: Any, *_: object) -> None:
        nonlocal calling
        if calling:  # a handler that causes the event it hears would hear it for ever
            return
        calling = True
        if late:
            await asyncio.sleep(0.01)
        began = world.clock.now()
        try:
            await CALLS[call](world, seen.session_id)
        except (SessionError, NotInitializedError) as error:
            outcomes.append(error)
        outcomes.append(world.clock.now() - began)
        calling = call in {"start", "report"}

    world = World()
    async with asyncio.timeout(10):
        async with world.manager:
            if where in HOOKS:
                world.manager.register_conversation_hooks(ConversationLifecycleHooks(**{where: back}))
            else:
                subscribe(world, where, back)
            await _live(world)
            await asyncio.sleep(1)
    assert world.leftovers() == []
    waits = [outcome for outcome in outcomes if isinstance(outcome, float)]
    assert waits, "it was never called"
    assert max(waits) <= QUICK
    _check_order(world)


@pytest.mark.parametrize("call", ["end", "dispose", "renew"])
@pytest.mark.parametrize("where", HOOKS)
async def test_what_a_hook_requests_returns_before_anything_else_happens(call: str, where: str) -> None:
    seen: list[int] = []

    async def back(info: Any, *_: object) -> None:
        before = len(world.recorder.events)
        async with asyncio.timeout(0):  # not even one pause
            await CALLS[call](world, info.session_id)
        seen.append(len(world.recorder.events) - before)

    world = World()
    async with world.manager:
        world.manager.register_conversation_hooks(ConversationLifecycleHooks(**{where: back}))
        await _live(world)
    assert seen
    assert world.leftovers() == []
    _check_order(world)


async def test_inputs_of_a_sync_handler_queue_in_their_order_behind_what_is_published() -> None:
    async with a_world() as world:
        session = await world.manager.start_session()

        def handler(event: StateChanged) -> None:
            if event.new_state == "renewing":
                world.manager.report_connection(session.session_id, ConnectionStatus.FAILED)
                world.manager.report_connection(session.session_id, ConnectionStatus.DEGRADED)
                world.manager.report_connection(session.session_id, ConnectionStatus.HEALTHY)
                assert world.recorder.types()[-1] == "state-changed"  # nothing was published in between

        world.manager.on_session_state_changed(handler)
        before = len(world.recorder.events)
        await world.manager.renew_session(session.session_id)
        types = world.recorder.types()[before:]
        assert types[:3] == ["state-changed", "renewal-started", "connection-error"]
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert info.connection_status is ConnectionStatus.HEALTHY


async def test_inputs_caused_by_a_wake_up_keep_their_order() -> None:
    async with a_world(enable_heartbeat=False, inactivity_timeout_minutes=100) as world:
        one = (await world.manager.start_session()).session_id

        def handler(event: Event) -> None:
            if event.type == "renewal-started":
                for status in (ConnectionStatus.FAILED, ConnectionStatus.DEGRADED, ConnectionStatus.HEALTHY):
                    world.manager.report_connection(one, status)

        world.manager.on_session_renewed(handler)
        await asyncio.sleep(595)  # the timer begins the renewal
        assert "renewal-started" in world.recorder.types()
        info = world.manager.get_session_info(one)
        assert info is not None
        assert info.connection_status is ConnectionStatus.HEALTHY


async def test_a_sync_handler_that_subscribes_is_not_called_in_the_same_delivery() -> None:
    heard: list[str] = []
    async with a_world() as world:

        def again(event: Event) -> None:
            heard.append(event.type)
            if len(heard) < 100:
                world.manager.on_session_started(again)

        world.manager.on_session_started(again)
        await world.manager.start_session()
        assert len(heard) == 1
        await world.manager.start_session()
        assert len(heard) == 3


async def test_a_handler_that_unsubscribes_another_keeps_it_from_hearing_the_event() -> None:
    heard: list[str] = []
    async with a_world() as world:

        async def slow(event: Event) -> None:
            heard.append(f"slow {event.type}")

        handles: list[Subscription] = []

        def unsubscribe(_: Event) -> None:
            for handle in handles:
                handle.dispose()

        world.manager.on_session_started(unsubscribe)
        handles.append(world.manager.on_session_started(lambda _: heard.append("sync")))
        handles.append(world.manager.on_session_started(slow))
        await world.manager.start_session()
        await asyncio.sleep(1)
        assert heard == []


async def test_an_async_handler_that_unsubscribes_itself_hears_nothing_more() -> None:
    heard: list[str] = []
    async with a_world() as world:

        async def once(event: Event) -> None:
            heard.append(event.type)
            handle.dispose()
            await asyncio.sleep(1)
            heard.append("and was not cancelled")

        handle = world.manager.on_session_state_changed(once)
        await world.manager.start_session()
        await asyncio.sleep(10)
        assert heard == ["state-changed", "and was not cancelled"]


async def test_start_and_end_never_wait_for_handlers() -> None:
    async with a_world() as world:

        async def slow(_: Event) -> None:
            await asyncio.sleep(4)

        for family in FAMILIES:
            subscribe(world, family, slow)
        began = world.clock.now()
        session = await world.manager.start_session()
        await world.manager.end_session(session.session_id)
        assert world.clock.now() == began


async def test_a_task_that_a_hook_leaves_behind_may_wait_again() -> None:
    done: list[float] = []
    async with a_world() as world:
        world.purger.delay = 0.3

        async def later(session_id: str) -> None:
            await asyncio.sleep(0.1)
            began = world.clock.now()
            await world.manager.end_session(session_id)
            done.append(world.clock.now() - began)

        tasks: list[asyncio.Task[None]] = []
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(
                on_session_ready=lambda info: tasks.append(asyncio.create_task(later(info.session_id)))
            )
        )
        await world.manager.start_session()
        await asyncio.gather(*tasks)
        assert done == [pytest.approx(0.3)]


# --- two callers at once ----------------------------------------------------------------------------------------------


async def test_two_ends_at_once_are_one() -> None:
    told: list[str] = []
    async with a_world() as world:
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(on_session_ending=lambda info: told.append(info.session_id))
        )
        world.purger.delay = 0.3
        session_id = (await world.manager.start_session()).session_id
        await asyncio.gather(
            world.manager.end_session(session_id), world.manager.end_session(), world.manager.end_session(session_id)
        )
        assert world.recorder.types().count("session-ended") == 1
        assert (told, len(world.purger.orders), world.keys.ended) == ([session_id], 1, [session_id])


async def test_two_renewals_at_once_are_one() -> None:
    async with a_world() as world:
        world.keys.latency = 1
        session_id = (await world.manager.start_session()).session_id
        first, second = await asyncio.gather(*(world.manager.renew_session(session_id) for _ in range(2)))
        assert first is second
        assert len(world.keys.mints) == 2


async def test_a_waiter_that_is_cancelled_leaves_the_renewal_to_the_others() -> None:
    async with a_world() as world:
        world.keys.latency = 1
        session_id = (await world.manager.start_session()).session_id
        first, second = (asyncio.create_task(world.manager.renew_session(session_id)) for _ in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        assert (await second).success
        assert first.cancelled()


async def test_two_pauses_resumes_and_updates_at_once() -> None:
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id
        await asyncio.gather(*(world.manager.pause_session(session_id) for _ in range(2)))
        await asyncio.sleep(3_600)
        await asyncio.gather(*(world.manager.resume_session(session_id) for _ in range(2)))
        await asyncio.gather(
            world.manager.update_session_config(session_id, {"renewal_margin_seconds": 20}),
            world.manager.update_session_config(session_id, {"max_retry_attempts": 7}),
        )
        config = world.manager.get_session_config(session_id)
        assert config is not None
        assert (config.renewal_margin_seconds, config.max_retry_attempts) == (20, 7)
        phases = [event.new_state.value for event in world.recorder.events if isinstance(event, StateChanged)]
        assert (phases.count("paused") - phases.count("renewing"), phases[-1]) == (1, "active")


@pytest.mark.parametrize("delay", [0.0, 0.1])
async def test_an_end_and_a_renewal_at_once(delay: float) -> None:
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id
        world.keys.latency = delay
        renewal, _ = await asyncio.gather(
            world.manager.renew_session(session_id), world.manager.end_session(session_id)
        )
        assert world.recorder.types(session_id)[-1] == "session-ended"
        assert not renewal.success
        assert world.keys_held() == 0


async def test_many_starts_at_once_stop_at_the_limit() -> None:
    async with a_world(limit=3) as world:
        world.keys.latency = 1
        results = await asyncio.gather(*(world.manager.start_session() for _ in range(10)), return_exceptions=True)
        assert sum(isinstance(result, SessionError) for result in results) == 7
        assert world.performer.registry.slots == 3


async def test_a_burst_of_calls_from_handlers_is_quick() -> None:
    async with a_world(limit=1_000) as world:
        sessions = [(await world.manager.start_session()).session_id for _ in range(300)]

        def storm(event: Event) -> None:
            for session_id in sessions:
                world.manager.reset_inactivity_timer(session_id)
                world.manager.get_session_info(session_id)

        world.manager.on_session_ended(storm)
        began = time.process_time()
        await asyncio.gather(*(world.manager.end_session(session_id) for session_id in sessions))
        assert time.process_time() - began < 10
