"""What must not cost more with more sessions, counted in lines of Python run rather than in time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support import World, a_world

from voicepilot import SessionLimitError
from voicepilot.runtime.registry import Entry


def lines_run(call: Callable[[], object]) -> int:
    count = 0

    def trace(_frame: FrameType, event: str, _given: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()  # what others have it call is no line of ours
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


async def refused_start(world: World) -> int:
    """The lines that a start runs until it is refused."""
    start = world.manager.start_session()

    def whole() -> None:
        with pytest.raises(SessionLimitError):
            start.send(None)

    return lines_run(whole)


async def test_current_session_and_limit_cost_the_same_with_ten_and_with_a_hundred_thousand() -> None:
    async with a_world(limit=1) as world:
        first = await world.manager.start_session()
        session, registry = world.performer.registry.live()[0].session, world.performer.registry

        async def costs(sessions: int) -> tuple[int, int]:
            others = [f"session-{number}" for number in range(1, sessions)]
            for session_id in others:
                registry.add(Entry(replace(session, session_id=session_id)))
            registry.touch(first.session_id)
            current = lines_run(world.manager.get_current_session)
            refused = await refused_start(world)
            for session_id in others:
                registry.remove(session_id)
            return current, refused

        few, many = await costs(10), await costs(100_000)
        assert few == many
        assert min(few) > 0
