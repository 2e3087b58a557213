"""The provider of a soak, a process of its own: an emulator in which something goes wrong all the time.

Prints where it is; says what it saw, as a line of JSON, when it is told to end.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sys

import msgspec
from tests.soak.validity import Validity

from voicepilot.cli.emulate import ready_line
from voicepilot.emulator import RealtimeEmulator
from voicepilot.emulator.record import Entry

KEY_LIFE = 30.0
CONNECTION_LIFE = 45.0
LATENCY = "latency:mint:median=0.02,p99=0.3"
FAULTS = {
    "mint:429:retry_after=1,count={some}": 1.0,
    "mint:503:count={some}": 1.0,
    "mint:reset:count={few}": 1.0,
    "mint:truncated:count={few}": 1.0,
    "mint:malformed:count={few}": 1.0,
    "mint:slow:seconds=2,count={some}": 1.0,
    "session:drop:after=8": 5.0,
    "session:freeze:after=5": 5.0,
    "connect:503": 5.0,
    "response:failed": 5.0,
}
"""What goes wrong, one at a time, and for how many seconds at most; `some` and `few` are shares of the sessions."""

OUTAGE = "outage:503:seconds=3"
EVERY = 20  # of what goes wrong is an outage of everything
PAUSE = 8.0
"""Seconds between two: closer together they are one, which lasts longer than a margin of 10 s allows."""


async def main(sessions: int, seed: int) -> None:
    """Serve until SIGTERM."""
    seen, over = Validity(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    emulator = RealtimeEmulator(key_life=KEY_LIFE, session_life=CONNECTION_LIFE)
    keep = emulator.record.add

    def add(entry: Entry) -> None:
        seen.note(entry)
        keep(entry)

    emulator.record.add = add  # type: ignore[method-assign]  # the record itself forgets
    emulator.faults.add(LATENCY)
    async with emulator, asyncio.TaskGroup() as group:
        print(ready_line(emulator), flush=True)
        harm = group.create_task(do_harm(emulator, random.Random(seed), sessions))
        await over.wait()
        harm.cancel()
    print(msgspec.json.encode(seen).decode(), flush=True)


async def do_harm(emulator: RealtimeEmulator, chance: random.Random, sessions: int) -> None:
    """A steady mix of faults, each over long before a key lapses that was renewed in time."""
    shares = {"some": max(1, sessions // 100), "few": max(1, sessions // 400)}
    for number in itertools.count(1):
        fault, seconds = (OUTAGE, 3.0) if number % EVERY == 0 else chance.choice(list(FAULTS.items()))
        emulator.faults.add(fault.format(**shares))
        await asyncio.sleep(seconds)
        emulator.faults.clear()  # what nobody met would otherwise pile up while nobody asks
        emulator.faults.add(LATENCY)
        await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
