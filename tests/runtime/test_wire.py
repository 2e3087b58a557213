"""The manager, the key service and the emulator together, over real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from voicepilot import (
    NetworkError,
    Phase,
    SessionEndedError,
    SessionManager,
    SessionStartError,
    StateChanged,
)
from voicepilot.emulator import RealtimeEmulator
from voicepilot.testing import Recorder

pytestmark = pytest.mark.sockets

PATIENCE = 20.0
"""Seconds after which a test that waits for something on a socket gives up."""


async def until(condition: Callable[[], object]) -> None:
    """Wait for `condition` on a busy loop's own turns; it is made true by sockets, not by time."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - conditions of other people's objects have no Event to wait for
            await asyncio.sleep(0.005)


def open_sockets() -> int:
    """How many sockets this process holds; none are counted where the system does not say."""
    held = Path("/proc/self/fd")
    if not held.exists():
        return 0
    return sum(link.is_socket() for link in held.iterdir())


@asynccontextmanager
async def a_manager(emulator: RealtimeEmulator, **settings: Any) -> AsyncIterator[SessionManager]:
    before, sockets = set(asyncio.all_tasks()), open_sockets()
    manager = SessionManager.from_settings(
        base_url=emulator.base_url, api_key="sk-test", **{"retry_backoff_ms": 50, **settings}
    )
    async with manager:
        yield manager
    assert len(manager._performer.vault) == 0
    left = {task for task in asyncio.all_tasks() - before if "voicepilot" in task.get_name()}
    assert left == set()
    await until(lambda: open_sockets() <= sockets)


def seconds_without_a_key(emulator: RealtimeEmulator, since: float, until_then: float) -> float:
    """By the emulator's own record of one session's keys: how long none of them was good."""
    gap, good_until = 0.0, since
    for mint in emulator.record.mints():
        if mint.valid_until is not None:
            gap += max(0.0, mint.at - max(good_until, since))
            good_until = max(good_until, mint.valid_until)
    return gap + max(0.0, until_then - good_until)


async def test_an_emulator_killed_during_a_renewal_and_restarted_costs_no_valid_second() -> None:
    emulator = RealtimeEmulator(key_life=60)
    await emulator.start()
    async with a_manager(emulator, max_retry_attempts=100) as manager, asyncio.TaskGroup() as group:
        recorder = Recorder(manager)
        sessions = [await manager.start_session() for _ in range(3)]
        began = emulator.now()
        emulator.faults.hang_mints(count=3)
        renewals = [group.create_task(manager.renew_session(session.session_id)) for session in sessions]
        await until(lambda: len(recorder.of("renewal-started")) == 3)
        port = emulator.port
        await emulator.stop()
        await until(lambda: all(_fetching(manager, session.session_id) for session in sessions))
        again = RealtimeEmulator(port=port, key_life=60)
        async with again:
            results = [await renewal for renewal in renewals]
            assert [result.success for result in results] == [True] * 3
            assert all(result.attempts > 1 for result in results)
            assert all(manager.is_session_active(session.session_id) for session in sessions)
            assert seconds_without_a_key(emulator, began, again.now()) == 0.0
            changes = [event for event in recorder.events if isinstance(event, StateChanged)]
            assert Phase.RECOVERING not in {change.new_state for change in changes}


def _fetching(manager: SessionManager, session_id: str) -> bool:
    """Whether the renewal of this session has met its first refusal and waits for another attempt."""
    info = manager.get_session_info(session_id)
    return info is not None and info.state is Phase.RENEWING and info.last_error is not None


async def test_ending_while_a_start_waits_for_its_key_leaves_nothing() -> None:
    async with RealtimeEmulator() as emulator, a_manager(emulator) as manager:
        emulator.faults.hang_mints()
        async with asyncio.TaskGroup() as group:
            start = group.create_task(_caught(manager.start_session()))
            await until(manager.get_current_session)
            await manager.end_session()
        assert isinstance(start.result(), SessionEndedError)
        assert manager.get_all_sessions() == ()


async def test_a_cancelled_start_ends_its_session() -> None:
    async with RealtimeEmulator() as emulator, a_manager(emulator) as manager:
        emulator.faults.hang_mints()
        async with asyncio.TaskGroup() as group:
            start = group.create_task(manager.start_session())
            await until(manager.get_current_session)
            start.cancel()
        await until(lambda: manager.get_all_sessions() == ())


async def test_disposing_while_mints_are_in_flight_leaves_nothing() -> None:
    async with RealtimeEmulator() as emulator, a_manager(emulator) as manager, asyncio.TaskGroup() as group:
        session = await manager.start_session()
        emulator.faults.hang_mints(count=2)
        renewal = group.create_task(manager.renew_session(session.session_id))
        start = group.create_task(_caught(manager.start_session()))
        await until(lambda: len(manager.get_all_sessions()) == 2)
        await manager.dispose()
        assert not renewal.result().success
        assert isinstance(start.result(), SessionEndedError)


async def test_an_unreachable_provider_is_a_network_error_that_says_what_to_do() -> None:
    emulator = RealtimeEmulator()
    await emulator.start()
    await emulator.stop()
    async with a_manager(emulator, max_retry_attempts=1) as manager:
        with pytest.raises(SessionStartError, match="Failed to obtain session credentials") as raised:
            await manager.start_session()
    assert isinstance(raised.value.__cause__, NetworkError)
    assert raised.value.retryable
    assert raised.value.remediation


async def test_no_attempt_is_made_by_two_layers_as_the_provider_counts() -> None:
    async with RealtimeEmulator() as emulator, a_manager(emulator, max_retry_attempts=2) as manager:
        emulator.faults.fail_mints(503, count=2)
        session = await manager.start_session()
        assert len(emulator.record.mints()) == 3
        emulator.faults.fail_mints(503, count=3)
        result = await manager.renew_session(session.session_id)
        assert (result.success, result.attempts) == (False, 3)
        assert len(emulator.record.mints()) == 3 + 3


async def _caught(start: Any) -> object:
    try:
        return await start
    except SessionEndedError as error:
        return error
