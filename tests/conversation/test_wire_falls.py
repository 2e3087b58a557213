"""Conversations over real sockets that fall: however the connection ends, and whatever meets the next dial."""

from __future__ import annotations

import array
import asyncio
from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

import pytest
from tests.conversation.numbered import frames
from tests.conversation.outage import survive_outage
from tests.conversation.wire import TEXT, Talk, Wire, answer, until

from voicepilot import ConnectionPhase, ConversationLostError
from voicepilot.conversation.happenings import ConversationRestored, Reconnecting
from voicepilot.emulator import Call, RealtimeEmulator
from voicepilot.emulator.answers import Turn
from voicepilot.emulator.record import Opened, Refused

pytestmark = pytest.mark.sockets

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


def answer_or_call(turn: Turn) -> str | Call:
    return Call("weather", {"city": "Rome"}) if turn.text == "how is the weather?" else answer(turn)


@pytest.fixture
async def emulator() -> AsyncIterator[RealtimeEmulator]:
    async with RealtimeEmulator(answers=answer_or_call, keep_audio=True) as emulator:
        yield emulator


@pytest.fixture
async def wire(emulator: RealtimeEmulator) -> AsyncIterator[Wire]:
    async with Wire.of(emulator, breaker_first_break=0.5) as wire:
        yield wire


def heard_frames(emulator: RealtimeEmulator, talk: Talk) -> list[int]:
    """The numbers of the frames in committed items, in order: those that the conversation was told of before a cut."""
    told = {event.item_id for event in talk.of("input_audio_buffer.committed")}
    samples = array.array("h", b"".join(each.audio for each in emulator.committed_audio() if each.item_id in told))
    return [number for number, _ in groupby(sample - 2_000 for sample in samples)]


def check_unbroken(wire: Wire, talk: Talk, said: list[str]) -> None:
    """Every word was said once, in order, and both sides know all of it."""
    answers = [f"re {words}" for words in said]
    conversation = [words for pair in zip(said, answers, strict=True) for words in pair]
    assert talk.answers() == answers
    assert talk.transcript() == conversation
    assert wire.items(len(wire.closings())) == conversation
    assert wire.refused_frames() in ([], ["session_expired"])
    assert len(set(wire.dials())) == len(wire.dials()), "no key was sent twice"


# --- how connections end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "closing"),
    [
        ("live:expire", "CONNECTION_EXPIRED", (1001, "server")),
        ("live:expire-silent", "CONNECTION_EXPIRED", (1001, "server")),
        ("live:drop", "CONNECTION_LOST", (1006, "server")),
    ],
)
async def test_a_connection_that_ends_is_replaced(wire: Wire, fault: str, code: str, closing: tuple[int, str]) -> None:
    async with wire.talking() as talk:
        await talk.ask("one")
        wire.emulator.faults.add(fault)
        fallen = await talk.heard("voicepilot.reconnecting")
        assert isinstance(fallen, Reconnecting)
        assert fallen.fault.code == code
        assert fallen.fault.remediation
        restored = await talk.heard("voicepilot.restored")
        assert isinstance(restored, ConversationRestored)
        assert (restored.connection, restored.attempts, len(restored.restored.replayed)) == (2, 1, 2)
        assert await talk.ask("two") == "re two"
        assert talk.phase() is ConnectionPhase.LIVE
    check_unbroken(wire, talk, ["one", "two"])
    assert talk.happened() == ["voicepilot.reconnecting", "voicepilot.restored", "voicepilot.ended"]
    assert wire.closings()[0] == closing
    assert wire.hooks.moves == ["reconnect"]
    assert wire.troubles() == [code]
    assert ConnectionPhase.CONNECTING in talk.phases


async def test_what_is_said_while_nobody_hears_it_is_said_later(wire: Wire) -> None:
    async with wire.talking() as talk:
        await talk.ask("one")
        wire.emulator.faults.drop_sessions()
        assert await talk.ask("two") == "re two"
    check_unbroken(wire, talk, ["one", "two"])


async def test_a_server_that_is_frozen_is_noticed(wire: Wire) -> None:
    async with wire.talking(config={"heartbeat_seconds": 0.1}) as talk:
        await talk.ask("one")
        wire.emulator.faults.freeze_sessions()
        assert await talk.ask("two") == "re two"
        (fallen,) = talk.of("voicepilot.reconnecting")
        assert fallen.fault.code == "PEER_SILENT"
    check_unbroken(wire, talk, ["one", "two"])
    await wire.emulator.stop()  # it holds the frozen socket for ever


async def test_a_server_that_only_thinks_is_not_taken_for_frozen(wire: Wire) -> None:
    wire.emulator.faults.add("response:slow:seconds=0.5")
    async with wire.talking(config={"heartbeat_seconds": 0.05}) as talk:
        assert await talk.ask("one") == "re one"
    check_unbroken(wire, talk, ["one"])
    assert talk.happened() == ["voicepilot.ended"]


@pytest.mark.parametrize("fault", ["session:drip:seconds=0.01", "session:malformed", "session:oversized"])
async def test_odd_frames_cost_nothing(wire: Wire, fault: str) -> None:
    wire.emulator.faults.add(fault)
    async with wire.talking() as talk:
        assert await talk.ask("one") == "re one"
        assert await talk.ask("two") == "re two"
    check_unbroken(wire, talk, ["one", "two"])
    assert talk.happened() == ["voicepilot.ended"]


# --- what meets the next dial ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "connect:503",
        "connect:429",
        "connect:500:count=2",
        "connect:401:count=2",
        "connect:reset",
        "connect:hang",
        "connect:slow:seconds=0.1",
        "connect:close",
        "update:missing",
        "session:drop:after_events=1",
        "session:drop:after_events=2",
        "session:freeze:after_events=1",
        "mint:503",
        "mint:reset",
    ],
)
async def test_the_next_dial_may_fail_too(wire: Wire, fault: str) -> None:
    config = {"restore_timeout_seconds": 0.4}
    async with wire.talking(config=config) as talk:
        await talk.ask("one")
        wire.emulator.faults.add(fault)
        wire.emulator.faults.drop_sessions()
        assert await talk.ask("two") == "re two"
        assert talk.phase() is ConnectionPhase.LIVE
    check_unbroken(wire, talk, ["one", "two"])
    assert talk.happened() == ["voicepilot.reconnecting", "voicepilot.restored", "voicepilot.ended"]
    assert wire.hooks.moves == ["reconnect"]
    assert wire.troubles()
    await wire.emulator.stop()  # it holds a frozen socket for ever


async def test_a_dial_waits_as_long_as_the_provider_asks(wire: Wire) -> None:
    async with wire.talking() as talk:
        await talk.ask("one")
        wire.emulator.faults.add("connect:429:retry_after_ms=300")
        wire.emulator.faults.drop_sessions()
        assert await talk.ask("two") == "re two"
    entries = wire.emulator.record.entries()
    (refused,) = [entry for entry in entries if isinstance(entry, Refused)]
    opened = [entry for entry in entries if isinstance(entry, Opened)]
    assert opened[1].at - refused.at >= 0.3
    check_unbroken(wire, talk, ["one", "two"])


async def test_a_key_opens_one_connection_only(wire: Wire) -> None:
    wire.emulator.faults.add("key:single-use")
    async with wire.talking() as talk:
        for number in range(3):
            await talk.ask(f"turn {number}")
            wire.emulator.faults.drop_sessions()
            await talk.heard("voicepilot.restored", number + 1)
        await talk.ask("turn 3")
    check_unbroken(wire, talk, [f"turn {number}" for number in range(4)])
    assert len(wire.dials()) == 4
    assert wire.emulator.record.refusals() == []


async def test_keys_that_are_good_no_longer_are_renewed_and_not_sent_again(wire: Wire) -> None:
    async with wire.talking() as talk:
        await talk.ask("one")
        wire.emulator.faults.add("connect:401:count=3")
        wire.emulator.faults.drop_sessions()
        assert await talk.ask("two") == "re two"
    check_unbroken(wire, talk, ["one", "two"])
    assert len(wire.dials()) == 5
    assert wire.troubles()[-1] == "INVALID_CREDENTIALS"


async def test_a_refusal_that_no_dial_can_cure_ends_the_conversation(wire: Wire) -> None:
    async with wire.talking() as talk:
        await talk.ask("one")
        wire.emulator.faults.add("connect:403")
        wire.emulator.faults.drop_sessions()
        ended = await talk.heard("voicepilot.ended")
        assert ended.reason == "connection-refused"
        await until(lambda: talk.lost)
    assert isinstance(talk.lost, ConversationLostError)
    assert talk.lost.remediation
    assert len(wire.dials()) == 2
    assert wire.manager.is_session_active(talk.session_id), "the session lives on"


# --- outages --------------------------------------------------------------------------------------------------------


async def test_a_server_that_is_down_for_a_while_is_waited_for(wire: Wire) -> None:
    said = ["one", "two", "three"]
    async with wire.talking() as talk:
        await talk.ask("one")
        await wire.emulator.stop()
        for words in said[1:]:
            await talk.conversation.say(words)
        await until(lambda: len(wire.troubles()) >= 3)
        assert talk.phase() in {ConnectionPhase.WAITING, ConnectionPhase.CONNECTING}
        await wire.emulator.start()
        await talk.heard("response.done", 3)
        (restored,) = talk.of("voicepilot.restored")
        assert restored.attempts >= 3
    assert talk.answers() == [f"re {words}" for words in said]
    assert sorted(talk.transcript()) == sorted([*said, *talk.answers()])
    assert [words for words in wire.items(2) if words in said] == said


async def test_an_outage_that_is_too_long_ends_the_conversation(wire: Wire) -> None:
    async with wire.talking(config={"max_outage_seconds": 0.3}) as talk:
        await talk.ask("one")
        wire.emulator.faults.outage()
        wire.emulator.faults.drop_sessions()
        ended = await talk.heard("voicepilot.ended")
        assert ended.reason == "connection-lost"
        await until(lambda: talk.lost)
    assert isinstance(talk.lost, ConversationLostError)


# --- what a new connection is given ---------------------------------------------------------------------------------


async def test_calls_and_their_outputs_are_said_again(wire: Wire) -> None:
    async with wire.talking(tools=[TOOL], **TEXT) as talk:
        await talk.ask("one")
        await talk.conversation.say("how is the weather?")
        called = await talk.heard("response.function_call_arguments.done")
        await talk.heard("response.done", 2)
        output = {"type": "function_call_output", "call_id": called.call_id, "output": "sunny"}
        await talk.conversation.send({"type": "conversation.item.create", "item": output})
        await talk.conversation.create_response()
        await talk.heard("response.done", 3)
        wire.emulator.faults.drop_sessions()
        restored = await talk.heard("voicepilot.restored")
        assert (len(restored.restored.replayed), restored.restored.lost) == (6, ())
        await talk.ask("two")
    told = ["one", "re one", "how is the weather?", 'weather({"city":"Rome"})', "= sunny", "re sunny"]
    assert wire.items(2)[:6] == told == wire.items(1)
    assert wire.refused_frames() == []


async def test_an_answer_that_is_cut_is_asked_for_again(wire: Wire) -> None:
    async with wire.talking() as talk:
        await talk.ask("one")
        wire.emulator.faults.drop_sessions(after_events=7)
        await talk.conversation.say("two")
        await talk.heard("response.done", 2)
        (cut,) = talk.of("voicepilot.turn-interrupted")
        assert cut.action == "retry"
    assert talk.answers()[-1] == "re two"
    assert talk.transcript() == ["one", "re one", "two", "re two"]


async def test_each_frame_is_committed_once_and_in_order(wire: Wire, emulator: RealtimeEmulator) -> None:
    by_hand: dict[str, Any] = {"audio": {"input": {"turn_detection": None, "transcription": None}}, **TEXT}
    sent = frames(0, 150)
    async with wire.talking(**by_hand) as talk:
        for number, frame in enumerate(sent, start=1):
            await talk.conversation.append_audio(frame)
            if number % 60 == 30:
                emulator.faults.drop_sessions()
            if number % 60 == 40:
                await talk.heard("voicepilot.restored", number // 60 + 1)
            if number % 50 == 0:
                await talk.conversation.commit()
            if number % 10 == 0:
                await asyncio.sleep(0)
        await talk.heard("input_audio_buffer.committed", 3)
    assert heard_frames(emulator, talk) == list(range(150))
    assert talk.of("voicepilot.input-dropped") == []


async def test_an_outage_in_earnest_is_survived() -> None:
    survived = await survive_outage(0.2)
    assert survived.unharmed
    assert survived.said == ["words 0"]
