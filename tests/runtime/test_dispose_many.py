"""Dispose, called by many at once while a task refuses to stop."""

from __future__ import annotations

import asyncio
import contextlib

from tests.support import World

from voicepilot import EphemeralKey, KeyRequest, SessionError
from voicepilot.testing import FakeKeyService, run_virtual


class Deaf(FakeKeyService):
    """Swallows cancellation for a quarter of a minute."""

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        loop = asyncio.get_running_loop()
        end = loop.time() + 15
        while (left := end - loop.time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)
        return await super()._answer(request, renewal=renewal)


def test_many_disposes_at_once_take_no_longer_than_one() -> None:
    async def took(callers: int) -> float:
        world = World(keys=Deaf())
        await world.manager.initialize()
        start = asyncio.create_task(world.manager.start_session())
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(world.manager.dispose() for _ in range(callers)))
        seconds = asyncio.get_running_loop().time() - began
        await asyncio.sleep(30)
        with contextlib.suppress(SessionError):
            await start
        return seconds

    assert run_virtual(took(12)) == run_virtual(took(1))
