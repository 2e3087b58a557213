"""100,000 sessions that live on: the processor's share they take, and how late their deadlines are.

Two processes at the same time: a manager with sessions in every stage of their heartbeat and key, and asyncio's own
timers firing at the same rate for nothing. Each counts its own processor time, window by window.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time

import msgspec

from benchmarks.measure import pair
from benchmarks.table import Row, Rows, run
from benchmarks.world import MANY, InstantMinter, a_manager, listen_to_everything
from voicepilot.events import RenewalStarted, SessionRenewed

BEAT = 30.0
KEY_LIFE = 600.0
MARGIN = 10.0
"""Seconds; the defaults of `SessionConfig`."""

BATCH = 0.01
"""Seconds between two handfuls of starts, which are spread over one heartbeat."""

SETTLE = 5.0
"""Seconds in which what starting left behind is worked off."""

WINDOWS = 6
WINDOW = 5.0


class Load(msgspec.Struct, frozen=True):
    """What one process found: shares of a core, and how late its deadlines were in seconds."""

    shares: list[float]
    late: list[float]


async def manager_load() -> Load:
    """Sessions spread evenly over heartbeat and key life, as after hours of service."""
    late: list[float] = []

    def renewing(event: SessionRenewed) -> None:
        if isinstance(event, RenewalStarted) and event.session.key is not None:
            late.append(event.at - (event.session.key.expires_at - MARGIN))

    chance = random.Random(8)
    async with a_manager(InstantMinter(lambda: chance.uniform(2 * MARGIN, KEY_LIFE))) as manager:
        listen_to_everything(manager)
        began = time.monotonic()
        for batch in range(1, round(BEAT / BATCH) + 1):
            for _ in range(round(MANY * BATCH / BEAT)):
                await manager.start_session()
            await asyncio.sleep(max(0.0, began + batch * BATCH - time.monotonic()))
        await asyncio.sleep(SETTLE)
        manager.on_session_renewed(renewing)
        return await _windows(late)


async def timer_load() -> Load:
    """As many timers that come again, doing nothing."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    count = round(MANY * (1 + BEAT / (KEY_LIFE - MARGIN)))

    def fire(due: float) -> None:
        late.append(loop.time() - due)
        loop.call_at(due + BEAT, fire, due + BEAT)

    now = loop.time()
    for number in range(count):
        due = now + BEAT * (1 + number / count)
        loop.call_at(due, fire, due)
    await asyncio.sleep(BEAT)
    late.clear()
    return await _windows(late)


async def _windows(late: list[float]) -> Load:
    shares = []
    for _ in range(WINDOWS):
        began, used = time.monotonic(), time.process_time()
        await asyncio.sleep(WINDOW)
        shares.append((time.process_time() - used) / (time.monotonic() - began))
    return Load(shares, late)


async def _found_by(kind: str) -> Load:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.steady", kind, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    found = msgspec.json.decode(await process.stdout.read(), type=Load)
    await process.wait()
    return found


def p99(late: list[float]) -> float:
    """What only one in a hundred exceeds."""
    return statistics.quantiles(late, n=100)[-1]


async def rows() -> Rows:
    """Share of a core, and lateness."""
    ours, bare = await asyncio.gather(_found_by("sessions"), _found_by("timers"))
    share = pair(ours.shares, bare.shares)
    what = f"steady state, {MANY:,} sessions"
    return (
        Row(
            what=f"{what}: share of one core",
            ours=share.ours.middle * 100,
            unit="%",
            beside=share.beside.middle * 100,
            beside_what="bare asyncio timers, same rate",
            ratio=share.ratio,
            target="at most 25 %",
            reached=share.ours.middle <= 0.25,
        ),
        Row(
            what=f"{what}: p99 lateness of renewals",
            ours=p99(ours.late),
            unit="s",
            beside=p99(bare.late),
            beside_what="bare asyncio timers",
            target="under 50 ms",
            reached=p99(ours.late) < 0.05,
        ),
    )


LOADS = {"sessions": manager_load, "timers": timer_load}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in LOADS:
        print(msgspec.json.encode(asyncio.run(LOADS[sys.argv[1]]())).decode())
    else:
        run(rows)
