"""Sockets over the network: aiohttp's WebSockets behind the ports of a conversation.

There is no task and no timer in here: whoever holds a socket reads it, asks with `ping` whether somebody is there, and
closes it in the end. Nothing that aiohttp raises gets out, because its errors hold the request, and that the key.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from voicepilot.conversation.faults import fault_of_bad_handshake, fault_of_refused_dial
from voicepilot.conversation.ports import Closed, Pong
from voicepilot.errors import DialError, Fault, NotInitializedError, RequestRefusedError
from voicepilot.network.faults import fault_of_breakdown, timestamp
from voicepilot.network.reply import Reply
from voicepilot.network.route import proxy_for, trusted
from voicepilot.network.secrets import Secret

MOST_RECEIVED = 64 * 1024 * 1024  # bytes of one message; the provider's largest are the audio of a retrieved item
MOST_UNSENT = 32 * 1024 * 1024  # bytes the other side has not taken; the largest legal event is 20 MiB
STUCK = 16 * 1024  # unsent bytes below which aiohttp never waits for room: asyncio's low-water mark
GOES_ON = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG})
CLOSING = 1.0  # seconds the other side has to answer a close frame
BODY = 1.0  # seconds the body of a refusal may take …
MOST_BODY = 64 * 1024  # … and how much of it is read
CONNECT = 10.0  # seconds for one of a host's addresses, so that the next gets its turn


class _NotUpgradedError(Exception):
    """The upgrade failed, or was answered with something else than 101."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


class _Wire(aiohttp.ClientWebSocketResponse):
    """aiohttp's WebSocket, and the transport below it."""

    def __init__(  # Any: whatever aiohttp hands its own class
        self, reader: Any, writer: Any, protocol: Any, response: aiohttp.ClientResponse, *others: Any, **named: Any
    ) -> None:
        super().__init__(reader, writer, protocol, response, *others, **named)
        self.transport = response.connection.transport if response.connection else None
        self.server_time = timestamp(response.headers.get("Date"))

    def cut(self) -> None:
        """End the connection at once, and throw away what was not sent."""
        if self.transport is not None:
            self.transport.abort()
        self._response.close()


class WebSocket:
    """One connection; a conversation's `Socket`."""

    __slots__ = ("__weakref__", "_end", "_forget", "_parted", "_reading", "_sending", "_wire", "server_time")

    def __init__(self, wire: _Wire, forget: Callable[[WebSocket], None]) -> None:
        self.server_time = wire.server_time
        self._wire = wire
        self._forget = forget
        self._end: Closed | None = None  # what there is to receive from now on
        self._sending = asyncio.Lock()
        self._reading = False
        self._parted: asyncio.Future[None] | None = None  # of a close: its answer is read, or the reader is gone

    async def send(self, text: str) -> None:
        """Send a text frame, after those asked for before it. Waits while the other side takes nothing.

        When it is cancelled, the frame may have gone or not. Raises ConnectionError once the socket is closed.
        """
        async with self._sending:
            if self.unsent > MOST_UNSENT:
                self.cut()
            if self._end is not None or not await self._put(text.encode(), WSMsgType.TEXT):
                raise ConnectionResetError("the WebSocket is closed")

    async def receive(self) -> str | Pong | Closed:
        """The next thing that arrives. One reader at a time; one that is cancelled misses nothing."""
        while self._end is None:
            message = await self._next()
            match message.type:
                case WSMsgType.TEXT:
                    return str(message.data)
                case WSMsgType.PONG:
                    return Pong()
                case WSMsgType.PING:
                    await self._put_aside(message.data, WSMsgType.PONG)
                case WSMsgType.BINARY:
                    with suppress(UnicodeDecodeError):
                        return bytes(message.data).decode()
                case _:
                    await self._part(message)
        return self._end

    async def ping(self) -> None:
        """Ask whether somebody is there; the answer is a `Pong`. Raises ConnectionError once it is closed.

        Never waits: while the other side does not take what was sent before, it is not asked.
        """
        if self._end is not None or not await self._put_aside(b"", WSMsgType.PING):
            raise ConnectionResetError("the WebSocket is closed")

    async def close(self, code: int = 1000) -> None:
        """Say goodbye and wait for the answer, a second at most; then cut the connection. Idempotent, never raises."""
        if self._end is None:
            self._end = Closed(code)
            try:
                async with asyncio.timeout(CLOSING):
                    if await self._put(_code(code), WSMsgType.CLOSE):
                        await self._answer_to_close()
            except TimeoutError:
                pass
            finally:
                self.cut()

    def cut(self) -> None:
        """End the connection at once, and throw away what was not sent."""
        self._end = self._end or Closed()
        self._forget(self)
        self._wire.cut()

    async def _answer_to_close(self) -> None:
        if self._reading:
            self._parted = asyncio.get_running_loop().create_future()
            await self._parted
        else:
            await self._next()

    async def _next(self) -> aiohttp.WSMessage:
        """What comes next; once a close is under way, only the end counts."""
        self._reading = True
        try:
            message = await self._wire.receive()
            while self._end is not None and message.type in GOES_ON:
                message = await self._wire.receive()
        finally:
            self._reading = False
            if self._parted is not None and not self._parted.done():
                self._parted.set_result(None)
        return message

    async def _put(self, data: bytes, kind: WSMsgType) -> bool:
        """Write a frame, and wait for room; whether the connection is still there."""
        try:
            await self._wire.send_frame(data, kind)
        except ConnectionError:
            return False
        except asyncio.CancelledError:
            # aiohttp writes, then waits for room; when one who waits is cancelled, all who wait are.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        return True

    async def _put_aside(self, data: bytes, kind: WSMsgType) -> bool:
        """The same without waiting: where the other side takes nothing, the frame is left out."""
        return self.unsent > STUCK or await self._put(data, kind)

    async def _part(self, last: aiohttp.WSMessage) -> None:
        if self._end is None and last.type is WSMsgType.CLOSE:
            await self._put_aside(_code(last.data), WSMsgType.CLOSE)
        self._end = self._end or _end_of(last)
        self.cut()

    @property
    def unsent(self) -> int:
        """Bytes of what was sent that the other side has not taken."""
        transport = self._wire.transport
        return 0 if transport is None else transport.get_write_buffer_size()


class WebSocketDialler:
    """Opens WebSockets with one HTTP client, which is made at the first dial. `wall` dates a Retry-After."""

    def __init__(self, *, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._client: aiohttp.ClientSession | None = None
        self._trusted: ssl.SSLContext | None = None
        self._open: set[WebSocket] = set()
        self._disposed = False

    async def dial(self, url: str, token: str) -> WebSocket:
        """Open a WebSocket at `url` with `token` as Bearer. Raises DialError; the caller limits the time."""
        reached = await self._reached(url, token)
        if isinstance(reached, Fault):
            raise DialError(reached)  # outside of any handler: aiohttp's errors hold the request's headers
        socket = WebSocket(reached, self._open.discard)
        self._open.add(socket)
        return socket

    async def dispose(self) -> None:
        """Cut what is still open, and let go of the client. Idempotent; nothing is dialled afterwards."""
        self._disposed = True
        for socket in list(self._open):
            socket.cut()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _reached(self, url: str, token: str) -> _Wire | Fault:
        try:
            return await self._upgraded(url, token)
        except _NotUpgradedError as error:
            return error.fault
        except aiohttp.WSServerHandshakeError:
            return fault_of_bad_handshake(_where(url))
        except (ValueError, aiohttp.ClientError):  # before anything was sent
            return RequestRefusedError("the address or the key cannot be put into a request").fault

    async def _upgraded(self, url: str, token: str) -> _Wire:
        wire = await self._http().ws_connect(
            url,
            headers={"Authorization": f"Bearer {token}"},
            proxy=proxy_for(url),
            ssl=self._trust(url),
            autoping=False,  # aiohttp would keep the pongs for itself …
            autoclose=False,  # … and wait for a second close frame when the first has no code
            max_msg_size=MOST_RECEIVED,
        )
        return cast("_Wire", wire)  # as ws_response_class says, and aiohttp's types do not

    def _http(self) -> aiohttp.ClientSession:
        if self._disposed:
            raise NotInitializedError("dialler", "the dialler is disposed")
        # The proxy is chosen by proxy_for and not by trust_env, which would also add credentials from ~/.netrc.
        self._client = self._client or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            middlewares=(self._only_upgrades,),
            ws_response_class=_Wire,
        )
        return self._client

    def _trust(self, url: str) -> ssl.SSLContext | bool:
        if URL(url).scheme != "wss":
            return True
        self._trusted = self._trusted or trusted()
        return self._trusted

    async def _only_upgrades(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Let nothing but a 101 through: no redirect is followed, no key sent again, and a refusal is read."""
        try:
            response = await handler(request)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            fault = fault_of_breakdown(error, _where(request.url)).fault
        else:
            if response.status == 101:
                request.headers.popall("Authorization")  # else the response keeps it as long as the connection lives
                return response
            key = Secret(request.headers["Authorization"].removeprefix("Bearer "))
            fault = fault_of_refused_dial(await self._reply(response), key)
        raise _NotUpgradedError(fault)

    async def _reply(self, response: aiohttp.ClientResponse) -> Reply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        received_at, body = self._wall(), b""
        try:
            async with asyncio.timeout(BODY):
                while len(body) < MOST_BODY and (chunk := await response.content.readany()):
                    body += chunk
        except (TimeoutError, aiohttp.ClientError):
            pass  # the status has to do
        finally:
            response.close()
        return Reply(response.status, headers, body, received_at)


def _where(url: str | URL) -> str:
    return f"opening a WebSocket at {URL(url).host_port_subcomponent}"


def _code(code: int | None) -> bytes:
    return struct.pack("!H", code) if code else b""


def _end_of(message: aiohttp.WSMessage) -> Closed:
    if message.type is WSMsgType.CLOSE:
        return Closed(message.data or 1005, message.extra or "")
    if isinstance(message.data, aiohttp.WebSocketError):  # aiohttp refused a frame, and has closed the connection
        return Closed(message.data.code, str(message.data)[:120])
    return Closed()
