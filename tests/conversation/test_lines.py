"""The shell's part of one connection: when it ends by the provider's clock, and in what order it is written to."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from voicepilot import SessionManager
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.happenings import Handover
from voicepilot.conversation.inputs import CloseAsked, ConnectAsked
from voicepilot.conversation.lines import LONGEST_LIFE, Line
from voicepilot.conversation.ports import Closed, Pong
from voicepilot.testing import EmulatedLine, FakeKeyService, VirtualClock

HOUR = 3_600.0
NOW = 1_800_000_000.25


class Deaf:
    """A socket that says what time it is elsewhere, and remembers what is written to it, when it is let."""

    def __init__(self, server_time: float | None = None) -> None:
        self.server_time = server_time
        self.heard: list[str] = []
        self.let = asyncio.Event()
        self.let.set()

    async def send(self, text: str) -> None:
        await self.let.wait()
        self.heard.append(text)

    async def receive(self) -> str | Pong | Closed:
        return Closed()

    async def ping(self) -> None: ...

    async def close(self, code: int = 1000) -> None: ...


def a_line(server_time: float | None = None) -> tuple[Line, Deaf]:
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
        tasks.add(task := asyncio.get_running_loop().create_task(work, name=name))
        task.add_done_callback(tasks.discard)

    line, socket = Line(spawn), Deaf(server_time)
    line.open(socket, NOW)
    return line, socket


# --- life -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [0, 1, 300, -300, 86_400 * 400, -86_400 * 400])
@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.99])
async def test_a_life_is_measured_by_the_clock_that_told_its_end(ahead: int, fraction: float) -> None:
    now_there = NOW + ahead - 0.25 + fraction
    line, _ = a_line(float(int(now_there)))
    life = line.life(int(now_there + HOUR), NOW + 2.0)
    assert life is not None
    assert life == pytest.approx(HOUR - 2.0, abs=1.0)


async def test_our_clock_counts_where_it_agrees_with_theirs() -> None:
    line, _ = a_line(float(int(NOW)))
    assert line.life(int(NOW) + 60, NOW + 2.0) == pytest.approx(57.75)


async def test_without_a_date_there_is_only_our_clock() -> None:
    line, _ = a_line(None)
    assert line.life(NOW + 60, NOW) == pytest.approx(60)
    assert line.life(NOW + 0.25, NOW) == pytest.approx(0.25)
    assert line.life(NOW, NOW) is None
    assert line.life(NOW - 60, NOW) is None
    assert line.life(NOW + LONGEST_LIFE + 1, NOW) is None


async def test_a_date_that_is_nonsense_does_not_count() -> None:
    line, _ = a_line(0.0)
    assert line.life(NOW + 60, NOW) == pytest.approx(60)


# --- whether the other side takes what is sent -----------------------------------------------------------------------


class Taking(Deaf):
    """A socket with bytes that the other side has not taken."""

    def __init__(self, unsent: int) -> None:
        super().__init__()
        self.unsent = unsent


async def test_the_other_side_lives_if_it_took_some_since_it_was_asked_last() -> None:
    line, socket = a_line()[0], Taking(10)
    line.open(socket, NOW)
    found = []
    for unsent in (10, 10, 9, 12, 12, 0, 0):
        socket.unsent = unsent
        found.append(line.is_taking())
    assert found == [False, False, True, False, False, True, False]


async def test_of_one_that_has_just_been_opened_nothing_is_known() -> None:
    line = Line(lambda _, __: None)
    assert not line.is_taking()
    line.open(Taking(0), NOW)
    assert not line.is_taking()


# --- in a conversation ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_conversation(ahead: float) -> AsyncIterator[tuple[EmulatedLine, Conversation]]:
    clock = VirtualClock()
    line = EmulatedLine(clock=clock, session_life=600, ahead=ahead)
    async with SessionManager(FakeKeyService(), clock=clock, dialler=line) as manager:
        session = await manager.start_session({"enable_inactivity_timeout": False})
        async with manager.connect(session.session_id, url=line.url) as conversation:
            yield line, conversation


@pytest.mark.parametrize("ahead", [0.0, 299.0, 3_000.0, -299.0, -3_000.0])
async def test_the_provider_s_clock_may_be_wrong_by_an_hour(ahead: float) -> None:
    async with a_conversation(ahead) as (line, conversation):
        began = asyncio.get_running_loop().time()
        moved = []
        async for event in conversation:
            assert event.type != "voicepilot.reconnecting"
            if isinstance(event, Handover):
                moved.append(asyncio.get_running_loop().time() - began)
                if len(moved) == 3:
                    break
        assert moved == [pytest.approx(480.0 * number, abs=3 * number) for number in (1, 2, 3)]
        assert line.connected == 1


async def test_a_dial_that_is_given_up_before_it_begins_leaves_nothing_unawaited(
    recwarn: pytest.WarningsRecorder,
) -> None:
    line = EmulatedLine()
    async with SessionManager(FakeKeyService(), dialler=line) as manager:
        session = await manager.start_session()
        conversation = manager.connect(session.session_id, url=line.url)
        conversation._driver.apply(ConnectAsked())
        conversation._driver.apply(CloseAsked("changed my mind"))
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
    assert line.record.connections() == []


# --- writing --------------------------------------------------------------------------------------------------------


async def test_what_is_put_is_written_in_order_whoever_writes() -> None:
    line, socket = a_line()
    socket.let.clear()
    line.put({"n": 1})
    said = asyncio.create_task(line.written(lambda: line.put({"n": 2})))
    await asyncio.sleep(0)
    line.put({"n": 3})
    socket.let.set()
    await said
    await line.written(lambda: line.put({"n": 4}))
    assert socket.heard == ['{"n":1}', '{"n":2}', '{"n":3}', '{"n":4}']


async def test_a_cancelled_writer_leaves_the_rest_to_another() -> None:
    line, socket = a_line()
    socket.let.clear()
    writer = asyncio.create_task(line.written(lambda: line.put({"n": 1})))
    await asyncio.sleep(0)
    line.put({"n": 2})
    writer.cancel()
    await asyncio.wait({writer})
    socket.let.set()
    await line.written(lambda: line.put({"n": 3}))
    assert socket.heard == ['{"n":2}', '{"n":3}']


async def test_nobody_waits_for_a_line_that_is_hung_up() -> None:
    line, socket = a_line()
    socket.let.clear()
    line.put({"n": 1})
    await asyncio.sleep(0)
    waiting = asyncio.create_task(line.written(lambda: line.put({"n": 2})))
    await asyncio.sleep(0)
    line.hang_up()
    await asyncio.wait_for(waiting, 1)
    assert socket.heard == []
