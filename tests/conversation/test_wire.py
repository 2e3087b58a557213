"""Conversations over real sockets: they end well, stay apart, and move in time. test_wire_falls.py cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.conversation.wire import TEXT, Wire, answer, until

from voicepilot import ConnectionChanged, ConnectionPhase
from voicepilot.conversation.happenings import Handover
from voicepilot.emulator import RealtimeEmulator

pytestmark = pytest.mark.sockets


@pytest.fixture
async def emulator() -> AsyncIterator[RealtimeEmulator]:
    async with RealtimeEmulator(answers=answer) as emulator:
        yield emulator


@pytest.fixture
async def wire(emulator: RealtimeEmulator) -> AsyncIterator[Wire]:
    async with Wire.of(emulator) as wire:
        yield wire


# --- a life without mishap ------------------------------------------------------------------------------------------


async def test_a_conversation_begins_answers_and_ends(wire: Wire) -> None:
    async with wire.talking() as talk:
        assert await talk.ask("hello") == "re hello"
        assert (talk.phase(), talk.conversation.connections) == (ConnectionPhase.LIVE, 1)
    assert talk.of("session.created")
    assert talk.happened() == ["voicepilot.ended"]
    await until(lambda: wire.closings() == [(1000, "client")])
    assert talk.phase() is ConnectionPhase.CLOSED


async def test_the_session_s_end_closes_its_socket(wire: Wire) -> None:
    async with wire.talking() as talk:
        await talk.ask("hello")
        await wire.manager.end_session(talk.session_id)
        ended = await talk.heard("voicepilot.ended")
        assert ended.reason == "user-requested"
        await until(lambda: wire.closings() == [(1000, "client")])


async def test_dispose_ends_what_is_open_and_what_is_being_opened(wire: Wire) -> None:
    async with wire.talking() as talk:
        await talk.ask("hello")
        wire.emulator.faults.add("connect:hang")
        wire.emulator.faults.drop_sessions()
        await talk.heard("voicepilot.reconnecting")
        await wire.manager.dispose()
        await talk.heard("voicepilot.ended")


async def test_two_conversations_do_not_mix(wire: Wire) -> None:
    async with wire.talking(instructions="one", **TEXT) as one, wire.talking(instructions="two", **TEXT) as two:
        for number in range(4):
            await asyncio.gather(one.ask(f"one {number}"), two.ask(f"two {number}"))
            wire.emulator.faults.drop_sessions()
            await asyncio.gather(*(talk.heard("voicepilot.restored", number + 1) for talk in (one, two)))
    for name, talk in (("one", one), ("two", two)):
        assert talk.answers() == [f"re {name} {number}" for number in range(4)]
        assert talk.transcript() == [
            words for number in range(4) for words in (f"{name} {number}", f"re {name} {number}")
        ]
    for frame in wire.emulator.record.frames("session.updated", direction="out"):
        instructions = frame.event["session"]["instructions"]
        assert all(instructions in words for words in wire.items(frame.connection))


# --- handover -------------------------------------------------------------------------------------------------------


async def test_turns_go_on_through_handovers_and_none_is_lost_or_doubled(wire: Wire) -> None:
    config = {"max_connection_seconds": 0.6, "handover_margin_seconds": 0.3, "handover_deadline_seconds": 0.05}
    said: list[str] = []
    async with wire.talking(config=config) as talk:
        while len(talk.of("voicepilot.handover")) < 4:
            said.append(f"turn {len(said)}")
            await talk.ask(said[-1])
        last = talk.conversation.connections
    answers = [f"re {words}" for words in said]
    assert talk.answers() == answers
    assert talk.of("voicepilot.reconnecting") == []
    assert len(talk.of("voicepilot.handover")) == last - 1
    conversation = [words for pair in zip(said, answers, strict=True) for words in pair]
    assert wire.items(last) == conversation
    assert talk.transcript() == conversation
    assert wire.refused_frames() == []
    assert wire.hooks.moves == ["handover"] * (last - 1)
    assert wire.troubles() == []
    await until(lambda: wire.closings() == [(1000, "client")] * last)
    assert len(set(wire.dials())) == len(wire.dials()) >= last
    assert ConnectionPhase.MOVING in talk.phases
    phases = [event.new_phase for event in wire.recorder.events if isinstance(event, ConnectionChanged)]
    assert phases[:3] == [ConnectionPhase.CONNECTING, ConnectionPhase.RESTORING, ConnectionPhase.LIVE]
    assert phases[3:-1] == [ConnectionPhase.MOVING, ConnectionPhase.LIVE] * (last - 1)
    assert phases[-1] is ConnectionPhase.CLOSED


async def test_a_handover_comes_before_the_provider_s_cut() -> None:
    cut_soon = RealtimeEmulator(session_life=3.0, answers=answer)
    async with cut_soon as emulator, Wire.of(emulator) as wire, wire.talking() as talk:
        await talk.ask("before")
        handover = await talk.heard("voicepilot.handover")
        assert isinstance(handover, Handover)
        assert (handover.connection, handover.forced, len(handover.restored.replayed)) == (2, False, 2)
        assert await talk.ask("after") == "re after"
        assert talk.of("voicepilot.reconnecting") == []


async def test_what_the_provider_said_of_the_time_is_known(wire: Wire, emulator: RealtimeEmulator) -> None:
    emulator._epoch -= 86_400  # its clock is a day behind
    async with wire.talking(config={"handover_margin_seconds": 3_599.9}) as talk:
        active = talk.conversation._driver.state.active
        assert active is not None
        assert active.cut_at - wire.manager._clock.now() == pytest.approx(3_600, abs=30)
