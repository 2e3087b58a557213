"""What an idle connection takes of a process that holds hundreds, beside aiohttp's WebSocket and the official client's.

Each kind in a process of its own, the emulator in another. Ours is the conversation alone: its session was there
before. All are greeted and have a reader; the client that opens them is shared.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from openai import AsyncOpenAI

from benchmarks.conversation_peer import Peer, a_peer
from benchmarks.table import Row, Rows, run
from voicepilot import SessionManager

MANY = 500
BEFORE = 40
"""Connections that are there already, so that what is loaded and shared is not counted."""

AT_ONCE = 20
LIMIT = 35 * 1024

Read = Callable[[], Awaitable[object]]
Open = Callable[[AsyncExitStack], Awaitable[Read]]
"""Opens a connection that lasts as long as the stack; gives what reads it to its end."""


@asynccontextmanager
async def ours(peer: Peer) -> AsyncIterator[Open]:
    """A managed conversation."""
    async with SessionManager.from_settings(
        base_url=peer.base_url, api_key="sk-bench", max_concurrent_sessions=MANY + BEFORE
    ) as manager:
        ids = [(await manager.start_session()).session_id for _ in range(MANY + BEFORE)]

        async def open_one(_: AsyncExitStack) -> Read:
            conversation = await manager.connect(ids.pop()).__aenter__()  # the manager's end is its end

            async def read() -> None:
                async for _ in conversation:
                    pass

            return read

        yield open_one


@asynccontextmanager
async def plain(peer: Peer) -> AsyncIterator[Open]:
    """Aiohttp's WebSocket."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def open_one(stack: AsyncExitStack) -> Read:
            socket = await http.ws_connect(peer.url, headers={"Authorization": "Bearer sk-bench"})
            stack.callback(socket._response.close)  # noqa: SLF001 - without waiting for hundreds of goodbyes

            async def read() -> None:
                async for message in socket:
                    message.json()

            return read

        yield open_one


@asynccontextmanager
async def official(peer: Peer) -> AsyncIterator[Open]:
    """The official client's realtime connection."""
    async with AsyncOpenAI(api_key="sk-bench", base_url=peer.base_url) as client:

        async def open_one(stack: AsyncExitStack) -> Read:
            connection = await client.realtime.connect(model="gpt-realtime").enter()
            stack.push_async_callback(connection.close)

            async def read() -> None:
                async for _ in connection:
                    pass

            return read

        yield open_one


async def taken(kind: Callable[[Peer], Any]) -> float:
    """Bytes by which the process grew, for each of so many connections."""
    async with a_peer(heartbeat=600.0) as peer, kind(peer) as open_one, AsyncExitStack() as stack:
        readers: list[asyncio.Task[object]] = []

        async def open_many(count: int) -> None:
            for _ in range(0, count, AT_ONCE):
                reads = await asyncio.gather(*(open_one(stack) for _ in range(AT_ONCE)))
                readers.extend(asyncio.ensure_future(read()) for read in reads)
            await asyncio.sleep(0.5)  # until all is heard that is said at the beginning
            gc.collect()

        await open_many(BEFORE)
        before = _resident_bytes()
        await open_many(MANY)
        grown = (_resident_bytes() - before) / MANY
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        return grown


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


KINDS: dict[str, Callable[[Peer], Any]] = {"ours": ours, "plain": plain, "official": official}


async def _found_by(kind: str) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.conversation_memory", kind, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    found = float(await process.stdout.read())
    await process.wait()
    return found


async def rows() -> Rows:
    """One beside each rival."""
    mine, bare, other = [await _found_by(kind) for kind in KINDS]
    return [
        Row(
            what=f"an idle managed connection, of {MANY}: resident memory",
            ours=mine / 1024,
            unit="KB",
            beside=beside / 1024,
            beside_what=beside_what,
            target=f"{LIMIT // 1024} KB or less",
            reached=mine <= LIMIT,
        )
        for beside, beside_what in ((bare, "aiohttp's WebSocket"), (other, "the official client's connection"))
    ]


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in KINDS:
        print(asyncio.run(taken(KINDS[sys.argv[1]])))
    else:
        run(rows)
