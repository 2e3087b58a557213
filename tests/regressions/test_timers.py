"""Sections 9 and 14 of the original's defects: timers and disposal."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import World, a_world

from voicepilot import Phase, SessionManager
from voicepilot.testing import FakeKeyService, Recorder, VirtualClock


def left(world: World, session_id: str) -> tuple[float | None, float | None]:
    """Seconds until inactivity and heartbeat."""
    timers = world.manager.get_session_diagnostics(session_id).timers
    return timers.inactivity.remaining, timers.heartbeat.remaining


@pytest.mark.defect(111)
async def test_after_a_pause_a_reset_gives_the_whole_window_again() -> None:
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id
        await asyncio.sleep(100)
        await world.manager.pause_session(session_id)
        await asyncio.sleep(1_000)
        await world.manager.resume_session(session_id)
        assert left(world, session_id)[0] == pytest.approx(200)
        world.manager.reset_inactivity_timer(session_id)
        assert left(world, session_id)[0] == pytest.approx(300)


@pytest.mark.defect(112)
async def test_pausing_twice_is_pausing_once() -> None:
    async with a_world(key_life_seconds=60) as world:
        session_id = (await world.manager.start_session()).session_id
        for _ in range(2):
            await world.manager.pause_session(session_id)
            await asyncio.sleep(10)
        await world.manager.resume_session(session_id)
        assert left(world, session_id)[0] == pytest.approx(300)
        await asyncio.sleep(299)
        assert world.recorder.types().count("renewal-completed") == 6
        assert world.manager.is_session_active(session_id)
        await asyncio.sleep(2)
        assert world.manager.get_session_info(session_id) is None


@pytest.mark.defect(113)
async def test_the_heartbeat_is_paused_too() -> None:
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id
        await asyncio.sleep(20)
        await world.manager.pause_session(session_id)
        await asyncio.sleep(1_000)
        assert world.manager.get_all_sessions()[0].statistics.heartbeat_count == 0
        await world.manager.resume_session(session_id)
        assert left(world, session_id)[1] == pytest.approx(10)
        await asyncio.sleep(10.1)
        assert world.manager.get_all_sessions()[0].statistics.heartbeat_count == 1


@pytest.mark.defect(114)
async def test_the_first_beat_is_reported_when_it_comes() -> None:
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id
        event = world.manager.get_session_diagnostics(session_id).next_event
        assert event is not None
        assert event.kind == "heartbeat"
        assert event.remaining == pytest.approx(30)
        await asyncio.sleep(29)
        assert left(world, session_id)[1] == pytest.approx(1)


@pytest.mark.defect(115)
async def test_beats_that_were_slept_through_are_one_beat() -> None:
    async with a_world(heartbeat_interval_seconds=1, enable_inactivity_timeout=False) as world:
        await world.manager.start_session()
        world.clock.suspend(100)
        await asyncio.sleep(1)
        assert world.manager.get_all_sessions()[0].statistics.heartbeat_count == 1
        await asyncio.sleep(1)
        assert world.manager.get_all_sessions()[0].statistics.heartbeat_count == 2


@pytest.mark.defect(116)
async def test_timers_that_are_restarted_do_not_pile_up() -> None:
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id
        for n in range(5_000):
            world.manager.reset_inactivity_timer(session_id)
            margin = {"renewal_margin_seconds": n % 100, "heartbeat_interval_seconds": 1 + n % 50}
            await world.manager.update_session_config(session_id, margin)
        assert len(world.manager._timers._heap) < 100
        await world.manager.end_session(session_id)
        await asyncio.sleep(60)
        assert world.manager._timers._heap == []
        assert world.manager._timers._handle is None


@pytest.mark.defect(117)
async def test_nothing_arms_a_timer_after_dispose() -> None:
    world = World()
    await world.manager.initialize()
    session_id = (await world.manager.start_session()).session_id
    await world.manager.dispose()
    world.manager.reset_inactivity_timer(session_id)
    world.manager._timers.pause(session_id)
    world.manager._timers.resume(session_id)
    await asyncio.sleep(600)
    assert world.leftovers() == []
    assert world.manager._timers._heap == []


@pytest.mark.defect(118)
async def test_the_longest_delays_come_true() -> None:
    async with a_world(enable_heartbeat=False) as world:
        session = await world.manager.start_session({"inactivity_timeout_minutes": 10_080})
        await asyncio.sleep(3_600)
        world.clock.suspend(10_080 * 60 - 3_610)
        await asyncio.sleep(9)
        assert world.manager.is_session_active(session.session_id)
        await asyncio.sleep(2)
        assert not world.manager.is_session_active(session.session_id)


async def test_a_status_counts_down_and_never_below_zero() -> None:  # keep 106, 107
    async with a_world() as world:
        session_id = (await world.manager.start_session()).session_id
        world.clock.suspend(10_000)
        timers = world.manager.get_session_diagnostics(session_id).timers
        assert {timers.renewal.remaining, timers.inactivity.remaining, timers.heartbeat.remaining} == {0}


class Recording(FakeKeyService):
    """A collaborator that notes when it is disposed, and how well."""

    def __init__(self, log: list[str], name: str, *, hangs: bool = False) -> None:
        super().__init__()
        self._log, self._name, self._hangs = log, name, hangs

    async def dispose(self) -> None:
        self._log.append(self._name)
        if self._hangs:
            await asyncio.sleep(1_000_000)


@pytest.mark.defect(192)
@pytest.mark.defect(195)
async def test_sessions_end_before_what_they_need_is_disposed_and_leaving_waits_for_it() -> None:
    log: list[str] = []
    configuration, keys = Recording(log, "configuration"), Recording(log, "keys")
    async with SessionManager(keys, clock=VirtualClock(), owned=(configuration, keys)) as manager:
        recorder = Recorder(manager)
        manager.on_session_ended(lambda _: log.append("ended"))
        await manager.start_session()
    assert log == ["ended", "keys", "configuration"]
    assert recorder.events[-1].session.phase is Phase.ENDED


@pytest.mark.defect(193)
async def test_a_collaborator_that_hangs_does_not_hang_the_shutdown() -> None:
    log: list[str] = []
    keys = Recording(log, "keys", hangs=True)
    manager = SessionManager(keys, clock=VirtualClock(), owned=(Recording(log, "configuration"), keys))
    async with asyncio.timeout(5):
        async with manager:
            await manager.start_session()
    assert log == ["keys", "configuration"]
