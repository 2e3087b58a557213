"""What a live session takes: all timers armed, all subscribed, its key held."""

from __future__ import annotations

import gc
import os
import secrets
import tracemalloc
from pathlib import Path

from benchmarks.table import Row, Rows, run
from benchmarks.world import MANY, InstantMinter, a_manager, listen_to_everything, start
from voicepilot import EphemeralKey, KeyRequest, SessionManager

TRACED = 20_000
LIMIT = 3_200


class RealisticMinter(InstantMinter):
    """Gives every session a key and ids of its own, as long as the provider's."""

    async def request_ephemeral_key(self, request: KeyRequest) -> EphemeralKey:
        """A first key."""
        return EphemeralKey(
            f"ek_{secrets.token_hex(32)}",
            expires_in=request.life_seconds,
            issued_for=request.session_id,
            model="gpt-realtime",
            remote_session_id=f"sess_{secrets.token_hex(12)}",
        )


async def traced(count: int) -> float:
    """Bytes that the interpreter was asked for, for each of `count` sessions: exact, and the same in every run."""
    async with a_manager(RealisticMinter()) as manager:
        listen_to_everything(manager)
        await start(manager, 100)
        gc.collect()
        tracemalloc.start()
        await _start(manager, count)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return taken / count


async def resident(count: int) -> float:
    """Bytes by which the process grew, for each of `count` sessions: with what allocators round up and leave over."""
    async with a_manager(RealisticMinter()) as manager:
        listen_to_everything(manager)
        await start(manager, 100)
        gc.collect()
        before = _resident_bytes()
        await _start(manager, count)
        gc.collect()
        return (_resident_bytes() - before) / count


async def _start(manager: SessionManager, count: int) -> None:
    for _ in range(count):
        await manager.start_session()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def rows() -> Rows:
    """First as the operating system sees it, in a process that is still small."""
    measured = [("100,000 live sessions: resident memory each", await resident(MANY))] if _is_linux() else []
    measured.append(("a live session: memory asked for, exact", await traced(TRACED)))
    return [
        Row(what=what, ours=size, unit="bytes", target=f"{LIMIT:,} bytes or less", reached=size <= LIMIT)
        for what, size in measured
    ]


def _is_linux() -> bool:
    return Path("/proc/self/statm").exists()


if __name__ == "__main__":
    run(rows)
