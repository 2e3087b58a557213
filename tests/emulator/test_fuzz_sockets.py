"""Whatever comes in over real sockets, the emulator serves the next client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator.test_fuzz import bodies, frames
from tests.fuzzing import Tally, fuzzed

from voicepilot.emulator import RealtimeEmulator

pytestmark = pytest.mark.sockets

KEY = {"Authorization": "Bearer sk-test-0123456789"}
Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs coroutines one after another on one loop, so that one emulator meets every example."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        yield runner.run  # type: ignore[misc]  # it takes coroutines, which is what it is given


async def talked(emulator: RealtimeEmulator, sent: list[bytes]) -> str:
    """Send frames, some as text, and give the type of the last answer."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{emulator.base_url}/realtime?model=m", headers=KEY, max_msg_size=0) as socket,
    ):
        for frame in sent:
            as_text = frame.isascii()
            await (socket.send_str(frame.decode()) if as_text else socket.send_bytes(frame))
        await socket.send_json({"type": "session.update", "session": {"type": "realtime"}, "event_id": "last"})
        async with asyncio.timeout(30):
            while True:
                event = await socket.receive_json()
                if event["type"] == "session.updated" and "the last" in event["session"]["instructions"]:
                    return str(event["type"])
                if event["type"] == "session.updated":
                    await socket.send_json(
                        {"type": "session.update", "session": {"type": "realtime", "instructions": "the last"}}
                    )


def test_a_socket_survives_every_frame(run: Run, tally: Tally, caplog: pytest.LogCaptureFixture) -> None:
    emulator = RealtimeEmulator()
    run(emulator.start())

    @given(st.lists(frames, min_size=20, max_size=40))
    @fuzzed(4)
    def converse(sent: list[bytes]) -> None:
        tally("client frames", len(sent))
        assert run(talked(emulator, sent)) == "session.updated"

    converse()
    run(emulator.stop())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


requests = st.builds(
    lambda method, path, version, lines, body: (
        f"{method} {path} HTTP/{version}\r\n".encode() + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
    ),
    st.sampled_from(["GET", "POST", "DELETE", "CONNECT", "X", ""]),
    st.sampled_from(["/v1/realtime", "/v1/realtime/client_secrets", "/_emulator/faults", "/%", "//", "*", "/\x7f"]),
    st.sampled_from(["1.1", "1.0", "2", "9.9", ""]),
    st.lists(
        st.sampled_from(
            [
                *(
                    b"Host: x",
                    b"Upgrade: websocket",
                    b"Connection: Upgrade",
                    b"Connection: close",
                    b"Content-Length: 9",
                ),
                *(b"Content-Length: -1", b"Transfer-Encoding: chunked", b"Authorization: Bearer sk-test", b"A" * 9_000),
                *(
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                    b"Sec-WebSocket-Version: 13",
                    b"Expect: 100-continue",
                ),
            ]
        )
        | st.binary(max_size=20),
        max_size=5,
    ),
    bodies,
)


async def thrown(emulator: RealtimeEmulator, data: bytes) -> None:
    """Write bytes at the emulator and leave without waiting for more than it says at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
    with suppress(ConnectionError, TimeoutError):
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(0.005):
            await reader.read()
    writer.transport.abort()


async def minted(emulator: RealtimeEmulator) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{emulator.base_url}/realtime/client_secrets", headers=KEY) as response,
    ):
        return response.status


def test_the_server_survives_every_request(run: Run, tally: Tally, caplog: pytest.LogCaptureFixture) -> None:
    emulator = RealtimeEmulator()
    run(emulator.start())

    @given(requests | st.binary(max_size=80))
    @fuzzed(30)
    def throw(data: bytes) -> None:
        tally("HTTP requests", 1)
        run(thrown(emulator, data))

    throw()
    emulator.faults.clear()
    assert run(minted(emulator)) == 200
    run(emulator.stop())
    # aiohttp logs what it refuses itself, and clients that leave while it waits for the body they announced.
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [error for error in logged if not isinstance(error, HttpProcessingError | ConnectionError)] == []
