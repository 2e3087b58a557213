"""What a managed conversation costs an event, beside a loop that reads aiohttp's WebSocket and decodes the JSON."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from benchmarks.conversation_peer import FLOOD, Peer, a_peer
from benchmarks.measure import Pair, Sample, each, in_turn, pair, spread
from benchmarks.table import Row, Rows, compared, run
from voicepilot import SessionManager
from voicepilot.conversation.connection import Conversation

EVENTS = 20_000
ROUNDS = 15
TRIPS = 3_000
FRAME = bytes(1_920)
"""40 ms of silence."""

Talk = Callable[[], Awaitable[object]]
Decode = Callable[[str], Any]


@asynccontextmanager
async def a_conversation(peer: Peer) -> AsyncIterator[Conversation]:
    """A conversation of a manager as people have it: transcripts, breaker, telemetry."""
    async with SessionManager.from_settings(base_url=peer.base_url, api_key="sk-bench") as manager:
        session = await manager.start_session()
        async with manager.connect(session.session_id) as conversation:
            yield conversation


@asynccontextmanager
async def a_socket(peer: Peer) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The same connection without us."""
    async with aiohttp.ClientSession() as http, http.ws_connect(peer.url) as socket:
        await socket.receive()
        yield socket


def asking(events: int) -> dict[str, object]:
    """The event that asks the peer for so many."""
    return {"type": "response.create", "response": {"metadata": {"events": events}}}


def heard_by_us(conversation: Conversation) -> Sample:
    """Seconds of processor time for an event of ours."""

    async def hear(events: int) -> None:
        await conversation.send(asking(events))
        async for event in conversation:
            if event.type == "response.done":
                return

    return each(EVENTS, hear)


def heard_plainly(socket: aiohttp.ClientWebSocketResponse, decode: Decode) -> Sample:
    """The same of the plain loop."""

    async def hear(events: int) -> None:
        await socket.send_json(asking(events))
        async for message in socket:
            event = decode(message.data)
            if event["type"] == "response.done":
                return

    return each(EVENTS, hear)


async def round_trips(ours: Talk, plain: Talk) -> tuple[Pair, float]:
    """Seconds of two round trips in turn, and the median of what ours takes longer."""
    mine: list[float] = []
    other: list[float] = []
    for number in range(TRIPS + 100):
        order = ((ours, mine), (plain, other))
        for talk, taken in order if number % 2 else reversed(order):
            began = time.perf_counter()
            await talk()
            taken.append(time.perf_counter() - began)
    mine, other = mine[100:], other[100:]
    return pair(mine, other), spread(a - b for a, b in zip(mine, other, strict=True)).middle


async def rows() -> Rows:
    """Throughput, and the way there and back."""
    async with a_peer(FLOOD) as peer, a_conversation(peer) as conversation, a_socket(peer) as socket:
        through = await in_turn(heard_by_us(conversation), heard_plainly(socket, json.loads), rounds=ROUNDS)
        strict = await in_turn(heard_by_us(conversation), heard_plainly(socket, msgspec.json.decode), rounds=ROUNDS)

        async def ours() -> None:
            await conversation.append_audio(FRAME)
            await conversation.recv()

        frame = {"type": "input_audio_buffer.append", "audio": "A" * (len(FRAME) * 4 // 3)}

        async def plain() -> None:
            await socket.send_json(frame)
            msgspec.json.decode((await socket.receive()).data)

        trip, added = await round_trips(ours, plain)
    return (
        Row(
            what="managed conversation: a server event to its reader, processor time",
            ours=through.ours.middle,
            unit="s",
            beside=through.beside.middle,
            beside_what="aiohttp's WebSocket and json.loads",
            ratio=through.ratio,
            target="at most 2 × (half the throughput)",
            reached=through.ratio.middle <= 2,
        ),
        compared("the same", strict, "aiohttp's WebSocket and msgspec.json.decode"),
        Row(
            what="managed conversation: 40 ms of audio there, an event back",
            ours=trip.ours.middle,
            unit="s",
            beside=trip.beside.middle,
            beside_what="aiohttp's WebSocket",
            ratio=trip.ratio,
            target="reported",
        ),
        Row(
            what="managed conversation: added latency of an event (half of what that round trip takes longer)",
            ours=added / 2,
            unit="s",
            target="under 50 µs",
            reached=added / 2 < 50e-6,
        ),
    )


if __name__ == "__main__":
    run(rows)
