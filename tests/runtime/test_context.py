"""What a caller has in his context does not travel into other people's events."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from tests.support import a_world

from voicepilot import RenewalStarted

request: ContextVar[str] = ContextVar("request", default="nobody")


async def test_a_timer_does_not_run_in_the_context_of_whoever_armed_it_last() -> None:
    async with a_world(key_life_seconds=60, enable_inactivity_timeout=False) as world:
        seen: list[str] = []
        world.manager.on_session_renewed(
            lambda event: seen.append(request.get()) if isinstance(event, RenewalStarted) else None
        )
        token = request.set("somebody's web request")
        await world.manager.start_session()
        request.reset(token)
        await asyncio.sleep(115)
        assert seen == ["nobody", "nobody"]
