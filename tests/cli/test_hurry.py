from __future__ import annotations

import asyncio
import time

import pytest

from voicepilot.cli.demo.hurry import HurriedLoop, clock_of
from voicepilot.clock import SystemClock


@pytest.mark.sockets
def test_a_minute_passes_in_less() -> None:
    async def minute() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        clock = clock_of(loop)
        began, then = loop.time(), clock.now()
        await asyncio.sleep(60)
        return loop.time() - began, clock.now() - then

    began = time.monotonic()
    with asyncio.Runner(loop_factory=lambda: HurriedLoop(600)) as runner:
        by_loop, by_clock = runner.run(minute())
    assert by_loop >= 60
    assert by_clock == pytest.approx(by_loop, rel=0.2)
    assert time.monotonic() - began < 50


async def test_a_loop_in_no_hurry_has_the_systems_clock() -> None:
    assert isinstance(clock_of(asyncio.get_running_loop()), SystemClock)
