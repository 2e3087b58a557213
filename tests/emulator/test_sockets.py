"""Realtime sockets: who gets in, how sessions end, and what hostile clients cannot do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from voicepilot.emulator import Fault, RealtimeEmulator

pytestmark = pytest.mark.sockets

Until = Callable[[Callable[[], object]], Awaitable[None]]
Http = aiohttp.ClientSession
KEY = {"Authorization": "Bearer sk-test-0123456789"}


def url(emulator: RealtimeEmulator, query: str = "?model=gpt-realtime", prefix: str = "/v1") -> str:
    return f"{emulator.azure_endpoint}{prefix}/realtime{query}"


async def mint(http: Http, emulator: RealtimeEmulator, **session: Any) -> str:
    body = {"session": {"type": "realtime", **session}}
    async with http.post(f"{emulator.base_url}/realtime/client_secrets", json=body, headers=KEY) as response:
        return str((await response.json())["value"])


async def hello(socket: aiohttp.ClientWebSocketResponse) -> Any:
    event = await socket.receive_json()
    assert event["type"] == "session.created"
    return event["session"]


async def closing(socket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str | None, list[Any]]:
    """The close code, its reason, and the events before it."""
    events = []
    while True:
        message = await socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            events.append(json.loads(message.data))
        elif message.type is aiohttp.WSMsgType.CLOSE:
            return message.data, message.extra, events
        else:
            return socket.close_code, None, events


async def status(http: Http, where: str, **headers: str) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await http.ws_connect(where, headers=headers)
    return caught.value.status


# -- who gets in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
@pytest.mark.parametrize(
    ("headers", "query"),
    [
        (KEY, "?model=m"),
        ({"Authorization": "Bearer eyJhbGciOiJub25l.eyJzdWIiOiJtZSJ9."}, "?model=m"),
        ({"api-key": "0123456789"}, "?model=m"),
        ({}, "?model=m&api-key=0123456789"),
    ],
)
async def test_every_form_of_api_key_gets_in(
    emulator: RealtimeEmulator, http: Http, prefix: str, headers: dict[str, str], query: str
) -> None:
    async with http.ws_connect(url(emulator, query, prefix), headers=headers) as socket:
        session = await hello(socket)
    assert session["model"] == "m"
    assert session["id"].startswith("sess_")


async def test_a_key_brings_its_session_along(emulator: RealtimeEmulator, http: Http) -> None:
    key = await mint(http, emulator, instructions="Be brief", model="gpt-realtime-2")
    headers = {"Authorization": f"Bearer {key}"}
    async with http.ws_connect(url(emulator, ""), headers=headers) as socket:
        session = await hello(socket)
    assert (session["instructions"], session["model"]) == ("Be brief", "gpt-realtime-2")
    (opened,) = [connection.opened for connection in emulator.record.connections()]
    assert opened.credential == emulator.record.mints()[0].key == emulator.record.tag(key)
    assert session["id"] != emulator.record.mints()[0].session


async def test_browsers_bring_the_key_as_a_subprotocol(emulator: RealtimeEmulator, http: Http) -> None:
    key = await mint(http, emulator)
    protocols = ["realtime", f"openai-insecure-api-key.{key}", "openai-agents-sdk.1.0"]
    async with http.ws_connect(url(emulator), protocols=protocols) as socket:
        assert socket.protocol == "realtime"
        await hello(socket)


async def test_the_others_are_turned_away_at_the_upgrade(emulator: RealtimeEmulator, http: Http) -> None:
    assert await status(http, url(emulator)) == 401
    assert await status(http, url(emulator), Authorization="Bearer ek_unknown0123") == 401
    assert await status(http, url(emulator, ""), **KEY) == 400
    assert await status(http, url(emulator, "?model=m&api-version=2025-04-01-preview", "/openai/v1"), **KEY) == 401
    assert [refused.status for refused in emulator.record.refusals()] == [401, 401, 400, 401]


async def test_an_expired_key_opens_nothing(http: Http) -> None:
    async with RealtimeEmulator(key_life=0.05) as emulator:
        key = await mint(http, emulator)
        valid_until = emulator.record.mints()[0].valid_until or 0.0
        await asyncio.sleep(max(0.0, valid_until - emulator.now()))
        assert await status(http, url(emulator), Authorization=f"Bearer {key}") == 401


async def test_a_running_session_outlives_its_key(http: Http) -> None:
    async with RealtimeEmulator(key_life=0.1) as emulator:
        key = await mint(http, emulator)
        async with http.ws_connect(url(emulator), headers={"Authorization": f"Bearer {key}"}) as socket:
            await hello(socket)
            await asyncio.sleep(0.1)
            await socket.send_json({"type": "input_audio_buffer.clear"})
            assert (await socket.receive_json())["type"] == "input_audio_buffer.cleared"


async def test_keys_may_be_used_again_unless_told_otherwise(emulator: RealtimeEmulator, http: Http) -> None:
    headers = {"Authorization": f"Bearer {await mint(http, emulator)}"}
    for _ in range(2):
        async with http.ws_connect(url(emulator), headers=headers) as socket:
            await hello(socket)
    emulator.faults.add("key:single-use")
    assert await status(http, url(emulator), **headers) == 401


async def test_refusal_may_come_after_the_upgrade(http: Http) -> None:
    async with (
        RealtimeEmulator(refusal="close") as emulator,
        http.ws_connect(url(emulator), headers={"Authorization": "Bearer ek_unknown0123"}) as socket,
    ):
        code, reason, (event,) = await closing(socket)
    assert (code, reason) == (3000, "invalid_request_error.invalid_api_key")
    assert event["error"]["code"] == "invalid_api_key"


async def test_the_beta_shape_is_gone(emulator: RealtimeEmulator, http: Http) -> None:
    async with http.ws_connect(url(emulator), headers={**KEY, "OpenAI-Beta": "realtime=v1"}) as socket:
        code, reason, (event,) = await closing(socket)
    assert (code, reason) == (4000, "invalid_request_error.beta_api_shape_disabled")
    assert event["error"]["code"] == "beta_api_shape_disabled"


@pytest.mark.parametrize("refused", [401, 403, 404, 429, 503])
async def test_refusals_on_command(emulator: RealtimeEmulator, http: Http, refused: int) -> None:
    emulator.faults.refuse_connections(refused)
    assert await status(http, url(emulator), **KEY) == refused
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        await hello(socket)


async def test_refusals_after_the_upgrade_on_command(emulator: RealtimeEmulator, http: Http) -> None:
    emulator.faults.refuse_connections(4000, code="insufficient_quota", after_upgrade=True)
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        code, reason, _ = await closing(socket)
    assert (code, reason) == (4000, "invalid_request_error.insufficient_quota")


async def test_an_outage_refuses_sockets_too(emulator: RealtimeEmulator, http: Http) -> None:
    emulator.faults.outage()
    assert await status(http, url(emulator), **KEY) == 503


# -- how sessions end -------------------------------------------------------------------------------------------------


async def test_a_session_expires_with_event_and_code(http: Http) -> None:
    async with (
        RealtimeEmulator(session_life=0.1) as emulator,
        http.ws_connect(url(emulator), headers=KEY) as socket,
    ):
        code, reason, (created, expired) = await closing(socket)
        assert created["type"] == "session.created"
        assert (code, expired["error"]["code"]) == (1001, "session_expired")
        assert str(reason).startswith("Your session hit the maximum duration")


async def test_time_can_be_scaled(http: Http) -> None:
    async with (
        RealtimeEmulator(session_life=3600, time_scale=36_000) as emulator,
        http.ws_connect(url(emulator), headers=KEY) as socket,
    ):
        code, reason, _ = await closing(socket)
    assert (code, reason) == (1001, "Your session hit the maximum duration of 60 minutes.")


async def test_open_sessions_expire_on_command(emulator: RealtimeEmulator, http: Http) -> None:
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        await hello(socket)
        emulator.faults.expire_sessions(with_event=False)
        code, _, events = await closing(socket)
    assert (code, events) == (1001, [])


async def test_open_sessions_are_cut_on_command(emulator: RealtimeEmulator, http: Http, until: Until) -> None:
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        await hello(socket)
        emulator.faults.drop_sessions()
        code, _, _ = await closing(socket)
    assert code == 1006
    await until(lambda: emulator.record.connections()[0].closed)
    closed = emulator.record.connections()[0].closed
    assert closed is not None
    assert (closed.code, closed.by) == (1006, "server")


async def test_the_next_session_is_cut_after_a_while(emulator: RealtimeEmulator, http: Http) -> None:
    emulator.faults.add("session:drop:after=0.05")
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        code, _, events = await closing(socket)
    assert (code, len(events)) == (1006, 1)


async def test_a_frozen_session_is_open_and_silent(emulator: RealtimeEmulator, http: Http) -> None:
    emulator.faults.add("session:freeze")
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        await hello(socket)
        await socket.send_json({"type": "input_audio_buffer.clear"})
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.1)
        assert not socket.closed
        await emulator.stop()


async def test_frames_may_be_malformed_or_huge(emulator: RealtimeEmulator, http: Http) -> None:
    emulator.faults.add("session:malformed")
    emulator.faults.add("session:oversized")
    async with http.ws_connect(url(emulator), headers=KEY, max_msg_size=0) as socket:
        await hello(socket)
        with pytest.raises(ValueError, match="Unterminated"):
            await socket.receive_json()
        assert len(await socket.receive_str()) > 8_000_000


async def test_frames_may_drip(emulator: RealtimeEmulator, http: Http) -> None:
    emulator.faults.add("session:drip:seconds=0.02")
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        await hello(socket)
        began = asyncio.get_running_loop().time()
        for _ in range(3):
            await socket.send_json({"type": "input_audio_buffer.clear"})
        for _ in range(3):
            await socket.receive_json()
        assert asyncio.get_running_loop().time() - began >= 0.06


async def test_a_client_that_leaves_is_recorded(emulator: RealtimeEmulator, http: Http, until: Until) -> None:
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        await hello(socket)
        await socket.close(code=4321, message=b"enough")
    await until(lambda: emulator.record.connections()[0].closed)
    closed = emulator.record.connections()[0].closed
    assert closed is not None
    assert (closed.code, closed.reason, closed.by) == (4321, "enough", "client")


# -- what hostile clients cannot do -----------------------------------------------------------------------------------


async def test_two_hundred_idle_sockets_are_nothing_special(emulator: RealtimeEmulator, http: Http) -> None:
    before = len(asyncio.all_tasks())
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as crowd:
        sockets = [await crowd.ws_connect(url(emulator), headers=KEY) for _ in range(200)]
        for socket in sockets:
            await hello(socket)
        async with http.ws_connect(url(emulator), headers=KEY) as one:
            await hello(one)
        began = asyncio.get_running_loop().time()
        await emulator.stop()
        assert asyncio.get_running_loop().time() - began < 2.0
        assert {(await closing(socket))[0] for socket in sockets} == {1001}
    assert len(asyncio.all_tasks()) <= before + 1


@asynccontextmanager
async def raw(emulator: RealtimeEmulator) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A socket past its handshake, in the hands of somebody who knows no WebSocket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port, limit=1024)
    lines = [
        "GET /v1/realtime?model=m HTTP/1.1",
        f"Host: 127.0.0.1:{emulator.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Authorization: Bearer sk-test",
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    try:
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_client_that_does_not_read_stops_being_written_to(http: Http, until: Until) -> None:
    async with RealtimeEmulator(heartbeat=0.2) as emulator, raw(emulator):
        emulator.faults.add("live:oversized")
        emulator.faults.add("live:oversized")
        await until(lambda: emulator.record.connections()[0].closed)
        async with http.ws_connect(url(emulator), headers=KEY) as other:
            await hello(other)


async def test_a_peer_that_died_is_noticed(until: Until) -> None:
    async with RealtimeEmulator(heartbeat=0.05) as emulator, raw(emulator):
        await until(lambda: emulator.record.connections()[0].closed)


async def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_error(
    emulator: RealtimeEmulator, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(asyncio.all_tasks())
    _, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
    writer.write(b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await until(lambda: len(asyncio.all_tasks()) > before)
    await asyncio.sleep(0)
    writer.transport.abort()
    await until(lambda: len(asyncio.all_tasks()) <= before)
    assert caplog.text == ""


async def test_a_half_sent_frame_starves_nobody(emulator: RealtimeEmulator, http: Http) -> None:
    async with raw(emulator) as (_, writer):
        writer.write(b"\x81\xfe\x7f\xff\0\0")
        async with http.ws_connect(url(emulator), headers=KEY) as other:
            await hello(other)


async def test_a_frame_beyond_the_limit_closes_the_socket(emulator: RealtimeEmulator, until: Until) -> None:
    async with raw(emulator) as (reader, writer):
        writer.write(b"\x81\xff" + (23 * 1024 * 1024).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 100)
        assert b"\x03\xf1" in await reader.read(), "close code 1009"
    await until(lambda: emulator.record.connections()[0].closed)
    closed = emulator.record.connections()[0].closed
    assert closed is not None
    assert (closed.code, closed.by) == (1009, "server")


async def test_audio_beyond_the_limit_is_an_error_and_no_more(emulator: RealtimeEmulator, http: Http) -> None:
    async with http.ws_connect(url(emulator), headers=KEY, max_msg_size=0) as socket:
        await hello(socket)
        audio = base64.b64encode(bytes(15 * 1024 * 1024 + 3)).decode()
        await socket.send_json({"type": "input_audio_buffer.append", "audio": audio})
        error = (await socket.receive_json())["error"]
        assert error["code"] == "string_above_max_length"
        await socket.send_json({"type": "input_audio_buffer.clear"})
        assert (await socket.receive_json())["type"] == "input_audio_buffer.cleared"


async def test_text_that_is_no_text_closes_the_socket(emulator: RealtimeEmulator, until: Until) -> None:
    async with raw(emulator) as (_, writer):
        writer.write(b"\x81\x82\0\0\0\0\xff\xff")
        await until(lambda: emulator.record.connections()[0].closed)


# -- the record -------------------------------------------------------------------------------------------------------


async def test_the_record_holds_turns_and_no_secrets(emulator: RealtimeEmulator, http: Http) -> None:
    key = await mint(http, emulator, output_modalities=["text"])
    async with http.ws_connect(url(emulator), headers={"Authorization": f"Bearer {key}"}) as socket:
        await hello(socket)
        content = [{"type": "input_text", "text": f"my key is {key}"}]
        item = {"type": "message", "role": "user", "content": content}
        await socket.send_json({"type": "conversation.item.create", "item": item})
        await socket.send_json({"type": "response.create"})
        while (await socket.receive_json())["type"] != "response.done":
            pass
    (turn,) = emulator.record.turns()
    assert (turn.status, turn.user) == ("completed", f"my key is {emulator.record.tag(key)}")
    assert [frame.type for frame in emulator.record.frames(direction="in")] == [
        "conversation.item.create",
        "response.create",
    ]
    async with http.get(f"{emulator.azure_endpoint}/_emulator/record") as response:
        text = await response.text()
    assert key not in text
    assert "sk-test" not in text


async def test_faults_at_places_of_their_own(emulator: RealtimeEmulator, http: Http) -> None:
    emulator.faults.add(Fault(place="connect", kind="reset", count=None))  # the client tries more than once
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.ws_connect(url(emulator), headers=KEY)
