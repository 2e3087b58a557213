"""`voicepilot talk` in virtual time: what somebody types, and what is shown."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from voicepilot import SessionManager
from voicepilot.cli.terminal import PATIENCE, Page, Terminal
from voicepilot.conversation.connection import Conversation
from voicepilot.emulator import Say, Wait
from voicepilot.testing import EmulatedLine, FakeKeyService, VirtualClock


async def typed(*lines: str | float) -> AsyncIterator[str]:
    """Lines, and seconds between them."""
    for line in lines:
        if isinstance(line, str):
            yield line
        else:
            await asyncio.sleep(line)


class Desk:
    """Somebody who talks, and the line he talks over."""

    def __init__(self, **options: Any) -> None:  # Any: the fields of the emulator's Options
        self.clock = VirtualClock()
        self.line = EmulatedLine(clock=self.clock, latency=0.01, **options)
        self.conversation: Conversation
        self.failed: list[OSError] = []
        self.code: int | None = None

    async def talk(self, *lines: str | float, **config: Any) -> None:  # Any: the fields of ConversationConfig
        async with (
            SessionManager(FakeKeyService(), clock=self.clock, dialler=self.line) as manager,
            manager.session({"inactivity_timeout_minutes": 60}) as session,
            manager.connect(
                session.session_id, url=self.line.url, config=config, output_modalities=["text"]
            ) as self.conversation,
        ):
            self.manager, self.session_id = manager, session.session_id
            page = Page(self.failed.append)
            self.code = await Terminal(self.conversation, page, drop=self.line.cut).run(typed(*lines))


HELP = "-- Say something: type a line. /drop cuts the connection. /quit ends."


async def test_what_is_typed_is_answered_in_order_however_quickly(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()
    await desk.talk("one\n", "  two \n", "\n", "three")
    assert capsys.readouterr().out.splitlines() == [
        HELP,
        "< one",
        "< two",
        "< three",
        f"-- 3 answers over one connection; {desk.conversation.usage.total_tokens} tokens, 0.0 s of audio",
    ]
    assert desk.code == 0


async def test_a_handover_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(session_life=60)
    await desk.talk("one", 45.0, "two")
    shown = capsys.readouterr().out.splitlines()
    moved = "-- moved to connection 2 while nobody spoke, before the provider cuts the old one; 2 items said again"
    assert shown[:4] == [HELP, "< one", moved, "< two"]
    assert shown[4].startswith("-- 2 answers over 2 connections; ")


async def test_a_dropped_connection_is_shown_and_an_answer_that_it_cut_is_asked_for_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk = Desk(answers=lambda turn: [Wait(1), Say(turn.text)])
    await desk.talk("one", 0.5, "/drop", 5.0, "two")
    shown = capsys.readouterr().out.splitlines()
    assert shown[1:3] == [
        "-- the connection fell (the connection was cut (1006)); calling again",
        "-- the answer was cut; it is asked for again",
    ]
    assert re.fullmatch(r"-- back on connection 2 after 0\.\d\d s; 1 item said again", shown[3])
    assert shown[4:6] == ["< one", "< two"]
    assert desk.code == 0


async def test_a_line_that_is_cut_in_the_middle_is_ended_before_anything_else_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk = Desk()
    desk.line.cut_on("response.output_text.delta")
    await desk.talk("one two three")
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].startswith("< one")
    assert shown[2].startswith("-- the connection fell")
    assert shown[-2] == "< one two three"


async def test_an_answer_that_is_only_reported_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(answers=lambda turn: [Wait(1), Say(turn.text)])
    began = asyncio.get_running_loop().time()
    await desk.talk("one", 0.5, "/drop", on_interrupted_turn="report")
    assert "-- the answer was cut; what was said of it stays" in capsys.readouterr().out
    assert asyncio.get_running_loop().time() - began < 5


async def test_the_end_of_the_input_waits_for_the_last_answer(capsys: pytest.CaptureFixture[str]) -> None:
    await Desk(answers=lambda turn: [Wait(20), Say(turn.text)]).talk("one")
    assert "< one\n" in capsys.readouterr().out


async def test_and_not_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    began = asyncio.get_running_loop().time()
    desk = Desk(answers=lambda _: [Wait(1_000), Say("late")])
    await desk.talk("one")
    assert "-- no answer in 30 s\n" in capsys.readouterr().out
    assert PATIENCE < asyncio.get_running_loop().time() - began < PATIENCE + 3
    assert desk.code == 0


async def test_whoever_quits_waits_for_no_answer_that_nobody_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    began = asyncio.get_running_loop().time()
    desk = Desk()
    await desk.talk("/quit", 100.0, "never said")
    assert capsys.readouterr().out.splitlines()[1].startswith("-- 0 answers over one connection")
    assert asyncio.get_running_loop().time() - began < 5


async def test_a_command_that_is_none_is_answered_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    await Desk().talk("/what")
    assert capsys.readouterr().out.splitlines()[:2] == [HELP, HELP]


async def test_a_conversation_that_is_lost_says_what_to_do_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()

    async def lines() -> AsyncIterator[str]:
        yield "one"
        await asyncio.sleep(1)
        desk.line.outage(1_000)
        await asyncio.sleep(100)
        yield "too late"

    async with (
        SessionManager(FakeKeyService(), clock=desk.clock, dialler=desk.line) as manager,
        manager.session() as session,
        manager.connect(session.session_id, url=desk.line.url, config={"max_outage_seconds": 2}) as conversation,
    ):
        code = await Terminal(conversation, Page(desk.failed.append)).run(lines())
    shown = capsys.readouterr().out
    assert "-- the conversation is lost: no connection for 2 s: " in shown
    assert "Check the network and the provider's status; max_outage_seconds says how long is waited.\n" in shown
    assert code == 1


async def test_a_session_that_ends_ends_the_talk(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()
    async with asyncio.TaskGroup() as tasks:
        talking = tasks.create_task(desk.talk("one", 100.0))
        await asyncio.sleep(5)
        await desk.manager.end_session(desk.session_id, reason="goodbye")
        await asyncio.wait({talking}, timeout=5)
        assert desk.code == 0
    assert "-- the conversation is over: goodbye" in capsys.readouterr().out


async def test_what_has_no_room_while_there_is_no_connection_is_said_not_to_be_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk = Desk()

    async def lines() -> AsyncIterator[str]:
        desk.line.outage(5)
        await asyncio.sleep(1)
        yield "long" * 300
        yield "short"
        await asyncio.sleep(10)

    async with (
        SessionManager(FakeKeyService(), clock=desk.clock, dialler=desk.line) as manager,
        manager.session() as session,
        manager.connect(session.session_id, url=desk.line.url, config={"max_queued_bytes": 1_024}) as conversation,
    ):
        assert await Terminal(conversation, Page(desk.failed.append)).run(lines()) == 0
    assert "-- not said: too much input waits for a connection. " in capsys.readouterr().out


async def test_an_answer_that_failed_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()
    desk.line.faults.add("response:failed")
    await desk.talk("one")
    assert "-- the answer is failed: The server had an error" in capsys.readouterr().out


async def test_what_the_provider_refuses_is_shown_and_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()

    async def nonsense() -> None:
        await asyncio.sleep(1)
        await desk.conversation.send({"type": "nonsense"})

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(nonsense())
        await desk.talk(2.0)
    assert "-- the provider says: Invalid value: 'nonsense'" in capsys.readouterr().out


async def test_what_was_said_aloud_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()

    async def speak() -> None:
        await asyncio.sleep(1)
        await desk.conversation.update(
            audio={"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}}
        )
        await desk.conversation.append_audio(b"\x10\x20" * 24_000)
        await desk.conversation.commit()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(speak())
        await desk.talk(3.0)
    assert "-- you said: (1.0 seconds of audio)" in capsys.readouterr().out


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full")])
async def test_output_that_cannot_be_written_is_told_once_to_whoever_can_stop(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def write(self, _: str) -> None:
            raise error

    monkeypatch.setattr(sys, "stdout", Broken())
    failed: list[OSError] = []
    Page(failed.append).note("anything")
    assert failed == [error]
