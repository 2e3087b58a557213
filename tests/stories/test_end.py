"""Ending a session."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.stories.cast import Application, moves, phase, seconds_since
from tests.support import World, a_world

from voicepilot import (
    AuthenticationError,
    EndingSession,
    Phase,
    PrivacyController,
    ProviderUnavailableError,
    PurgeOrder,
    PurgeReceipt,
    TranscriptStore,
)
from voicepilot.testing import FakeKeyService, FakePurger

DOWN = ProviderUnavailableError("down")


async def started(world: World) -> str:
    return (await world.manager.start_session()).session_id


@pytest.mark.seed("API-endSession", "End-1")
async def test_ending_twice_or_ending_nobody_is_nothing_to_do() -> None:
    async with a_world() as world:
        session_id = await started(world)
        await world.manager.end_session(session_id)
        told = list(world.recorder.events)
        await world.manager.end_session(session_id)
        await world.manager.end_session("session-0-none")
        await world.manager.end_session()
        assert world.recorder.events == told


@pytest.mark.seed("API-endSession", "End-1")
async def test_ending_after_dispose_is_nothing_to_do() -> None:
    async with a_world() as world:
        async with world.manager.session() as session:
            await world.manager.dispose()
        await world.manager.end_session(session.session_id)


@pytest.mark.seed("API-endSession", "End-1")
async def test_concurrent_ends_are_one() -> None:
    async with a_world() as world:
        application = Application(ending=0.5)
        session_id = await started(world)
        world.manager.register_conversation_hooks(application)
        began = world.clock.now()
        await asyncio.gather(*(world.manager.end_session(session_id) for _ in range(3)))
        assert seconds_since(world, began) == 0.5
        assert application.calls == ["ending"]
        assert world.keys.ended == [session_id]
        assert len(world.purger.orders) == len(world.recorder.of("session-ended")) == 1


class HangingKeys(FakeKeyService):
    async def end_session(self, session_id: str) -> None:
        await asyncio.sleep(1e6)


@pytest.mark.seed("API-endSession", "HOOK-onSessionEnding", "IMP-005", "End-2")
async def test_an_end_takes_two_seconds_at_most_when_everything_hangs() -> None:
    async with a_world(keys=HangingKeys()) as world:
        session_id = await started(world)
        world.manager.register_conversation_hooks(Application(ending=1e6))
        world.manager.set_privacy_controller(FakePurger(delay=1e6))
        world.manager.on_session_ended(lambda event: asyncio.sleep(1e6))
        world.keys.hang()
        renewal = asyncio.ensure_future(world.manager.renew_session(session_id))
        await asyncio.sleep(1)
        began = world.clock.now()
        await world.manager.end_session(session_id)
        assert seconds_since(world, began) == pytest.approx(1.9)
        assert not (await renewal).success
        (ended,) = world.recorder.of("session-ended")
        assert not ended.receipt.complete  # type: ignore[attr-defined]  # a SessionEnded


@pytest.mark.seed("End-2", "HOOK-onSessionEnding")
@pytest.mark.parametrize(("hangs", "takes"), [("hook", 1.0), ("close", 0.4), ("purge", 0.5), ("nothing", 0.0)])
async def test_each_step_of_an_end_has_its_own_time_limit(hangs: str, takes: float) -> None:
    async with a_world(keys=HangingKeys() if hangs == "close" else None) as world:
        session_id = await started(world)
        world.manager.register_conversation_hooks(Application(ending=1e6 if hangs == "hook" else 0))
        world.manager.set_privacy_controller(FakePurger(delay=1e6 if hangs == "purge" else 0))
        began = world.clock.now()
        await world.manager.end_session(session_id)
        assert seconds_since(world, began) == takes


@pytest.mark.seed("End-3")
@pytest.mark.parametrize("hook", ["ready", "suspending", "resumed"])
async def test_an_end_cancels_the_hook_that_the_session_waits_for(hook: str) -> None:
    async with a_world(hook_timeout_seconds=60) as world, asyncio.TaskGroup() as tasks:
        cancelled: list[str] = []

        class Slow(Application):
            async def _note(self, name: str, session: object, reason: str = "") -> None:
                try:
                    await asyncio.sleep(50 if name == hook else 0)
                except asyncio.CancelledError:
                    cancelled.append(name)
                    raise

        world.manager.register_conversation_hooks(Slow())
        start = tasks.create_task(world.manager.start_session())
        await asyncio.sleep(1)
        if hook != "ready":
            tasks.create_task(world.manager.renew_session(start.result().session_id))
            await asyncio.sleep(1)
        began = world.clock.now()
        if hook == "ready":
            start.cancel()
        await world.manager.end_session()
        assert (cancelled, seconds_since(world, began)) == ([hook], 0)


@pytest.mark.seed("End-3", "API-renewSession")
async def test_an_end_during_a_renewal_stops_it_and_tells_its_caller() -> None:
    async with a_world() as world:
        session_id = await started(world)
        world.keys.hang()
        renewal = asyncio.ensure_future(world.manager.renew_session(session_id))
        await asyncio.sleep(1)
        await world.manager.end_session()
        result = await renewal
        assert result.error is not None
        assert (result.success, result.error.message) == (False, "cannot renew: the session is ending")
        assert world.recorder.of("renewal-completed") == []
        assert world.recorder.types()[-1] == "session-ended"


@pytest.mark.seed("API-endSession", "EVT-session-ended", "HOOK-onSessionEnding", "IMP-005", "QUA-001", "End-4")
async def test_the_steps_of_an_end_come_in_order() -> None:
    order: list[str] = []

    class Keys(FakeKeyService):
        async def end_session(self, session_id: str) -> None:
            order.append(f"close, {world.keys_held()} key held")

    class Purger(FakePurger):
        async def purge(self, given: PurgeOrder) -> PurgeReceipt:
            order.append(f"purge of {given.target} because {given.reason}, {world.keys_held()} keys held")
            return await super().purge(given)

    class Ending(Application):
        async def on_session_ending(self, session: object) -> None:
            order.append("hook")

    async with a_world(keys=Keys()) as world:
        world.manager.set_privacy_controller(Purger())
        world.manager.register_conversation_hooks(Ending())
        session_id = await started(world)
        await asyncio.sleep(10)
        world.manager.on_session_state_changed(lambda event: order.append(event.new_state))
        world.manager.on_session_ended(lambda event: order.append(event.type))
        await world.manager.end_session(session_id)
        assert order == [
            "ending",
            "hook",
            "close, 1 key held",
            "purge of all because user-requested, 0 keys held",
            "ended",
            "session-ended",
        ]
        assert phase(world, session_id) is None
        (ended,) = world.recorder.of("session-ended")
        assert ended.reason == "user-requested"  # type: ignore[attr-defined]  # a SessionEnded
        assert ended.statistics.total_duration_ms == 10_000  # type: ignore[attr-defined]
        assert ended.receipt == PurgeReceipt(  # type: ignore[attr-defined]
            session_id=session_id, reason="user-requested", cleared=1
        )


@pytest.mark.seed("API-endSession", "API-getCurrentSession", "End-5")
@pytest.mark.parametrize("current", [Phase.ACTIVE, Phase.RENEWING, Phase.RECOVERING, Phase.PAUSED])
async def test_without_an_id_the_most_recently_active_session_ends_in_whatever_phase(current: Phase) -> None:
    async with a_world(key_life_seconds=60, enable_inactivity_timeout=False) as world, asyncio.TaskGroup() as tasks:
        other = await started(world)
        session_id = await started(world)
        if current is Phase.RENEWING:
            world.keys.hang()
            tasks.create_task(world.manager.renew_session(session_id))
        if current is Phase.RECOVERING:
            world.keys.fail(DOWN, count=10_000)
            await asyncio.sleep(61)
            world.manager.reset_inactivity_timer(session_id)
        if current is Phase.PAUSED:
            await world.manager.pause_session(session_id)
        await asyncio.sleep(0)
        assert phase(world, session_id) is current
        await world.manager.end_session()
        assert [known.session_id for known in world.manager.get_all_sessions()] == [other]


@pytest.mark.seed("EVT-session-ended", "API-getAllSessions", "End-6")
async def test_a_session_that_becomes_failed_goes_through_the_same_steps() -> None:
    async with a_world() as world:
        application = Application()
        session_id = await started(world)
        world.manager.register_conversation_hooks(application)
        world.keys.fail(AuthenticationError("401"))
        await world.manager.renew_session(session_id)
        await asyncio.sleep(0.1)
        assert application.calls == ["ending"]
        assert world.keys.ended == [session_id]
        assert world.keys_held() == 0
        assert [order.reason for order in world.purger.orders] == ["renewal-failed"]
        assert moves(world.recorder.events)[-2:] == [("renewing", "ending"), ("ending", "failed")]
        (ended,) = world.recorder.of("session-ended")
        assert ended.reason == "renewal-failed"  # type: ignore[attr-defined]  # a SessionEnded
        await asyncio.sleep(301)
        assert phase(world, session_id) is None


@pytest.mark.seed("API-setPrivacyController", "IMP-001", "IMP-005", "Privacy-1")
async def test_a_privacy_controller_can_be_given_later_and_purges_the_one_session_that_ends() -> None:
    async with a_world() as world:
        first, second = await started(world), await started(world)
        purger = FakePurger()
        world.manager.set_privacy_controller(purger)
        await world.manager.end_session(first)
        assert purger.orders == [PurgeOrder(session_id=first, reason="user-requested", target="all")]
        assert phase(world, second) is Phase.ACTIVE


@pytest.mark.seed("IMP-005", "TRB-privacy-purge-failures", "Privacy-1")
async def test_a_purge_that_fails_is_a_warning_and_the_end_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with a_world() as world:
        session_id = await started(world)
        world.manager.set_privacy_controller(FakePurger(error=OSError("disk")))
        await world.manager.end_session(session_id)
        (ended,) = world.recorder.of("session-ended")
        assert ended.receipt.failed == 1  # type: ignore[attr-defined]  # a SessionEnded
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert f"purge failed for session {session_id}" in caplog.text


@pytest.mark.seed("IMP-005", "TRB-privacy-purge-failures")
async def test_a_purge_that_leaves_something_behind_is_a_warning_too(caplog: pytest.LogCaptureFixture) -> None:
    class Partial(FakePurger):
        async def purge(self, order: PurgeOrder) -> PurgeReceipt:
            return PurgeReceipt(session_id=order.session_id, reason=order.reason, cleared=2, failed=1)

    async with a_world() as world:
        session_id = await started(world)
        world.manager.set_privacy_controller(Partial())
        await world.manager.end_session(session_id)
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert f"session {session_id}" in caplog.text


@pytest.mark.seed("API-dispose", "QUA-001", "Dispose-1")
async def test_dispose_ends_and_purges_every_session_and_leaves_nothing() -> None:
    async with a_world() as world:
        application = Application()
        world.manager.register_conversation_hooks(application)
        ids = {await started(world) for _ in range(3)}
        application.calls.clear()
        await world.manager.dispose()
        assert application.calls == ["ending"] * 3
        assert {event.session_id for event in world.recorder.of("session-ended")} == ids
        assert {(order.session_id, order.reason) for order in world.purger.orders} == {(id_, "disposed") for id_ in ids}
        assert world.leftovers() == []
        await world.manager.dispose()
        asked = len(world.keys.mints)
        await asyncio.sleep(3_600)
        assert (len(world.keys.mints), world.leftovers()) == (asked, [])


@pytest.mark.seed("API-dispose", "USE-002", "Dispose-1")
async def test_after_dispose_handlers_and_hooks_are_let_go() -> None:
    async with a_world() as world:
        await started(world)
        await world.manager.dispose()
        assert all(not listed for listed in world.performer.observers._subscribers.values())
        assert world.performer.hooks.find("on_session_ready") is None


@pytest.mark.seed("API-dispose", "Dispose-1")
async def test_leaving_the_with_block_ends_what_is_starting_too() -> None:
    async with a_world() as world:
        world.keys.hang()
        start = asyncio.ensure_future(world.manager.start_session())
        await asyncio.sleep(1)
        await world.manager.dispose()
        with pytest.raises(Exception, match="the session was ended while it was starting"):
            await start


@pytest.mark.seed("End-7")
async def test_the_ending_hook_is_told_what_was_said_before_it_is_purged() -> None:
    async with PrivacyController() as controller, a_world() as world:
        store = TranscriptStore(controller)
        world.manager.set_privacy_controller(controller, store)
        session_id, other = await started(world), await started(world)
        application = Application()
        world.manager.register_conversation_hooks(application)
        store.append_final(session_id, "user", "My card is 4111 1111 1111 1111")
        store.append_final(session_id, "assistant", "Thank you")
        store.append_final(other, "user", "something else")
        await world.manager.end_session(session_id)
        (ending,) = application.seen
        assert isinstance(ending, EndingSession)
        assert [(turn.role, turn.text) for turn in ending.transcript] == [
            ("user", "My card is [card]"),
            ("assistant", "Thank you"),
        ]
        assert (store.turns(session_id), len(world.manager.transcript(other))) == ((), 1)
