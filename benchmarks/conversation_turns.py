"""How much later the next answer comes when the connection is replaced, beside a turn that nothing disturbs.

Each round is a conversation of its own with six items, a function call and its output among them. The emulator is
another process; keys are minted there over HTTP, one for each dial.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from benchmarks.conversation_peer import Peer, a_peer
from benchmarks.measure import pair, spread
from benchmarks.table import Row, Rows, run
from voicepilot import SessionManager
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.events import ServerEvent
from voicepilot.conversation.happenings import ConversationRestored, Handover

ROUNDS = 100
PACE = 0.04
"""Seconds from turn to turn."""

TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]
OPTIONS: dict[str, Any] = {"output_modalities": ["text"], "tools": TOOLS}
MOVING = {"max_connection_seconds": 0.5, "handover_margin_seconds": 0.25, "handover_deadline_seconds": 0.01}
ITEMS = 6


class Found(msgspec.Struct, frozen=True):
    """What one round found, in seconds."""

    undisturbed: float
    after: float
    replayed: int


class Talker:
    """One conversation, read by a task, and turns that are timed."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.done: asyncio.Queue[float] = asyncio.Queue()  # when answers ended
        self.replayed: asyncio.Queue[int] = asyncio.Queue()  # how many items a new connection was given
        self.connection = 1  # that answered last
        self.calls: asyncio.Queue[str] = asyncio.Queue()

    async def read(self) -> None:
        """Note what matters."""
        async for event in self.conversation:
            if isinstance(event, Handover | ConversationRestored):
                self.replayed.put_nowait(len(event.restored.replayed))
            elif event.type == "response.done":
                self.connection = self.conversation.connections
                self.done.put_nowait(time.perf_counter())
            elif isinstance(event, ServerEvent) and event.type == "response.function_call_arguments.done":
                self.calls.put_nowait(event["call_id"])

    async def turn(self) -> float:
        """Seconds from saying something to the end of the answer."""
        began = time.perf_counter()
        await self.conversation.say("hello")
        return await self.done.get() - began

    async def call(self) -> None:
        """A turn with a function call: four items."""
        await self.conversation.say("weather")
        call_id = await self.calls.get()
        await self.done.get()
        output = {"type": "function_call_output", "call_id": call_id, "output": "sunny"}
        await self.conversation.send({"type": "conversation.item.create", "item": output})
        await self.conversation.create_response()
        await self.done.get()


@asynccontextmanager
async def a_talker(manager: SessionManager, config: dict[str, Any]) -> AsyncIterator[Talker]:
    """A conversation of a new session; it comes with the block and goes with it."""
    async with (
        manager.session() as session,
        asyncio.TaskGroup() as group,
        manager.connect(session.session_id, config=config, **OPTIONS) as conversation,
    ):
        talker = Talker(conversation)
        group.create_task(talker.read())
        yield talker


async def after_handover(manager: SessionManager) -> Found:
    """Turns at their pace, whatever the connection does; the first that is answered by the next connection."""
    async with a_talker(manager, MOVING) as talker:
        began = time.perf_counter()
        await talker.call()
        after, turns, undisturbed = await talker.turn(), 0, 0.0
        while talker.connection == 1:
            turns += 1
            undisturbed = undisturbed or after
            await asyncio.sleep(began + turns * PACE - time.perf_counter())
            after = await talker.turn()
        return Found(undisturbed, after, await talker.replayed.get() - 2 * (turns - 1))


def after_fall(fault: str, peer: Peer, http: aiohttp.ClientSession) -> Callable[[SessionManager], Any]:
    """A turn that is asked for in the moment in which the connection falls."""

    async def found(manager: SessionManager) -> Found:
        async with a_talker(manager, {}) as talker:
            await talker.call()
            undisturbed = await talker.turn()
            await asyncio.sleep(PACE)
            await peer.fault(fault, http)
            after = await talker.turn()
            return Found(undisturbed, after, await talker.replayed.get())

    return found


async def measured(one: Callable[[SessionManager], Any], manager: SessionManager) -> list[Found]:
    """Every round, after one to warm up."""
    return [await one(manager) for _ in range(ROUNDS + 1)][1:]


def as_row(what: str, found: list[Found], *, at_most: float) -> Row:
    """The row of a figure."""
    added = spread(each.after - each.undisturbed for each in found)
    both = pair((each.after for each in found), (each.undisturbed for each in found))
    between = f"{added.low * 1e3:.1f} to {added.high * 1e3:.1f} ms"
    return Row(
        what=f"next answer after {what}: later by (quartiles {between}, {len(found)} pairs)",
        ours=added.middle,
        unit="s",
        beside=both.beside.middle,
        beside_what="a turn that nothing disturbs",
        ratio=both.ratio,
        target=f"at most {at_most * 1e3:g} ms later",
        reached=added.middle <= at_most,
    )


def replayed(found: list[Found]) -> Row:
    """How many of the six items every new connection was given."""
    fewest = min(each.replayed for each in found)
    return Row(
        what=f"items told to the next connection, of {ITEMS} with a function call",
        ours=fewest,
        unit="items",
        target="all",
        reached=fewest == ITEMS,
    )


async def rows() -> Rows:
    """After a handover in time, after the provider's cut, and after a drop."""
    async with (
        a_peer() as peer,
        aiohttp.ClientSession() as http,
        SessionManager.from_settings(base_url=peer.base_url, api_key="sk-bench") as manager,
    ):
        moved = await measured(after_handover, manager)
        expired = await measured(after_fall("live:expire", peer, http), manager)
        dropped = await measured(after_fall("live:drop", peer, http), manager)
    return (
        as_row("a handover in time", moved, at_most=0.003),
        as_row("the provider's cut (1001)", expired, at_most=0.040),
        as_row("a drop (1006)", dropped, at_most=0.040),
        replayed([*expired, *dropped]),
    )


if __name__ == "__main__":
    run(rows)
