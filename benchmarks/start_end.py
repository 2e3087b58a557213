"""Start and end of a session with a key that comes at once, beside the least that any manager must do for it."""

from __future__ import annotations

import asyncio

from benchmarks.measure import each, in_turn
from benchmarks.table import Rows, compared, run
from benchmarks.world import a_manager, listen_to_everything, start
from voicepilot import SessionManager

CYCLES = 2_000
ROUNDS = 15
FLOOR = "two dict writes, three call_at + cancel, five awaited no-ops"


async def nothing() -> None:
    """What mint, two hooks, close and purge are at least."""


async def floor(cycles: int) -> None:
    """For each session: into and out of a dict, three timers, five waits for nothing."""
    loop = asyncio.get_running_loop()
    sessions: dict[int, int | None] = {}
    for number in range(cycles):
        now = loop.time()
        sessions[number] = number
        timers = (loop.call_at(now + 30, nothing), loop.call_at(now + 300, nothing), loop.call_at(now + 590, nothing))
        await nothing()
        await nothing()
        await nothing()
        for timer in timers:
            timer.cancel()
        await nothing()
        await nothing()
        sessions[number] = None
    await asyncio.sleep(0)  # the loop clears away cancelled timers


async def cycle(manager: SessionManager, cycles: int) -> None:
    """Start and end one session after the other."""
    for _ in range(cycles):
        session = await manager.start_session()
        await manager.end_session(session.session_id)


async def rows() -> Rows:
    """Without and with subscribers, and a renewal."""
    async with a_manager() as bare, a_manager() as heard:
        listen_to_everything(heard)
        session_id = (await start(bare, 1))[0]

        async def renew(count: int) -> None:
            for _ in range(count):
                await bare.renew_session(session_id)

        beside = each(CYCLES, floor)
        alone = await in_turn(each(CYCLES, lambda count: cycle(bare, count)), beside, rounds=ROUNDS)
        told = await in_turn(each(CYCLES, lambda count: cycle(heard, count)), beside, rounds=ROUNDS)
        renewed = await in_turn(each(CYCLES, renew), beside, rounds=ROUNDS)
    return (
        compared("start + end of a session, instant minter", alone, FLOOR, at_most=10),
        compared("the same, one subscriber for each kind of event", told, "the same floor"),
        compared("renewal by hand, instant minter", renewed, "the same floor"),
    )


if __name__ == "__main__":
    run(rows)
