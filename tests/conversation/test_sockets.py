"""Sockets over the network: what gets in, what ends them, and what no peer can make us do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket as sockets
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.canary import Net

from voicepilot.conversation import sockets as module
from voicepilot.conversation.ports import Closed, Dialler, Pong, Socket
from voicepilot.conversation.sockets import WebSocket, WebSocketDialler
from voicepilot.emulator import Fault, RealtimeEmulator
from voicepilot.errors import DialError, FaultDomain, NotInitializedError, SessionError

pytestmark = pytest.mark.sockets

KEY = "sk-canary7Qm4xT7vWz1Kp9Ls3Yb6Hn"
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


@pytest.fixture
async def emulator() -> AsyncIterator[RealtimeEmulator]:
    async with RealtimeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def dialler() -> AsyncIterator[WebSocketDialler]:
    dialler = WebSocketDialler()
    yield dialler
    await dialler.dispose()


def url(emulator: RealtimeEmulator) -> str:
    return f"ws{emulator.base_url.removeprefix('http')}/realtime?model=gpt-realtime"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody tells us, so we look
            await asyncio.sleep(0.001)


async def greeted(dialler: WebSocketDialler, emulator: RealtimeEmulator, key: str = KEY) -> WebSocket:
    socket = await dialler.dial(url(emulator), key)
    assert kind(await socket.receive()) == "session.created"
    return socket


def kind(message: object) -> str:
    assert isinstance(message, str), message
    return str(json.loads(message)["type"])


async def refused(dialler: WebSocketDialler, where: str, key: str = KEY) -> DialError:
    with pytest.raises(DialError) as caught:
        await dialler.dial(where, key)
    assert caught.value.__cause__ is caught.value.__context__ is None, "aiohttp's errors hold the request's headers"
    return caught.value


# -- a peer that speaks raw bytes -------------------------------------------------------------------------------------

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(opcode: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    head = bytes([0x80 | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    return head + (b"\x7e" + struct.pack("!H", size) if size < 65_536 else b"\x7f" + struct.pack("!Q", size)) + payload


async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, accept: bytes | None = None) -> bytes:
    """Answer a client's handshake, rightly unless told otherwise; gives what the client sent."""
    request = await reader.readuntil(b"\r\n\r\n")
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324 - RFC 6455
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + (accept or base64.b64encode(digest)) + b"\r\n\r\n"
    )
    await writer.drain()
    return request


@asynccontextmanager
async def peer(serve: Serve) -> AsyncIterator[str]:
    """A server whose every connection is served so; gives its URL."""
    open_: set[asyncio.StreamWriter] = set()

    async def wrapped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(wrapped, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime"
        for writer in open_:
            writer.transport.abort()


def saying(*frames: bytes) -> Serve:
    """Upgrade, send these, and wait for the client to go."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        for data in frames:
            writer.write(data)
        await writer.drain()
        await reader.read()

    return serve


class Sleeper:
    """A peer that reads nothing until it is woken, and remembers what it then reads."""

    def __init__(self) -> None:
        self.asleep = asyncio.Event()
        self.woken = asyncio.Event()
        self.heard = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        self.asleep.set()
        await self.woken.wait()
        transport.resume_reading()
        while data := await reader.read(1 << 20):
            self.heard += data

    def texts(self) -> list[str]:
        """The whole text frames that were heard, without their masks."""
        data, found = bytes(self.heard), []
        while len(data) >= 14:
            size, at = data[1] & 0x7F, 2
            if size == 126:
                size, at = struct.unpack_from("!H", data, 2)[0], 4
            elif size == 127:
                size, at = struct.unpack_from("!Q", data, 2)[0], 10
            mask, payload = data[at : at + 4], data[at + 4 : at + 4 + size]
            if len(payload) < size:
                break
            whole = int.from_bytes(payload) ^ int.from_bytes((mask * (size // 4 + 1))[:size])
            if data[0] & 0x0F == TEXT:
                found.append(whole.to_bytes(size).decode())
            data = data[at + 4 + size :]
        return found


# -- talking ----------------------------------------------------------------------------------------------------------


async def test_a_dial_opens_a_session_with_the_key(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    def accepts(dialler: Dialler, socket: Socket) -> None: ...

    socket = await greeted(dialler, emulator)
    accepts(dialler, socket)
    (connection,) = emulator.record.connections()
    assert connection.opened.credential == emulator.record.tag(KEY)
    assert connection.opened.model == "gpt-realtime"


async def test_frames_go_in_the_order_of_the_calls(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    socket = await greeted(dialler, emulator)
    sends = (socket.send(json.dumps({"type": "n", "event_id": f"{number}"})) for number in range(200))
    await asyncio.gather(*sends)
    await until(lambda: len(emulator.record.frames("n")) == 200)
    assert [each.event["event_id"] for each in emulator.record.frames("n")] == [f"{number}" for number in range(200)]


async def test_nagle_does_not_hold_small_frames_back(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    socket = await greeted(dialler, emulator)
    raw = socket._wire.get_extra_info("socket")
    assert raw.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY) == 1


async def test_a_ping_is_answered_by_a_pong(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    socket = await greeted(dialler, emulator)
    await socket.ping()
    assert await socket.receive() == Pong()


async def test_the_pings_of_the_other_side_are_answered(dialler: WebSocketDialler) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        writer.write(frame(PING, b"ab") + frame(TEXT, b"{}"))
        heard.set_result(await reader.readexactly(8))

    async with peer(serve) as where:
        socket = await dialler.dial(where, KEY)
        assert await socket.receive() == "{}"
        head, size, *rest = await heard
    assert (head, size) == (0x8A, 0x82), "a masked pong of two bytes"
    assert bytes(code ^ mask for code, mask in zip(rest[4:], rest, strict=False)) == b"ab"


async def test_binary_frames_are_read_as_text_or_not_at_all(dialler: WebSocketDialler) -> None:
    async with peer(saying(frame(BINARY, b"\xff\xfe"), frame(BINARY, b'{"type":"x"}'))) as where:
        socket = await dialler.dial(where, KEY)
        assert await socket.receive() == '{"type":"x"}'


async def test_a_reader_that_gave_up_loses_nothing(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    socket = await greeted(dialler, emulator)
    reader = asyncio.create_task(socket.receive())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    await socket.ping()
    assert await socket.receive() == Pong()


# -- not getting in ---------------------------------------------------------------------------------------------------


async def test_a_wrong_key_is_told_from_a_wrong_model(dialler: WebSocketDialler) -> None:
    async with RealtimeEmulator(models=frozenset({"other"})) as emulator:
        assert (await refused(dialler, url(emulator), "ek_unknown0123")).fault.code == "INVALID_CREDENTIALS"
        unknown = await refused(dialler, url(emulator))
    assert (unknown.code, unknown.retryable, unknown.fault.status) == ("MODEL_NOT_FOUND", False, 404)
    assert isinstance(unknown, SessionError)


async def test_too_many_requests_say_when_to_come_back(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    emulator.faults.add("connect:429:retry_after=3")
    emulator.faults.add("connect:429:retry_after_ms=250")
    emulator.faults.add("connect:429:code=insufficient_quota")
    errors = [await refused(dialler, url(emulator)) for _ in range(3)]
    assert [(error.code, error.retryable, error.fault.retry_after) for error in errors] == [
        ("RATE_LIMITED", True, 3.0),
        ("RATE_LIMITED", True, 0.25),
        ("QUOTA_EXCEEDED", False, None),
    ]


async def test_a_refusal_after_the_upgrade_is_an_event_and_a_close(dialler: WebSocketDialler) -> None:
    async with RealtimeEmulator(refusal="close") as emulator:
        socket = await dialler.dial(url(emulator), "ek_unknown0123")
        assert kind(await socket.receive()) == "error"
        assert await socket.receive() == Closed(3000, "invalid_request_error.invalid_api_key")


async def test_a_connection_cut_before_the_answer_is_dialled_once(
    emulator: RealtimeEmulator, dialler: WebSocketDialler
) -> None:
    emulator.faults.add("connect:reset:count=2")
    assert (await refused(dialler, url(emulator))).code == "CONNECTION_RESET"
    assert len(emulator.faults.pending()) == 1, "a key is dialled with once, whatever aiohttp would like"


async def test_no_redirect_is_followed(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    heard: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))

    async with peer(elsewhere) as target:
        location = {"Location": target.replace("ws:", "http:")}
        emulator.faults.add(Fault(place="connect", kind="status", status=307, headers=location))
        error = await refused(dialler, url(emulator))
    assert (error.code, error.retryable) == ("REDIRECT_REFUSED", False)
    assert heard == []


async def test_its_client_adds_nothing_of_its_own(dialler: WebSocketDialler) -> None:
    """No cookies, nothing from the environment; no pool to wait for; and no refusal that swells as it is unpacked."""
    client = dialler._http()
    assert isinstance(client.cookie_jar, aiohttp.DummyCookieJar)
    assert (client.trust_env, client.auto_decompress) == (False, False)
    assert client.connector is not None
    assert client.connector.limit == 0
    assert client.timeout == aiohttp.ClientTimeout(total=None, sock_connect=module.CONNECT)


async def test_nobody_there(dialler: WebSocketDialler) -> None:
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        error = await refused(dialler, f"ws://127.0.0.1:{port}/v1/realtime")
    assert (error.code, error.retryable, error.fault_domain) == ("CONNECTION_REFUSED", True, FaultDomain.TRANSPORT)
    assert (await refused(dialler, "ws://nobody.invalid/v1/realtime")).code == "DNS_FAILED"
    assert not (await refused(dialler, "not an address")).retryable


async def test_what_answers_and_is_no_websocket(dialler: WebSocketDialler) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()

    async def pretender(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer, accept=b"bm90IHRoaXM=")

    for serve in (page, pretender):
        async with peer(serve) as where:
            assert (await refused(dialler, where)).code == "NOT_A_WEBSOCKET"


@pytest.mark.parametrize("rest", [b"", b"x" * 200_000])
async def test_the_body_of_a_refusal_is_bounded_in_time_and_size(
    dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch, rest: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 999999999\r\n\r\n" + rest)
        await writer.drain()
        await reader.read()

    monkeypatch.setattr(module, "BODY", 0.01)
    async with peer(serve) as where, asyncio.timeout(10):
        assert (await refused(dialler, where)).code == "PROVIDER_UNAVAILABLE"


async def test_a_refusal_that_comes_in_pieces_is_read_whole(dialler: WebSocketDialler) -> None:
    body = json.dumps({"error": {"code": "model_not_found", "message": "No such model."}}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 20):
            await writer.drain()
            await asyncio.sleep(0.01)  # so that they do not arrive as one
            writer.write(body[start : start + 20])
        await writer.drain()
        await reader.read()

    async with peer(serve) as where, asyncio.timeout(10):
        assert (await refused(dialler, where)).code == "MODEL_NOT_FOUND"


async def test_a_dial_that_is_given_up_leaves_no_connection(
    emulator: RealtimeEmulator, dialler: WebSocketDialler
) -> None:
    emulator.faults.add("connect:hang")
    dial = asyncio.create_task(dialler.dial(url(emulator), KEY))
    await until(lambda: not emulator.faults.pending())
    dial.cancel()
    await asyncio.wait([dial])
    assert dial.cancelled()
    assert not dialler._open
    assert kind(await (await dialler.dial(url(emulator), KEY)).receive()) == "session.created"


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_checked_and_ssl_cert_file_is_honoured(
    dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: bool
) -> None:
    async with RealtimeEmulator(tls=True) as emulator:
        assert emulator.authority is not None
        if trusted:
            (tmp_path / "ca.pem").write_bytes(emulator.authority)
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            socket = await greeted(dialler, emulator)
            await socket.close()
            assert isinstance(socket._wire.transport, asyncio.Transport)
            assert isinstance(dialler._trusted, ssl.SSLContext)
            return
        error = await refused(dialler, url(emulator))
    assert (error.code, error.retryable) == ("TLS_CERTIFICATE_REFUSED", False)


async def test_netrc_and_the_proxy_are_not_for_loopback(
    emulator: RealtimeEmulator, dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    await greeted(dialler, emulator)
    assert emulator.record.connections()[0].opened.credential == emulator.record.tag(KEY)


async def test_a_proxy_sees_the_host_and_not_the_key(
    dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with peer(proxy) as where:
        monkeypatch.setenv("HTTPS_PROXY", where.replace("ws:", "http:"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        error = await refused(dialler, "wss://provider.example/v1/realtime")
    assert error.code == "PROXY_AUTHENTICATION_REQUIRED"
    assert heard[0].startswith(b"CONNECT provider.example:443 ")
    assert KEY.encode() not in heard[0]


async def test_no_error_shows_the_key(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    net, plain = Net(KEY), "a-token-that-looks-like-none"
    net.watch_for(plain)
    for fault in ("connect:401:message=No " + KEY, "connect:reset", "connect:307", "connect:503"):
        emulator.faults.add(fault)
        net.look(fault, await refused(dialler, url(emulator)))
    emulator.faults.add("connect:403:message=Not with " + plain)
    net.look("a strange key", await refused(dialler, url(emulator), plain))
    net.look("bad header", await refused(dialler, url(emulator), KEY + "\r\nX: y"))
    net.look("bad address", await refused(dialler, "ws://[nonsense/"))
    socket = await greeted(dialler, emulator)
    net.look("reprs", repr(socket), repr(dialler))
    await socket.close()
    with pytest.raises(ConnectionError) as caught:
        await socket.send("{}")
    net.look("a closed socket", caught.value)
    net.check()


# -- ends -------------------------------------------------------------------------------------------------------------


async def test_a_cut_connection_is_1006_for_ever(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    socket = await greeted(dialler, emulator)
    emulator.faults.drop_sessions()
    assert await socket.receive() == Closed(1006)
    assert await socket.receive() == Closed(1006)
    for use in (socket.send("{}"), socket.ping()):
        with pytest.raises(ConnectionError):
            await use
    await socket.close()


async def test_a_close_frame_brings_its_code_and_reason(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    socket = await greeted(dialler, emulator)
    emulator.faults.expire_sessions(with_event=False)
    assert await socket.receive() == Closed(1001, "Your session hit the maximum duration of 60 minutes.")


@pytest.mark.parametrize(
    ("said", "code", "answer"), [(b"", 1005, b""), (b"\x03\xe9", 1001, b"\x03\xe9"), (b"\x0b\xb8no", 3000, b"\x0b\xb8")]
)
async def test_a_close_frame_is_answered_at_once(
    dialler: WebSocketDialler, said: bytes, code: int, answer: bytes
) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        writer.write(frame(CLOSE, said))
        heard.set_result(await reader.read())

    async with peer(serve) as where:
        socket = await dialler.dial(where, KEY)
        assert await socket.receive() == Closed(code, said[2:].decode())
        head, _, *rest = await heard
    assert head == 0x88
    assert bytes(byte ^ mask for byte, mask in zip(rest[4:], rest, strict=False)) == answer


async def test_closing_says_goodbye_and_wakes_the_reader(
    emulator: RealtimeEmulator, dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSING", 3600.0)
    socket = await greeted(dialler, emulator)
    reader = asyncio.create_task(socket.receive())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await socket.close(4001)
        assert await reader == Closed(4001)
    assert await socket.receive() == Closed(4001)
    with pytest.raises(ConnectionError):
        await socket.send("{}")
    await socket.close()
    await until(lambda: emulator.record.connections()[0].closed)
    closed = emulator.record.connections()[0].closed
    assert closed is not None
    assert (closed.code, closed.by) == (4001, "client")


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_close_waits_for_its_answer_whatever_comes_before(
    dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """Else what is unread would make the kernel reset the connection, and the close frame with it."""
    monkeypatch.setattr(module, "CLOSING", 3600.0)
    asked, go = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        await reader.readexactly(8)
        asked.set()
        await go.wait()
        writer.write(frame(TEXT, b"{}") * 3 + frame(PING) + frame(CLOSE, b"\x03\xe8"))
        await reader.read()

    async with peer(serve) as where, asyncio.timeout(10):
        socket = await dialler.dial(where, KEY)
        reader = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        if cancelled:
            reader.cancel()
            await asyncio.wait([reader])
        close = asyncio.create_task(socket.close())
        await asked.wait()
        await asyncio.sleep(0.01)
        assert not close.done()
        go.set()
        await close
        assert cancelled or await reader == Closed(1000)


async def test_a_reader_that_goes_ends_a_close(
    emulator: RealtimeEmulator, dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSING", 3600.0)
    socket = await greeted(dialler, emulator)
    emulator.faults.freeze_sessions()
    await asyncio.sleep(0.02)
    reader = asyncio.create_task(socket.receive())
    await asyncio.sleep(0)
    close = asyncio.create_task(socket.close())
    await asyncio.sleep(0)
    reader.cancel()
    async with asyncio.timeout(10):
        await close
        await asyncio.wait([reader])
    assert reader.cancelled()


async def test_what_was_not_read_before_a_close_is_not_read_after_it(
    emulator: RealtimeEmulator, dialler: WebSocketDialler
) -> None:
    socket = await dialler.dial(url(emulator), KEY)
    await until(lambda: emulator.record.frames("session.created"))
    await socket.close()
    assert await socket.receive() == Closed(1000)


async def test_a_frozen_peer_answers_no_ping_and_cannot_hold_a_close(
    emulator: RealtimeEmulator, dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSING", 0.05)
    socket = await greeted(dialler, emulator)
    emulator.faults.freeze_sessions()
    await asyncio.sleep(0.02)
    await socket.ping()
    reader = asyncio.create_task(socket.receive())
    await asyncio.sleep(0.05)
    assert not reader.done()
    async with asyncio.timeout(10):
        await socket.close()
        assert await reader == Closed(1000)
    assert not dialler._open
    assert socket._wire.transport is not None
    assert socket._wire.transport.is_closing()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x" * 2_000), 1009),
        (frame(TEXT, b"\xff"), 1007),
        (b"\xf1\x00", 1002),  # reserved bits
        (b"\x83\x00", 1002),  # an opcode there is not
        (frame(PING, b"x" * 126), 1002),
    ],
)
async def test_a_frame_that_is_none_or_too_large_ends_the_connection(
    dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch, data: bytes, code: int
) -> None:
    monkeypatch.setattr(module, "MOST_RECEIVED", 1_000)
    async with peer(saying(frame(TEXT, b"{}"), data)) as where:
        socket = await dialler.dial(where, KEY)
        assert await socket.receive() == "{}"
        end = await socket.receive()
    assert isinstance(end, Closed)
    assert end.code == code
    assert 0 < len(end.reason) <= 120, "it says what was wrong with it"


async def test_a_message_of_megabytes_is_received_whole(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    emulator.faults.add("session:oversized")
    socket = await greeted(dialler, emulator)
    message = await socket.receive()
    assert isinstance(message, str)
    assert len(message) > 8 * 1024 * 1024


async def test_dispose_cuts_what_is_open_and_dials_no_more(emulator: RealtimeEmulator) -> None:
    dialler = WebSocketDialler()
    socket, other = await greeted(dialler, emulator), await greeted(dialler, emulator)
    reader = asyncio.create_task(other.receive())
    await asyncio.sleep(0)
    await dialler.dispose()
    assert await socket.receive() == await reader == Closed(1006)
    with pytest.raises(NotInitializedError, match="the dialler is disposed") as caught:
        await dialler.dial(url(emulator), KEY)
    assert caught.value.collaborator == "dialler"
    await dialler.dispose()
    await until(lambda: all(connection.closed for connection in emulator.record.connections()))


async def test_dispose_ends_a_dial_that_is_under_way(emulator: RealtimeEmulator) -> None:
    dialler = WebSocketDialler()
    emulator.faults.add("connect:hang")
    dial = asyncio.create_task(refused(dialler, url(emulator)))
    await until(lambda: not emulator.faults.pending())
    async with asyncio.timeout(10):
        await dialler.dispose()
        assert (await dial).code == "CONNECTION_RESET"


async def test_a_dialler_that_never_dialled_has_nothing_to_dispose() -> None:
    await WebSocketDialler().dispose()


async def test_sockets_that_end_are_forgotten(emulator: RealtimeEmulator, dialler: WebSocketDialler) -> None:
    for _ in range(3):
        socket = await greeted(dialler, emulator)
        await socket.close()
    assert not dialler._open


# -- a peer that takes nothing ----------------------------------------------------------------------------------------


async def test_sends_wait_for_a_slow_peer_and_arrive_in_order(dialler: WebSocketDialler) -> None:
    sleeper, texts = Sleeper(), [chr(97 + number) * 1_000_000 for number in range(12)]
    async with peer(sleeper.serve) as where:
        socket = await dialler.dial(where, KEY)
        await sleeper.asleep.wait()
        sends = [asyncio.create_task(socket.send(text)) for text in texts]
        await until(lambda: socket.unsent > 0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not all(send.done() for send in sends), "somebody waits for room"
        assert socket.unsent <= 1_200_000, "one frame, not all of them, is in memory"
        before = socket.unsent
        await socket.ping()
        assert socket.unsent == before, "a ping behind all that would tell nothing"
        sleeper.woken.set()
        await asyncio.gather(*sends)
        await until(lambda: len(sleeper.texts()) == len(texts))
        assert sleeper.texts() == texts


async def test_a_send_that_is_given_up_stops_no_other(dialler: WebSocketDialler) -> None:
    sleeper = Sleeper()
    async with peer(sleeper.serve) as where:
        socket = await dialler.dial(where, KEY)
        await sleeper.asleep.wait()
        first = asyncio.create_task(socket.send("a" * 8_000_000))
        await until(lambda: socket.unsent > 0)
        others = [asyncio.create_task(socket.send(letter * 1_000_000)) for letter in "bc"]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        sleeper.woken.set()
        await asyncio.gather(*others)
        await until(lambda: len(sleeper.texts()) == 3)
        assert [text[0] for text in sleeper.texts()] == ["a", "b", "c"]


async def test_a_cancelled_send_is_cancelled(dialler: WebSocketDialler) -> None:
    sleeper = Sleeper()
    async with peer(sleeper.serve) as where:
        socket = await dialler.dial(where, KEY)
        send = asyncio.create_task(socket.send("a" * 8_000_000))
        await until(lambda: socket.unsent > 0)
        send.cancel()
        await asyncio.wait([send])
        assert send.cancelled()


async def test_what_a_peer_never_takes_does_not_fill_the_memory(
    dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_UNSENT", 1_000_000)
    sleeper = Sleeper()
    async with peer(sleeper.serve) as where:
        socket = await dialler.dial(where, KEY)
        await sleeper.asleep.wait()
        first = asyncio.create_task(socket.send("a" * 12_000_000))
        await until(lambda: socket.unsent > 0)
        first.cancel()
        await asyncio.wait([first])
        with pytest.raises(ConnectionError):
            await socket.send("b")
        assert await socket.receive() == Closed(1006)


async def test_a_close_frees_the_senders_that_wait(dialler: WebSocketDialler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSING", 0.05)
    sleeper = Sleeper()
    async with peer(sleeper.serve) as where:
        socket = await dialler.dial(where, KEY)
        await sleeper.asleep.wait()
        sends = [asyncio.create_task(socket.send("a" * 8_000_000)) for _ in range(3)]
        await until(lambda: socket.unsent > 0)
        async with asyncio.timeout(10):
            await socket.close()
            outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, ConnectionError) for outcome in outcomes)
    assert isinstance(outcomes[-1], ConnectionError)


async def test_a_retry_after_date_is_read_by_our_clock(emulator: RealtimeEmulator) -> None:
    now = time.time()
    dialler = WebSocketDialler(wall=lambda: now)
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now + 90))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 503 No\r\nRetry-After: {date}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    async with peer(serve) as where:
        error = await refused(dialler, where)
    await dialler.dispose()
    assert error.fault.retry_after == pytest.approx(90, abs=1)
