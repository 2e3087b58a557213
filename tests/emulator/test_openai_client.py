"""The official `openai` client, unchanged, against the emulator."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.beta.realtime import ResponseDoneEvent

from voicepilot.emulator import Call, RealtimeEmulator, Script, Turn
from voicepilot.emulator.audio import FORMATS, silence, tone

pytestmark = pytest.mark.sockets

PCM = FORMATS["audio/pcm"]
SPEECH = base64.b64encode(tone(0.5, PCM) + silence(0.5, PCM)).decode()


def client_of(emulator: RealtimeEmulator, key: str = "sk-test-0123456789") -> AsyncOpenAI:
    return AsyncOpenAI(api_key=key, base_url=emulator.base_url, max_retries=0)


@pytest.fixture
async def connection(emulator: RealtimeEmulator) -> AsyncIterator[AsyncRealtimeConnection]:
    async with client_of(emulator) as client, client.realtime.connect(model="gpt-realtime") as connection:
        assert (await connection.recv()).type == "session.created"
        yield connection


async def until(connection: AsyncRealtimeConnection, kind: str) -> list[Any]:
    """The events up to one of that type; an error ends the wait as well."""
    events: list[Any] = []
    async with asyncio.timeout(10):
        async for event in connection:
            events.append(event)
            if event.type in {kind, "error"}:
                break
    return events


async def until_done(connection: AsyncRealtimeConnection) -> list[Any]:
    return await until(connection, "response.done")


async def say(connection: AsyncRealtimeConnection, text: str) -> None:
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    )


async def test_it_mints_a_key_and_holds_a_text_turn(emulator: RealtimeEmulator) -> None:
    async with client_of(emulator) as client:
        minted = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "model": "gpt-realtime", "output_modalities": ["text"]},
        )
    async with client_of(emulator, minted.value) as client, client.realtime.connect(model="gpt-realtime") as connection:
        assert (await connection.recv()).type == "session.created"
        await say(connection, "Good morning")
        await connection.response.create()
        events = await until_done(connection)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Good morning"
    assert [event.type for event in events] == [
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]


async def test_a_spoken_turn_is_answered_in_sound(connection: AsyncRealtimeConnection) -> None:
    await connection.input_audio_buffer.append(audio=SPEECH)
    events = await until_done(connection)
    assert events[0].type == "input_audio_buffer.speech_started"
    sound = b"".join(base64.b64decode(event.delta) for event in events if event.type == "response.output_audio.delta")
    assert PCM.seconds(len(sound)) > 0.5
    usage = events[-1].response.usage
    assert usage.output_token_details.audio_tokens > 0
    assert usage.input_token_details.audio_tokens > 0
    assert (await connection.recv()).type == "rate_limits.updated"


async def test_a_turn_may_be_committed_by_hand(connection: AsyncRealtimeConnection) -> None:
    await connection.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    assert (await connection.recv()).type == "session.updated"
    await connection.input_audio_buffer.append(audio=SPEECH)
    await connection.input_audio_buffer.commit()
    assert (await connection.recv()).type == "input_audio_buffer.committed"
    await connection.response.create()
    assert (await until_done(connection))[-1].response.status == "completed"


async def test_a_function_is_called_and_its_output_told() -> None:
    def answer(turn: Turn) -> Any:
        return f"It is {turn.text}." if turn.number else Call("get_weather", {"city": "Paris"})

    async with (
        RealtimeEmulator(answers=answer) as emulator,
        client_of(emulator) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.session.update(
            session={
                "type": "realtime",
                "output_modalities": ["text"],
                "tools": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}],
            }
        )
        await say(connection, "What is the weather?")
        await connection.response.create()
        (call,) = (await until_done(connection))[-1].response.output
        assert (call.name, call.arguments) == ("get_weather", '{"city":"Paris"}')
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        await connection.conversation.item.create(item=output)
        await connection.response.create()
        (message,) = (await until_done(connection))[-1].response.output
        assert message.content[0].text == "It is sunny."


async def test_speaking_over_an_answer_stops_it() -> None:
    script = Script.parse("turns: [{say: a very long answer to a very short question}, {say: 'Yes?'}]")
    async with (
        RealtimeEmulator(answers=script, pacing="realtime", time_scale=5) as emulator,
        client_of(emulator) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.response.create()
        await until(connection, "response.output_audio.delta")
        await connection.input_audio_buffer.append(audio=base64.b64encode(tone(0.3, PCM)).decode())
        (done,) = [event for event in await until_done(connection) if event.type == "response.done"]
        assert done.response.status == "cancelled"
        assert done.response.status_details.reason == "turn_detected"
        item = done.response.output[0]
        await connection.conversation.item.truncate(item_id=item.id, content_index=0, audio_end_ms=50)
        assert (await until(connection, "conversation.item.truncated"))[-1].type == "conversation.item.truncated"
        await connection.input_audio_buffer.append(audio=base64.b64encode(silence(0.5, PCM)).decode())
        assert (await until_done(connection))[-1].response.output[0].content[0].transcript == "Yes?"


async def test_an_expired_session_ends_the_loop() -> None:
    async with (
        RealtimeEmulator(session_life=0.1) as emulator,
        client_of(emulator) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        events = [event async for event in connection]
    assert [event.type for event in events] == ["session.created", "error"]
    assert events[1].type == "error"
    assert events[1].error.code == "session_expired"


async def test_a_dropped_session_is_dialled_again(emulator: RealtimeEmulator) -> None:
    emulator.faults.add("session:drop")
    kinds = []
    async with (
        client_of(emulator) as client,
        client.realtime.connect(model="gpt-realtime", on_reconnecting=lambda _: {}, initial_delay=0.01) as connection,
    ):
        async for event in connection:
            kinds.append(event.type)
            if len(kinds) == 2:
                break
    assert kinds == ["session.created", "session.created"]


async def test_a_wrong_event_is_an_error_and_no_more(connection: AsyncRealtimeConnection) -> None:
    await connection.input_audio_buffer.commit(event_id="mine")
    error: Any = await connection.recv()
    assert (error.error.code, error.error.event_id) == ("input_audio_buffer_commit_empty", "mine")
    await connection.response.create()
    assert (await until_done(connection))[-1].response.status == "completed"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
async def test_failed_mints_are_the_clients_own_errors(
    emulator: RealtimeEmulator, status: int, error: type[openai.APIStatusError]
) -> None:
    emulator.faults.fail_mints(status)
    async with client_of(emulator) as client:
        with pytest.raises(error) as caught:
            await client.realtime.client_secrets.create()
    assert caught.value.request_id
    assert caught.value.type


async def test_the_client_tries_again_by_itself(emulator: RealtimeEmulator) -> None:
    emulator.faults.fail_mints(429, count=2, retry_after_ms=5)
    async with AsyncOpenAI(api_key="sk-test", base_url=emulator.base_url) as client:
        assert (await client.realtime.client_secrets.create()).value.startswith("ek_")
    assert [mint.status for mint in emulator.record.mints()] == [429, 429, 200]


async def test_azure_is_a_base_url_away(emulator: RealtimeEmulator) -> None:
    base = f"{emulator.azure_endpoint}/openai/v1"
    async with (
        AsyncOpenAI(api_key="0123456789abcdef", base_url=base) as client,
        client.realtime.connect(model="my-deployment") as connection,
    ):
        await connection.response.create()
        assert (await until_done(connection))[-1].response.status == "completed"
    assert emulator.record.connections()[0].opened.provider == "azure"


async def test_azures_preview_is_spoken_to_its_own_client(emulator: RealtimeEmulator) -> None:
    async with (
        AsyncAzureOpenAI(
            api_key="0123456789abcdef",
            api_version="2025-04-01-preview",
            azure_endpoint=emulator.azure_endpoint,
            websocket_base_url=f"{emulator.azure_endpoint.replace('http', 'ws')}/openai",
        ) as client,
        client.beta.realtime.connect(model="my-deployment") as connection,
    ):
        created: Any = await connection.recv()
        assert (created.session.model, created.session.modalities) == ("my-deployment", ["audio", "text"])
        await connection.session.update(session={"modalities": ["text"], "instructions": "Be brief"})
        updated: Any = await connection.recv()
        assert (updated.session.modalities, updated.session.instructions) == (["text"], "Be brief")
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
        )
        await connection.response.create()
        kinds: list[str] = []
        async for event in connection:
            kinds.append(event.type)
            if event.type == "response.done":
                break
        assert isinstance(event, ResponseDoneEvent)
    assert kinds == [
        "conversation.item.created",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.text.delta",
        "response.text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    (item,) = event.response.output or []
    (part,) = item.content or []
    assert (part.type, part.text) == ("text", "Hello")


async def test_a_call_is_made_and_hung_up(emulator: RealtimeEmulator) -> None:
    offer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    async with client_of(emulator) as client:
        made = await client.realtime.calls.with_raw_response.create(
            sdp=offer, session={"type": "realtime", "model": "gpt-realtime"}
        )
        call_id = made.headers["location"].rsplit("/", 1)[1]
        async with client.realtime.connect(call_id=call_id) as sideband:
            await sideband.session.update(session={"type": "realtime", "instructions": "Be brief"})
            assert (await sideband.recv()).type == "session.updated"
            await client.realtime.calls.hangup(call_id)
            assert [event async for event in sideband] == []
        with pytest.raises(openai.NotFoundError) as caught:
            await client.realtime.calls.hangup(call_id)
    assert caught.value.code == "call_id_not_found"
