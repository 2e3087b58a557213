"""Two managers of one process have nothing in common that can change."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import gc
import logging
import sys
import types
from collections import deque
from typing import Any

from tests.support import World

COMMON = (
    *(type, enum.Enum, types.ModuleType, types.FunctionType),
    *(logging.Logger, contextvars.Context, asyncio.AbstractEventLoop),
)
"""What every object of a process leads to: code, loggers, the loop. A walk ends there."""

CHANGEABLE = (dict, list, set, deque)


def everything_of(root: object) -> dict[int, Any]:
    modules = {id(module.__dict__) for module in tuple(sys.modules.values())}
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        given = waiting.pop()
        if id(given) not in found and id(given) not in modules and not isinstance(given, COMMON):
            found[id(given)] = given
            waiting += gc.get_referents(given)
    return found


async def test_nothing_that_can_change_is_reached_from_two_managers() -> None:
    one, two = World(), World()
    async with one.manager, two.manager:
        for world in (one, two):
            await world.manager.start_session()
        mine, theirs = everything_of(one.manager), everything_of(two.manager)
        shared = [mine[at] for at in mine.keys() & theirs.keys()]
        of_ours = [each for each in shared if type(each).__module__.startswith("voicepilot")]
        assert [each for each in shared if isinstance(each, CHANGEABLE)] == []
        assert [each for each in of_ours if not type(each).__struct_config__.frozen] == []
        assert len(mine) > 50  # the walk went somewhere
