"""Section 5 of the original's defects: queries, updates, inactivity."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.support import a_world

from voicepilot import ConfigurationError, Phase, SessionErrorEvent, SessionNotFoundError
from voicepilot.testing import VirtualClock


@pytest.mark.defect(63)
async def test_what_is_handed_out_cannot_change_the_session() -> None:
    async with a_world() as world:
        labels = {"user": "ann"}
        session = await world.manager.start_session(labels=labels)
        labels["user"] = "bob"
        session.labels["user"] = "eve"  # type: ignore[index]  # hostile on purpose
        config = world.manager.get_session_config(session.session_id)
        for target, field, value in (
            (session, "state", Phase.FAILED),
            (session.statistics, "renewal_count", 7),
            (config, "key_life_seconds", 1),
            (world.recorder.events[-1], "at", 0),
        ):
            with pytest.raises(AttributeError):
                setattr(target, field, value)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert (info.state, info.labels) == (Phase.ACTIVE, {"user": "ann"})


@pytest.mark.defect(65)
async def test_of_two_sessions_started_in_the_same_moment_the_later_is_current() -> None:
    async with a_world() as world:
        for _ in range(3):
            session = await world.manager.start_session()
            current = world.manager.get_current_session()
            assert current is not None
            assert current.session_id == session.session_id


@pytest.mark.defect(65)
@pytest.mark.slow
async def test_asking_for_the_current_session_costs_the_same_however_many_there_are() -> None:
    async with a_world(limit=100_000) as world:

        def cost() -> float:
            costs = []
            for _ in range(50):
                began = time.process_time()
                world.manager.get_current_session()
                costs.append(time.process_time() - began)
            return min(costs)

        await world.manager.start_session()
        first = cost()
        for _ in range(3_000):
            await world.manager.start_session()
        assert cost() < 10 * first  # a scan would make it hundreds of times as much


@pytest.mark.defect(68)
async def test_an_update_of_flags_and_margins_takes_effect() -> None:
    async with a_world(key_life_seconds=600) as world:
        session_id = (await world.manager.start_session()).session_id
        now = world.clock.now()

        async def timers(**changes: Any) -> tuple[float | None, float | None, float | None]:
            await world.manager.update_session_config(session_id, changes)
            status = world.manager.get_session_diagnostics(session_id).timers
            at = (status.renewal.scheduled_at, status.inactivity.scheduled_at, status.heartbeat.scheduled_at)
            renewal, idle, beat = (None if each is None else each - now for each in at)
            return renewal, idle, beat

        assert await timers() == (590, 300, 30)
        assert await timers(renewal_margin_seconds=60) == (540, 300, 30)
        assert await timers(enable_heartbeat=False) == (540, 300, None)
        assert await timers(enable_inactivity_timeout=False) == (540, None, None)
        assert await timers(enable_heartbeat=True, enable_inactivity_timeout=True) == (540, 300, 30)
        assert await timers(inactivity_timeout_minutes=1, heartbeat_interval_seconds=7) == (540, 60, 7)


@pytest.mark.defect(68)
@pytest.mark.parametrize("value", [0, None, "", -1])
async def test_an_update_with_a_value_that_cannot_be_is_refused_whole(value: Any) -> None:
    async with a_world() as world:
        session = await world.manager.start_session()
        with pytest.raises(ConfigurationError, match="heartbeat_interval_seconds"):
            await world.manager.update_session_config(
                session.session_id, {"renewal_margin_seconds": 20, "heartbeat_interval_seconds": value}
            )
        assert world.manager.get_session_config(session.session_id) == session.config


@pytest.mark.defect(71)
async def test_a_conversation_that_goes_on_is_not_inactive() -> None:
    async with a_world() as world:
        session = await world.manager.start_session()
        for _ in range(1_000):
            await asyncio.sleep(1)
            world.manager.reset_inactivity_timer(session.session_id)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert (info.state, info.statistics.inactivity_resets) == (Phase.ACTIVE, 1_000)
        await asyncio.sleep(299)
        assert world.manager.is_session_active(session.session_id)
        await asyncio.sleep(1.1)
        (told,) = world.recorder.of("timeout-error")  # keep 70
        assert isinstance(told, SessionErrorEvent)
        assert (told.error.code, told.error.retryable) == ("INACTIVITY_TIMEOUT", False)
        assert (told.error.message, told.error.remediation) == (
            "no activity for 5 minutes",
            "Start a new session when ready to continue.",
        )


@pytest.mark.defect(71)
async def test_pausing_a_session_stops_the_clock_of_inactivity() -> None:
    async with a_world() as world:
        session = await world.manager.start_session()
        await world.manager.pause_session(session.session_id)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert info.state is Phase.PAUSED
        await asyncio.sleep(3_600)
        assert world.manager.get_session_info(session.session_id) is not None


async def test_unknown_sessions_are_none_or_not_found() -> None:  # keep 62, 67, 69, 81
    async with a_world() as world:
        assert world.manager.get_session_info("x") is None
        assert world.manager.get_session_config("x") is None
        assert world.manager.get_current_session() is None
        world.manager.reset_inactivity_timer("x")
        with pytest.raises(SessionNotFoundError, match="Session x not found"):
            await world.manager.update_session_config("x", {})
        with pytest.raises(SessionNotFoundError, match="Session x not found"):
            world.manager.get_session_diagnostics("x")


def test_clocks_need_a_loop_to_follow() -> None:
    with pytest.raises(RuntimeError):
        VirtualClock().now()
