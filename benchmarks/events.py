"""An event told to many, beside calling the same handlers directly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.measure import Pair, each, in_turn, spread
from benchmarks.table import Row, Rows, compared, run
from voicepilot.events import Event, StateChanged
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import Session
from voicepilot.runtime.observers import Observers
from voicepilot.runtime.supervisor import Supervisor

ROUNDS = 15
EVENTS = 20_000
"""Calls of handlers in a sample."""


def plain(_: Event) -> None:
    """A sync handler."""


async def waiting(_: Event) -> None:
    """An async handler."""


Handlers = list[Callable[[Any], Awaitable[None] | None]]


def handlers(count: int) -> Handlers:
    """Half of them sync, half async."""
    return [plain, waiting] * (count // 2)


def moved() -> StateChanged:
    """An event."""
    session = Session(session_id="session-bench", created_at=0.0, last_activity=0.0, config=SessionConfig())
    return StateChanged(session=session, at=0.0, previous_state=Phase.IDLE, new_state=Phase.STARTING, reason="bench")


async def told(count: int) -> Pair:
    """Seconds for one event with `count` subscribers, beside direct calls."""
    supervisor = Supervisor(logging.getLogger("voicepilot"))
    observers, event, ended = Observers(supervisor, logging.getLogger("voicepilot")), moved(), asyncio.Event()
    called = handlers(count)
    for handler in called:
        observers.subscribe("state", handler)

    async def last() -> None:
        ended.set()

    await supervisor.start(last)

    async def ours(events: int) -> None:
        for _ in range(events):
            observers.publish("state", event)
            await observers.drain(10)

    async def floor(events: int) -> None:
        for _ in range(events):
            for handler in called:
                if (answer := handler(event)) is not None:
                    await answer

    events = max(1, EVENTS // count)
    found = await in_turn(each(events, ours), each(events, floor), rounds=ROUNDS)
    await supervisor.stop()
    return found


async def rows() -> Rows:
    """Ten subscribers, and a thousand."""
    few, many = await told(10), await told(1_000)
    cliff = spread(a / b for a, b in zip(_each(many, 1_000), _each(few, 10), strict=True))
    return (
        compared("event with 10 subscribers (5 sync, 5 async), all heard", few, "direct calls"),
        compared("event with 1,000 subscribers, all heard", many, "direct calls"),
        Row(
            what="one subscriber of 1,000",
            ours=many.ours.middle / 1_000,
            unit="s",
            beside=few.ours.middle / 10,
            beside_what="one of 10",
            ratio=cliff,
            target="no cliff: at most 2 ×",
            reached=cliff.middle <= 2,
        ),
    )


def _each(found: Pair, count: int) -> tuple[float, ...]:
    return tuple(value / count for value in (found.ours.low, found.ours.middle, found.ours.high))


if __name__ == "__main__":
    run(rows)
