"""Renewals over HTTP from an emulator in another process, beside the same POST in a bare aiohttp loop."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from benchmarks.measure import Sample, Spread, in_turn
from benchmarks.table import Row, Rows, run
from benchmarks.world import Unlimited, start
from voicepilot import EphemeralKeyService, SessionManager
from voicepilot.credentials import OpenAIProfile
from voicepilot.network.secrets import Secret
from voicepilot.ports import KeyRequest

AT_ONCE = 16
"""Requests under way at any time, which is also how many mints the key service makes at once."""

REQUESTS = 1_600
ROUNDS = 9
SECRET = "sk-bench"  # noqa: S105 - the emulator takes any


@asynccontextmanager
async def an_emulator() -> AsyncIterator[str]:
    """The base URL of an emulator in another process."""
    program = Path(sys.executable).with_name("voicepilot")
    process = await asyncio.create_subprocess_exec(program, "emulate", "--port", "0", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())["base_url"]
    finally:
        process.terminate()
        await process.wait()


def of_one_core(renew: Callable[[str], Awaitable[object]], sessions: Sequence[str]) -> Sample:
    """Processor seconds of this process for one renewal, with as many under way as there are sessions."""

    async def worker(session_id: str) -> None:
        for _ in range(REQUESTS // len(sessions)):
            await renew(session_id)

    async def sample() -> float:
        gc.collect()
        began = time.process_time()
        await asyncio.gather(*(worker(session_id) for session_id in sessions))
        return (time.process_time() - began) / REQUESTS

    return sample


def bare(http: aiohttp.ClientSession, profile: OpenAIProfile) -> Callable[[str], Awaitable[object]]:
    """The POST that a renewal makes, and its answer read as JSON."""
    headers = {**profile.headers(Secret(SECRET)), "Content-Type": "application/json"}

    async def post(session_id: str) -> object:
        body = profile.body(KeyRequest(session_id=session_id))
        async with http.post(profile.mint_url, data=body, headers=headers) as response:
            response.raise_for_status()
            return json.loads(await response.read())["value"]

    return post


async def rows() -> Rows:
    """Processor time and not the clock, because the emulator works on the same machine."""
    async with an_emulator() as base_url:
        profile = OpenAIProfile(base_url=base_url)
        keys = EphemeralKeyService(profile, credential=SECRET)
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        async with (
            keys,
            SessionManager(keys, configuration=Unlimited()) as manager,
            aiohttp.ClientSession(connector=connector) as http,
        ):
            ids = await start(manager, AT_ONCE)
            ours, post = of_one_core(manager.renew_session, ids), of_one_core(bare(http, profile), ids)
            found = await in_turn(ours, post, rounds=ROUNDS)
            assert all(manager.get_session_diagnostics(session_id).last_error is None for session_id in ids)
    ratio = Spread(1 / found.ratio.high, 1 / found.ratio.middle, 1 / found.ratio.low)
    return (
        Row(
            what="renewals over HTTP by one core",
            ours=1 / found.ours.middle,
            unit="/s",
            beside=1 / found.beside.middle,
            beside_what="the same POST in a bare aiohttp loop",
            ratio=ratio,
            target="at least 0.7 ×",
            reached=ratio.middle >= 0.7,
        ),
    )


if __name__ == "__main__":
    run(rows)
