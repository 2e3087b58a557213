"""Microphone and speaker of `voicepilot talk`, with devices that the test moves."""

from __future__ import annotations

import asyncio
import sys
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from voicepilot import SessionManager
from voicepilot.cli.audio import FRAME, MOST_UNSENT, RATE, Headset, Player, open_headset
from voicepilot.cli.terminal import Page, Terminal
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.events import ServerEvent
from voicepilot.conversation.happenings import TurnInterrupted
from voicepilot.errors import VoicePilotError
from voicepilot.testing import EmulatedLine, FakeKeyService, VirtualClock

BYTES = FRAME * 2
SILENCE = bytes(BYTES)


def loud(number: int) -> bytes:
    """A frame that is heard as speech, and told from all others."""
    high = 9_000 + number
    return array("h", [high, -high] * (FRAME // 2)).tobytes()


class Device:
    """One stream of a `FakeSounddevice`."""

    def __init__(self, callback: Callable[..., None], fault: str | None) -> None:
        self.callback = callback
        self.started = self.closed = False
        self._fault = fault

    def start(self) -> None:
        if self._fault == "start":
            raise RuntimeError("Error starting stream")
        self.started = True

    def close(self) -> None:
        self.closed = True


class FakeSounddevice:
    """As much of sounddevice as is used. `faults` says which stream fails, and when."""

    def __init__(self, **faults: str) -> None:
        self.forms: list[dict[str, Any]] = []
        self.devices: dict[str, Device] = {}
        self._faults = faults

    def RawInputStream(self, *, callback: Callable[..., None], **form: Any) -> Device:  # noqa: N802 - its name
        return self._open("microphone", callback, form)

    def RawOutputStream(self, *, callback: Callable[..., None], **form: Any) -> Device:  # noqa: N802 - its name
        return self._open("speaker", callback, form)

    def _open(self, name: str, callback: Callable[..., None], form: dict[str, Any]) -> Device:
        if self._faults.get(name) == "open":
            raise RuntimeError("Error querying device -1")
        self.forms.append(form)
        self.devices[name] = Device(callback, self._faults.get(name))
        return self.devices[name]

    def hear(self, frame: bytes) -> None:
        """The microphone hears a frame."""
        self.devices["microphone"].callback(memoryview(frame), FRAME, None, None)

    def play(self) -> bytes:
        """The speaker takes a frame."""
        frame = bytearray(BYTES)
        self.devices["speaker"].callback(memoryview(frame), FRAME, None, None)
        return bytes(frame)


class Call:
    """A conversation with a headset on."""

    def __init__(self, **options: Any) -> None:  # Any: the fields of the emulator's Options
        self.clock = VirtualClock()
        self.line = EmulatedLine(clock=self.clock, latency=0.01, **options)
        self.devices = FakeSounddevice()
        self.conversation: Conversation

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Call]:
        async def nothing() -> AsyncIterator[str]:
            await asyncio.Event().wait()
            yield ""

        async with (
            SessionManager(FakeKeyService(), clock=self.clock, dialler=self.line) as manager,
            manager.session() as session,
            manager.connect(session.session_id, url=self.line.url, output_modalities=["audio"]) as self.conversation,
        ):
            with Headset(self.devices) as headset:
                headset.start()
                async with asyncio.TaskGroup() as tasks:
                    terminal = Terminal(self.conversation, Page(lambda _: None), headset=headset)
                    running = tasks.create_task(terminal.run(nothing()))
                    yield self
                    await self.conversation.close()
                    assert await running == 0

    async def speak(self, frames: list[bytes]) -> None:
        """Frame by frame, as fast as they are spoken."""
        for frame in frames:
            self.devices.hear(frame)
            await asyncio.sleep(FRAME / RATE)


async def test_what_the_microphone_hears_arrives_in_order_as_audio_of_committed_items() -> None:
    words = [[loud(number) for number in range(start, start + 30)] for start in (0, 30, 60)]
    async with Call().running() as call:
        for word in words:
            await call.speak([*word, *[SILENCE] * 25])
        await asyncio.sleep(1)
        committed = call.line.committed_audio()
    assert [each.audio.strip(b"\0") for each in committed] == [b"".join(word) for word in words]
    assert call.devices.forms == [{"samplerate": 24_000, "channels": 1, "dtype": "int16", "blocksize": 960}] * 2


async def test_and_no_frame_is_lost_when_the_connection_falls_in_the_middle_of_a_word() -> None:
    word = [loud(number) for number in range(60)]
    async with Call().running() as call:
        await call.speak(word[:30])
        call.line.cut()
        await call.speak([*word[30:], *[SILENCE] * 25])
        await asyncio.sleep(2)
        committed = call.line.committed_audio()
    assert [each.audio.strip(b"\0") for each in committed] == [b"".join(word)]


async def test_an_answer_is_played_whole_and_silence_after_it() -> None:
    async with Call(answers=lambda _: "hello").running() as call:
        assert call.devices.play() == SILENCE
        await call.conversation.say("anything")
        await asyncio.sleep(1)
        played = b"".join(call.devices.play() for _ in range(50))
    spoken = round(call.conversation.usage.output_audio_seconds * RATE * 2)
    assert spoken > BYTES
    assert played[:spoken].strip(b"\0")
    assert played[spoken:] == bytes(len(played) - spoken)


async def test_who_interrupts_the_assistant_silences_it_and_only_what_was_heard_is_remembered() -> None:
    async with Call(answers=lambda _: "a long answer " * 20, pacing="realtime").running() as call:
        await call.conversation.say("anything")
        await asyncio.sleep(1)
        heard = [call.devices.play() for _ in range(10)]
        await call.speak([loud(number) for number in range(20)])
        after = [call.devices.play() for _ in range(10)]
        await asyncio.sleep(1)
        after += [call.devices.play() for _ in range(10)]
    assert b"".join(heard).strip(b"\0")  # a tone with pauses between its words
    assert after == [SILENCE] * 20
    (cut,) = call.line.record.frames("conversation.item.truncate", direction="in")
    assert cut.event["audio_end_ms"] == 400


async def test_an_answer_that_will_be_said_again_is_not_played_on() -> None:
    devices = FakeSounddevice()
    with Headset(devices) as headset:
        conversation: Any = None  # Any: nothing is asked of it
        delta = {"type": "response.output_audio.delta", "item_id": "item", "delta": "AAEC" * 1_000}
        await headset.hear(ServerEvent(delta), conversation)
        await headset.hear(TurnInterrupted(at=0, response_id="r", action="complete"), conversation)
        assert devices.play() != SILENCE
        await headset.hear(TurnInterrupted(at=0, response_id="r", action="retry"), conversation)
        assert devices.play() == SILENCE


async def test_a_microphone_that_nobody_listens_to_keeps_the_newest_ten_seconds() -> None:
    devices, said = FakeSounddevice(), []

    class Slow:
        async def append_audio(self, audio: bytes) -> None:
            said.append(audio)

    with Headset(devices) as headset:
        for number in range(MOST_UNSENT + 5):
            devices.hear(loud(number))
        await asyncio.sleep(0)
        conversation: Any = Slow()
        listening = asyncio.create_task(headset.listen(conversation))
        await asyncio.sleep(1)
        listening.cancel()
    assert said == [loud(number) for number in range(5, MOST_UNSENT + 5)]


# --- the player -------------------------------------------------------------------------------------------------------


def taken(player: Player, size: int) -> bytes:
    out = bytearray(size)
    player.fill(memoryview(out))
    return bytes(out)


def test_a_device_is_filled_across_pieces_and_items() -> None:
    player = Player()
    player.add("a", b"12")
    player.add("a", b"3456")
    player.add("b", b"78")
    assert [taken(player, 3), taken(player, 4), taken(player, 3)] == [b"123", b"4567", b"8\0\0"]


def test_what_was_heard_is_counted_from_the_beginning_of_its_item() -> None:
    player, second = Player(), bytes(range(1, 241)) * 200
    player.add("a", second)
    player.add("b", second)
    taken(player, 24_000)
    taken(player, 36_000)
    assert player.silence() == ("b", 250)
    assert player.silence() is None


def test_more_of_what_was_silenced_is_not_played_and_the_next_is() -> None:
    player = Player()
    player.add("a", b"11")
    taken(player, 2)
    assert player.silence() is None  # all that came was played
    player.add("a", b"22")
    player.add("b", b"33")
    assert taken(player, 4) == b"33\0\0"


# --- devices that are not there ---------------------------------------------------------------------------------------


def test_without_sounddevice_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(VoicePilotError) as raised:
        open_headset()
    assert "voicepilot-sessions[audio]" in raised.value.remediation
    assert "libportaudio2" in raised.value.remediation


async def test_sounddevice_is_taken_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    devices: Any = FakeSounddevice()
    monkeypatch.setitem(sys.modules, "sounddevice", devices)
    with open_headset() as headset:
        headset.start()
        assert [device.started for device in devices.devices.values()] == [True, True]
    assert [device.closed for device in devices.devices.values()] == [True, True]


@pytest.mark.parametrize(("name", "when"), [("microphone", "open"), ("speaker", "open"), ("speaker", "start")])
async def test_a_device_that_cannot_be_used_is_told_with_a_remedy_and_the_other_is_closed(name: str, when: str) -> None:
    devices = FakeSounddevice(**{name: when})

    def use() -> None:
        with Headset(devices) as headset:
            headset.start()

    with pytest.raises(VoicePilotError, match="microphone and speaker cannot be used: Error") as raised:
        use()
    assert "talk without --audio" in raised.value.remediation
    assert all(device.closed for device in devices.devices.values())
