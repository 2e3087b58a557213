"""Section 6 of the original's defects: events and hooks."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import a_world

from voicepilot import ConversationLifecycleHooks, Event, NetworkError, SessionErrorEvent, SessionManager
from voicepilot.testing import FakeKeyService, VirtualClock


@pytest.mark.defect(74)
async def test_an_async_handler_that_raises_is_reported_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    async with a_world() as world:

        async def broken(_: Event) -> None:
            await asyncio.sleep(0.1)
            raise ValueError("a subscriber's bug")

        world.manager.on_session_started(broken)
        world.manager.on_session_ended(broken)
        session = await world.manager.start_session()
        await world.manager.end_session(session.session_id)
    assert unhandled == []
    assert caplog.text.count("raised; session") == 2


@pytest.mark.defect(75)
async def test_a_handler_that_subscribes_during_delivery_is_not_called_in_it() -> None:
    calls: list[int] = []
    async with a_world() as world:

        def again(_: Event) -> None:
            calls.append(1)
            if len(calls) < 50:
                world.manager.on_session_started(again)

        world.manager.on_session_started(again)
        await world.manager.start_session()
        assert len(calls) == 1


@pytest.mark.defect(76)
async def test_the_last_error_is_kept_without_subscribers_and_cleared_by_success() -> None:
    keys = FakeKeyService()
    async with SessionManager(keys, clock=VirtualClock()) as manager:
        session = await manager.start_session({"max_retry_attempts": 0})
        keys.fail(NetworkError("down"))
        await manager.renew_session(session.session_id)
        error = manager.get_session_diagnostics(session.session_id).last_error
        assert error is not None
        assert error.cause == "NETWORK_ERROR"
        await manager.renew_session(session.session_id)
        assert manager.get_session_diagnostics(session.session_id).last_error is None


async def test_disposing_an_old_registration_leaves_the_newer_hooks() -> None:  # keep 80; and 79 stays, see defects.py
    told: list[str] = []
    async with a_world() as world:
        register = world.manager.register_conversation_hooks
        old = register(ConversationLifecycleHooks(on_session_ready=lambda _: told.append("old")))
        new = register(ConversationLifecycleHooks(on_session_ready=lambda _: told.append("new")))
        old.dispose()
        await world.manager.start_session()
        new.dispose()
        await world.manager.start_session()
        assert told == ["new"]


async def test_the_same_hooks_registered_twice_are_cleared_by_the_newer_handle_only() -> None:  # keep 80
    told: list[str] = []
    async with a_world() as world:
        hooks = ConversationLifecycleHooks(on_session_ready=lambda _: told.append("ready"))
        old = world.manager.register_conversation_hooks(hooks)
        new = world.manager.register_conversation_hooks(hooks)
        old.dispose()
        await world.manager.start_session()
        assert told == ["ready"]
        new.dispose()
        await world.manager.start_session()
        assert told == ["ready"]


async def test_errors_and_changes_carry_diagnostics_of_their_moment() -> None:  # keep 77
    async with a_world(max_retry_attempts=0) as world:
        session = await world.manager.start_session()
        world.keys.fail(NetworkError("down"))
        await world.manager.renew_session(session.session_id)
        (told,) = world.recorder.of("renewal-error")
        assert isinstance(told, SessionErrorEvent)
        await world.manager.renew_session(session.session_id)
        await world.manager.end_session(session.session_id)
        assert told.diagnostics.last_error == told.error
        assert told.diagnostics.degraded
