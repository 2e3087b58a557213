from __future__ import annotations

import asyncio

import pytest

from voicepilot.testing.virtual import DeadlockError, VirtualClock, run_virtual


async def test_an_hour_passes_at_once() -> None:
    clock = VirtualClock()
    began = clock.now()
    await asyncio.sleep(3600)
    assert clock.now() - began == pytest.approx(3600)


async def test_timers_fire_in_order_of_time() -> None:
    order: list[str] = []

    async def note(delay: float, name: str) -> None:
        await asyncio.sleep(delay)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(note(0.3, "c"))
        group.create_task(note(0.1, "a"))
        group.create_task(note(0.2, "b"))
    assert order == ["a", "b", "c"]


async def test_suspension_moves_the_clock_but_not_the_timers() -> None:
    clock = VirtualClock()
    began, loop_began = clock.now(), asyncio.get_running_loop().time()
    clock.suspend(1800)
    assert clock.now() - began == 1800
    assert asyncio.get_running_loop().time() == loop_began


def test_waiting_for_ever_is_an_error_not_a_hang() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    loop_error: type[BaseException] = DeadlockError
    with pytest.raises(loop_error):
        run_virtual(wait())
