"""The line to an emulated provider: in memory, in virtual time, and cut at exactly the event one names."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepilot.conversation.ports import Closed, Dialler, Pong, Socket
from voicepilot.emulator import Options, Script
from voicepilot.emulator.audio import FORMATS, silence, tone
from voicepilot.errors import ConfigurationError, DialError, Fault, NetworkError
from voicepilot.testing import EmulatedLine, run_virtual
from voicepilot.testing.wire import Pipe

KEY = "ek_fake_1"


def hello(text: str = "Hello", **fields: Any) -> str:
    content = [{"type": "input_text", "text": text}]
    return json.dumps(
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}} | fields
    )


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def append(data: bytes) -> str:
    return event("input_audio_buffer.append", audio=base64.b64encode(data).decode())


async def dialled(line: EmulatedLine, key: str = KEY) -> Socket:
    return await line.dial(line.url, key)


async def heard(socket: Socket, last: str | None = None) -> list[str | Pong | Closed]:
    """The types of what arrives, up to one type or the end."""
    found: list[str | Pong | Closed] = []
    while True:
        message = await socket.receive()
        found.append(json.loads(message)["type"] if isinstance(message, str) else message)
        if isinstance(message, Closed) or found[-1] == last:
            return found


def now() -> float:
    return asyncio.get_running_loop().time()


# -- a conversation ---------------------------------------------------------------------------------------------------


async def test_it_is_a_dialler_and_gives_sockets() -> None:
    def accepts(dialler: Dialler, socket: Socket) -> None: ...

    line = EmulatedLine()
    socket = await line.dial(line.url, KEY)
    accepts(line, socket)
    message = await socket.receive()
    assert isinstance(message, str)
    session = json.loads(message)["session"]
    assert (session["model"], line.connected) == ("gpt-realtime", 1)
    await line.dispose()
    assert line.connected == 0
    assert await socket.receive() == Closed(1006)


async def test_a_turn_is_a_turn_of_the_emulator() -> None:
    line = EmulatedLine(answers=Script.parse("turns: [{say: Good morning.}]"))
    socket = await dialled(line)
    await heard(socket, "session.created")
    await socket.send(hello())
    await socket.send(event("response.create"))
    kinds = await heard(socket, "response.done")
    assert kinds[:3] == ["conversation.item.added", "conversation.item.done", "response.created"]
    assert [turn.text for turn in line.record.turns()] == ["Good morning."]
    assert [item["role"] for item in line.items()] == ["user", "assistant"]
    assert [frame.type for frame in line.record.frames(direction="in")] == [
        "conversation.item.create",
        "response.create",
    ]


async def test_what_is_no_event_is_answered_with_an_error() -> None:
    line = EmulatedLine()
    socket = await dialled(line)
    for nonsense in ("{", "[]", '{"type": "nonsense"}'):
        await socket.send(nonsense)
    assert await heard(socket, "session.created") == ["session.created"]
    assert [await heard(socket, "error") for _ in range(3)] == [["error"]] * 3


async def test_the_session_ends_at_its_maximum_age() -> None:
    line = EmulatedLine(session_life=60.0)
    socket = await dialled(line)
    assert await heard(socket) == [
        "session.created",
        "error",
        Closed(1001, "Your session hit the maximum duration of 1 minutes."),
    ]
    assert now() == pytest.approx(60.0)
    with pytest.raises(ConnectionError):
        await socket.send(hello())


async def test_paced_audio_can_be_interrupted() -> None:
    line = EmulatedLine(pacing="realtime", answers=lambda _: "word " * 200)
    socket = await dialled(line)
    await socket.send(event("response.create"))
    await heard(socket, "response.output_audio.delta")
    await socket.send(event("response.cancel"))
    await heard(socket, "response.done")
    assert line.record.turns()[0].status == "cancelled"
    assert now() < 1.0


async def test_an_answer_at_once_can_be_interrupted_too() -> None:
    line = EmulatedLine(answers=lambda _: "word " * 2_000)
    socket = await dialled(line)
    await socket.send(event("response.create"))
    await heard(socket, "response.output_audio.delta")
    await socket.send(event("response.cancel"))
    await heard(socket, "response.done")
    assert line.record.turns()[0].status == "cancelled"


async def test_a_ping_is_answered() -> None:
    line = EmulatedLine()
    socket = await dialled(line)
    await heard(socket, "session.created")
    await socket.ping()
    assert await socket.receive() == Pong()


async def test_a_close_is_in_the_record_and_ends_everything() -> None:
    line = EmulatedLine(latency=0.1)
    socket = await dialled(line)
    reader = asyncio.create_task(heard(socket))
    await asyncio.sleep(1.0)
    await socket.close(4001)
    await socket.close()
    assert (await reader)[-1] == Closed(4001)
    await asyncio.sleep(1.0)
    closed = line.record.connections()[0].closed
    assert closed is not None
    assert (closed.code, closed.by, line.connected) == (4001, "client", 0)
    for use in (socket.send("{}"), socket.ping()):
        with pytest.raises(ConnectionError):
            await use


async def test_what_was_not_read_before_a_close_is_not_read_after_it() -> None:
    socket = await dialled(EmulatedLine())
    await socket.close()
    assert await socket.receive() == Closed(1000)


async def test_a_reader_that_gave_up_loses_nothing() -> None:
    line = EmulatedLine(latency=1.0)
    socket = await dialled(line)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await socket.receive()
    assert await heard(socket, "session.created") == ["session.created"]


# -- the way there and back -------------------------------------------------------------------------------------------


async def test_the_latency_is_paid_each_way() -> None:
    line = EmulatedLine(latency=0.05)
    socket = await dialled(line)
    assert now() == pytest.approx(0.1), "the handshake goes there and back"
    await heard(socket, "session.created")
    started = now()
    await socket.ping()
    await heard_pong(socket)
    assert now() - started == pytest.approx(0.1)


async def heard_pong(socket: Socket) -> None:
    assert await socket.receive() == Pong()


@given(seed=st.integers(0, 1000), spread=st.floats(0.0, 1.0))
def test_nothing_overtakes(seed: int, spread: float) -> None:
    async def story() -> list[str]:
        line = EmulatedLine(seed=seed, latency=0.01, spread=spread)
        socket = await dialled(line)
        for number in range(20):
            await socket.send(hello(str(number)))
        texts: list[str] = []
        while len(texts) < 20:
            message = await socket.receive()
            assert isinstance(message, str)
            told = json.loads(message)
            if told["type"] == "conversation.item.added":
                texts.append(told["item"]["content"][0]["text"])
        return texts

    assert run_virtual(story()) == [str(number) for number in range(20)]


async def test_the_same_seed_takes_the_same_time() -> None:
    async def story() -> float:
        line = EmulatedLine(seed=7, latency=0.01, spread=0.5)
        await heard(await dialled(line), "session.created")
        return now()

    started = now()
    first = await story() - started
    started = now()
    assert await story() - started == pytest.approx(first)
    assert first > 0.03


async def test_a_pipe_delivers_in_order_what_is_due_at_once() -> None:
    got: list[int] = []
    pipe = Pipe(got.append, lambda: 1.0)
    for number in range(100):
        pipe.put(number)
    await asyncio.sleep(1.0)
    await asyncio.sleep(0)
    assert got == list(range(100))


# -- not getting in ---------------------------------------------------------------------------------------------------


async def fault_of(line: EmulatedLine, key: str = KEY) -> Fault:
    with pytest.raises(DialError) as caught:
        await dialled(line, key)
    return caught.value.fault


async def test_only_good_keys_get_in() -> None:
    good = {KEY}
    line = EmulatedLine(valid=good.__contains__)
    await dialled(line)
    good.clear()
    fault = await fault_of(line)
    assert (fault.code, fault.status, fault.retryable) == ("INVALID_CREDENTIALS", 401, True)
    assert [refusal.status for refusal in line.record.refusals()] == [401]
    assert (
        line.record.refusals()[0].credential == line.record.tag(KEY) == line.record.connections()[0].opened.credential
    )


async def test_a_bad_key_can_be_refused_after_the_upgrade() -> None:
    line = EmulatedLine(valid=lambda _: False, refusal="close")
    assert await heard(await dialled(line)) == ["error", Closed(3000, "invalid_request_error.invalid_api_key")]
    assert line.record.connections() == []


async def test_the_faults_of_the_emulator_befall_dials() -> None:
    line = EmulatedLine()
    line.faults.add("connect:429:retry_after=3")
    line.faults.add("connect:reset")
    line.faults.add("connect:503")
    line.faults.add("connect:close:code=insufficient_quota")
    faults = [await fault_of(line) for _ in range(3)]
    assert [fault.code for fault in faults] == ["RATE_LIMITED", "CONNECTION_RESET", "PROVIDER_UNAVAILABLE"]
    assert faults[0].retry_after == 3.0
    assert (await heard(await dialled(line)))[-1] == Closed(4000, "invalid_request_error.insufficient_quota")


async def test_a_dial_can_be_slow_or_hang() -> None:
    line = EmulatedLine()
    line.faults.add("connect:slow:seconds=5")
    await dialled(line)
    assert now() == pytest.approx(5.0)
    line.faults.add("connect:hang")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await dialled(line)


async def test_a_key_can_open_one_session_only() -> None:
    line = EmulatedLine()
    line.faults.add("key:single-use")
    await dialled(line)
    assert (await fault_of(line)).code == "INVALID_CREDENTIALS"
    await dialled(line, "ek_fake_2")


async def test_dials_fail_with_any_fault_one_likes() -> None:
    line = EmulatedLine()
    strange = NetworkError("strange", code="STRANGE").fault
    line.refuse(strange, 2)
    assert [await fault_of(line), await fault_of(line)] == [strange, strange]
    await dialled(line)
    assert [refusal.code for refusal in line.record.refusals()] == ["STRANGE", "STRANGE"]


async def test_in_an_outage_nothing_gets_through() -> None:
    line = EmulatedLine()
    socket = await dialled(line)
    line.outage(60)
    assert await heard(socket) == ["session.created", Closed(1006)]
    await asyncio.sleep(59)
    assert (await fault_of(line)).code == "CONNECTION_REFUSED"
    await asyncio.sleep(1)
    await dialled(line)


async def test_unknown_options_are_named() -> None:
    with pytest.raises(ConfigurationError, match="emulator has no such option"):
        EmulatedLine(options=Options(), nonsense=1)


# -- cuts -------------------------------------------------------------------------------------------------------------


async def a_turn(line: EmulatedLine) -> list[str | Pong | Closed]:
    """What a client of one text turn sees, up to the end of the turn or the connection."""
    socket = await dialled(line)
    for message in (hello(), event("response.create")):
        try:
            await socket.send(message)
        except ConnectionError:
            break
    return await heard(socket, "response.done")


async def test_a_cut_is_after_exactly_the_event_one_names() -> None:
    whole = await a_turn(EmulatedLine())
    assert len(whole) > 10
    for number in range(len(whole)):
        line = EmulatedLine()
        line.cut(after_events=number)
        assert await a_turn(line) == [*whole[:number], Closed(1006)]
        closed = line.record.connections()[0].closed
        assert closed is not None
        assert (closed.code, len(line.record.frames(direction="out"))) == (1006, number)


@pytest.mark.parametrize("deliver", [True, False])
async def test_a_cut_on_an_event_delivers_it_or_not(deliver: bool) -> None:
    line = EmulatedLine()
    line.cut_on("response.created", deliver=deliver)
    kinds = await a_turn(line)
    assert kinds[-1] == Closed(1006)
    assert ("response.created" in kinds) is deliver
    assert line.connected == 0
    assert (await a_turn(line))[-1] == "response.done", "once"


async def test_a_cut_can_be_of_a_connection_to_come_and_by_any_rule() -> None:
    line = EmulatedLine()
    line.cut(after_events=1, of=2)
    line.cut_on(lambda told: told["type"] == "response.done", of=3)
    first, second, third = await a_turn(line), await a_turn(line), await a_turn(line)
    assert (first[-1], len(second), second[-1]) == ("response.done", 2, Closed(1006))
    assert third[-1] == "response.done"
    assert line.connected == 1


async def test_a_cut_counts_from_now_on_the_newest_connection() -> None:
    line = EmulatedLine()
    old, new = await dialled(line), await dialled(line)
    line.cut(after_events=1)
    for socket in (old, new):
        await socket.send(event("input_audio_buffer.clear"))
    assert await heard(new) == ["session.created", "input_audio_buffer.cleared", Closed(1006)]
    await old.send(event("input_audio_buffer.clear"))
    assert line.connected == 1


async def test_what_is_sent_before_the_news_of_a_cut_is_lost_without_a_word() -> None:
    line = EmulatedLine(latency=0.1)
    socket = await dialled(line)
    await heard(socket, "session.created")
    line.cut()
    await socket.send(hello())
    await asyncio.sleep(0.2)
    with pytest.raises(ConnectionError):
        await socket.send(hello())
    assert line.items() == []
    assert line.record.frames(direction="in") == []


async def test_a_frozen_connection_stays_open_and_silent() -> None:
    line = EmulatedLine()
    socket = await dialled(line)
    await heard(socket, "session.created")
    line.freeze()
    await socket.ping()
    await socket.send(hello())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10_000):
            await socket.receive()
    assert (line.connected, line.items()) == (1, [])
    await socket.close()
    assert line.connected == 0


async def test_expiry_comes_with_or_without_its_event() -> None:
    line = EmulatedLine()
    for with_event in (True, False):
        socket = await dialled(line)
        line.expire(with_event=with_event)
        kinds = await heard(socket)
        assert ("error" in kinds) is with_event
        assert isinstance(kinds[-1], Closed)
        assert kinds[-1].code == 1001


async def test_the_faults_of_the_emulator_befall_sessions() -> None:
    line = EmulatedLine()
    line.faults.add("session:drop:after=5")
    assert await heard(await dialled(line)) == ["session.created", Closed(1006)]
    assert now() == pytest.approx(5.0)
    line.faults.add("session:drip:seconds=2")
    slow = await dialled(line)
    await slow.send(hello())
    started = now()
    await heard(slow, "conversation.item.done")
    assert now() - started >= 4.0
    line.faults.add("session:malformed")
    garbled = await dialled(line)
    await garbled.receive()
    message = await garbled.receive()
    assert isinstance(message, str)
    with pytest.raises(json.JSONDecodeError):
        json.loads(message)


# -- what happened ----------------------------------------------------------------------------------------------------


async def test_committed_audio_is_kept_in_order_and_apart_from_the_record() -> None:
    line, pcm = EmulatedLine(), FORMATS["audio/pcm"]
    told = []
    for number in range(2):
        socket = await dialled(line)
        vad = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await socket.send(event("session.update", session=vad))
        for seconds in (0.2, 0.3):
            data = tone(seconds + number / 10, pcm)
            await socket.send(append(data))
            await socket.send(event("input_audio_buffer.commit"))
            told.append((number + 1, data))
    assert [(each.connection, each.audio) for each in line.committed_audio()] == told
    assert [each.item_id for each in line.committed_audio()[2:]] == [item["id"] for item in line.items()]
    assert [item["id"] for item in line.items(1)] == [each.item_id for each in line.committed_audio()[:2]]
    shown = [frame.event["audio"] for frame in line.record.frames("input_audio_buffer.append")]
    assert shown[0] == f"<{len(told[0][1])} bytes>"


async def test_speech_that_ends_by_itself_is_committed_too() -> None:
    line, pcm = EmulatedLine(), FORMATS["audio/pcm"]
    socket = await dialled(line)
    await socket.send(append(tone(1.0, pcm) + silence(1.0, pcm)))
    await heard(socket, "response.done")
    (committed,) = line.committed_audio()
    assert pcm.seconds(len(committed.audio)) == pytest.approx(1.2, abs=0.05)
    assert line.conversation().audio_of(committed.item_id) == committed.audio


async def test_items_created_by_hand_were_not_committed() -> None:
    line = EmulatedLine()
    socket = await dialled(line)
    audio = base64.b64encode(b"\0" * 4800).decode()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
    await socket.send(event("conversation.item.create", item=item))
    assert len(line.items()) == 1
    assert line.committed_audio() == []
