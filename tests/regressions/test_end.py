"""Section 3 of the original's defects: end_session."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import a_world

from voicepilot import ConversationLifecycleHooks, NetworkError, Phase, SessionEnded
from voicepilot.testing import FakeKeyService


@pytest.mark.defect(36)
@pytest.mark.parametrize("phase", [Phase.RENEWING, Phase.RECOVERING, Phase.PAUSED])
async def test_the_current_session_can_be_ended_in_whatever_phase(phase: Phase) -> None:
    async with a_world(key_life_seconds=60) as world:
        other = await world.manager.start_session({"inactivity_timeout_minutes": 60, "key_life_seconds": 7_200})
        session = await world.manager.start_session()
        if phase is Phase.PAUSED:
            await world.manager.pause_session(session.session_id)
        else:
            world.keys.hang(100)
            await asyncio.sleep(51 if phase is Phase.RENEWING else 61)
        current = world.manager.get_current_session()
        assert current is not None
        assert (current.session_id, current.state) == (session.session_id, phase)
        await world.manager.end_session()
        assert [info.session_id for info in world.manager.get_all_sessions()] == [other.session_id]


@pytest.mark.defect(37)
async def test_concurrent_ends_run_everything_once() -> None:
    told: list[str] = []
    async with a_world() as world:
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(on_session_ending=lambda info: told.append(info.session_id))
        )
        session = await world.manager.start_session()
        await asyncio.gather(*(world.manager.end_session(session.session_id) for _ in range(5)))
        assert told == world.keys.ended == [session.session_id]
        assert len(world.recorder.of("session-ended")) == 1


class Unreachable(FakeKeyService):
    async def end_session(self, session_id: str) -> None:
        raise NetworkError("cannot delete")


@pytest.mark.defect(38)
async def test_a_remote_end_that_fails_does_not_keep_the_session() -> None:
    async with a_world(keys=Unreachable()) as world:
        session = await world.manager.start_session()
        await world.manager.end_session(session.session_id)
        assert world.manager.get_session_info(session.session_id) is None
        assert world.recorder.types()[-1] == "session-ended"


@pytest.mark.defect(39)
async def test_a_hook_that_never_settles_holds_the_end_up_for_a_second_and_no_timer_runs() -> None:
    async with a_world(heartbeat_interval_seconds=1) as world:
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(on_session_ending=lambda _: asyncio.sleep(1_000_000))
        )
        session = await world.manager.start_session()
        began = world.clock.now()
        ending = asyncio.create_task(world.manager.end_session(session.session_id))
        await asyncio.sleep(0.5)
        assert world.manager.get_session_diagnostics(session.session_id).next_event is None
        await ending
        assert world.clock.now() - began == pytest.approx(1.0)


@pytest.mark.defect(40)
async def test_nothing_comes_of_a_renewal_after_the_end() -> None:
    told: list[str] = []
    async with a_world(keys=FakeKeyService(latency=1)) as world:
        session = await world.manager.start_session()
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(on_session_resumed=lambda _: told.append("resumed"))
        )
        renewal = asyncio.create_task(world.manager.renew_session(session.session_id))
        await asyncio.sleep(0.5)
        await world.manager.end_session(session.session_id)
        await asyncio.sleep(60)
        assert not (await renewal).success
        assert world.recorder.types()[-1] == "session-ended"
        assert (told, world.keys_held(), world.recorder.of("renewal-completed")) == ([], 0, [])


@pytest.mark.defect(41)
@pytest.mark.defect(42)
@pytest.mark.defect(172)
async def test_an_end_purges_its_own_session_for_its_own_reason() -> None:
    async with a_world() as world:
        one = await world.manager.start_session({"inactivity_timeout_minutes": 1})
        two = await world.manager.start_session()
        await asyncio.sleep(62)
        assert [(order.session_id, order.reason) for order in world.purger.orders] == [
            (one.session_id, "inactivity-timeout")
        ]
        await world.manager.end_session(two.session_id)
        order = world.purger.orders[-1]
        assert (order.session_id, order.reason) == (two.session_id, "user-requested")


@pytest.mark.defect(43)
async def test_the_application_has_its_say_before_the_purge() -> None:
    told: list[int] = []
    async with a_world() as world:

        async def save(_: object) -> None:
            await asyncio.sleep(0.9)
            told.append(len(world.purger.orders))

        world.manager.register_conversation_hooks(ConversationLifecycleHooks(on_session_ending=save))
        session = await world.manager.start_session()
        await world.manager.end_session(session.session_id)
        assert (told, len(world.purger.orders)) == ([0], 1)


@pytest.mark.defect(45)
@pytest.mark.defect(46)
@pytest.mark.parametrize("reason", ["user-requested", "inactivity-timeout", "hung-up"])
async def test_the_ended_event_carries_the_session_whole_and_the_reason(reason: str) -> None:
    async with a_world(inactivity_timeout_minutes=1) as world:
        session = await world.manager.start_session(model="gpt-realtime", labels={"user": "ann"})
        await asyncio.sleep(30)
        if reason == "inactivity-timeout":
            await asyncio.sleep(31)
        else:
            await world.manager.end_session(session.session_id, reason=reason)
        (ended,) = world.recorder.of("session-ended")
        assert isinstance(ended, SessionEnded)
        assert ended.reason == reason
        assert (ended.session_info.labels, ended.session_info.model) == ({"user": "ann"}, "gpt-realtime")
        assert ended.statistics.total_duration_ms == pytest.approx(60_000 if "timeout" in reason else 30_000)


async def test_an_end_of_nothing_is_quiet() -> None:  # keep 33
    async with a_world() as world:
        await world.manager.end_session("session-unknown")
        await world.manager.end_session()
        assert world.recorder.events == []
