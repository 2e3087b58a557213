"""The thin shell around a conversation: sockets, their queues, and time that passes.

Each socket has two tasks, one reading and one writing, and nothing is produced faster than it is taken: the writer
asks the conversation for more only when its queue is empty, the reader stops while the queue is long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import msgspec
from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from voicepilot.emulator.checks import WireError
from voicepilot.emulator.client_events import decoded
from voicepilot.emulator.commits import Commits
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.effects import Close, Drip, Drop, Effect, Freeze, Send, SendRaw
from voicepilot.emulator.faults import Fault
from voicepilot.emulator.record import Closed, Record

FRAME_LIMIT = 22 * 1024 * 1024  # 15 MiB of audio in base64, and its envelope
CLOSING = 2.0  # seconds a peer has to answer a close frame
QUEUE = 256  # effects waiting for a socket before its reader is told to wait
HOPELESS = 20_000  # effects waiting for one of several sockets before it is cut off

Clock = Callable[[], float]


class Room:
    """A conversation and the sockets in it: one, or the sidebands of a call."""

    def __init__(self, conversation: Conversation, clock: Clock, number: int, commits: Commits | None) -> None:
        self.conversation = conversation
        self.over = False
        self._clock = clock
        self._number = number  # of its first socket
        self._commits = commits
        self._peers: list[Peer] = []

    def enter(self, peer: Peer) -> None:
        """A socket joins."""
        self._peers.append(peer)

    def leave(self, peer: Peer) -> None:
        """A socket is gone."""
        self._peers.remove(peer)

    def open(self) -> None:
        """Greet the first socket."""
        self._hand(self.conversation.open(self._clock()))

    def receive(self, data: str | bytes) -> None:
        """A frame came in."""
        if not self.over:
            self._hand(self.conversation.receive(data, self._clock()))

    def pump(self) -> float | None:
        """Do what is due; gives the seconds until there is more to do, None if never."""
        at = self.conversation.wake_at()
        if self.over or at is None:
            return None
        if at <= self._clock():
            self._hand(self.conversation.wake(self._clock()))
            return 0.0
        return at - self._clock()

    def strike(self, fault: Fault) -> None:
        """A fault befalls the session now."""
        self.conversation.strike(fault, self._clock())
        for peer in self._peers:
            peer.stir()

    def _hand(self, effects: list[Effect]) -> None:
        if self._commits is not None:
            self._commits.note(self._number, self.conversation, effects)
        self.over = self.over or any(isinstance(effect, Close) for effect in effects)
        for peer in list(self._peers):
            peer.put(effects)


class Peer:
    """One open socket."""

    def __init__(
        self,
        number: int,
        room: Room,
        socket: web.WebSocketResponse,
        request: web.Request,
        *,
        record: Record,
        clock: Clock,
        heartbeat: float,
    ) -> None:
        self._number = number
        self._room = room
        self._socket = socket
        self._request = request
        self._record = record
        self._clock = clock
        self._heartbeat = heartbeat
        self._queue: deque[Effect] = deque()
        self._stirred = asyncio.Event()
        self._taken = asyncio.Event()  # the queue got shorter
        self._alive = asyncio.get_running_loop().time()  # when the client was last heard
        self._drip = 0.0
        self._frozen = False
        self._gone = False  # nothing is written any more
        self._closed_by: Literal["client", "server"] = "client"
        self._close = Close(1006, "")

    def put(self, effects: list[Effect]) -> None:
        """Queue what a conversation ordered."""
        self._queue.extend(effects)
        if len(self._queue) > HOPELESS:
            self.cut()
        self.stir()

    def stir(self) -> None:
        """There may be something to do."""
        self._stirred.set()

    def cut(self) -> None:
        """Cut the connection without a word."""
        self._closed_by = "server"
        if self._request.transport is not None:
            self._request.transport.abort()

    async def serve(self, *, greeted: bool) -> None:
        """Read and write until the socket is closed. A sideband is not `greeted` (realtime-wire.md C3)."""
        self._room.enter(self)
        try:
            if greeted:
                self._room.open()
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write())
                await self._read()
                writer.cancel()
        finally:
            self._room.leave(self)
            code, reason = self._close.code, self._close.reason
            if self._closed_by == "client":
                code = self._socket.close_code or 1006
            closed = Closed(at=self._clock(), connection=self._number, code=code, reason=reason, by=self._closed_by)
            self._record.add(closed)

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            self._alive = asyncio.get_running_loop().time()
            if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                self._note(message.data)
                self._room.receive(message.data)
                await self._make_way()
            elif message.type is WSMsgType.PING:
                await self._pong(message.data)
            elif message.type is not WSMsgType.PONG:
                self._note_end(message)
                return

    async def _pong(self, data: bytes) -> None:
        with suppress(ConnectionError):
            await self._socket.pong(data)

    async def _make_way(self) -> None:
        while len(self._queue) > QUEUE and not self._gone:
            self._taken.clear()
            await self._taken.wait()

    async def _write(self) -> None:
        try:
            with suppress(ConnectionError):
                while True:
                    await self._write_next()
        finally:
            self._gone = True
            self._taken.set()

    async def _write_next(self) -> None:
        if self._queue:
            await self._perform(self._queue.popleft())
            self._taken.set()
            return
        self._stirred.clear()
        pause = self._room.pump()
        if not self._queue and pause != 0.0:
            await self._rest(pause)

    async def _rest(self, pause: float | None) -> None:
        until_ping = self._heartbeat if pause is None else min(pause, self._heartbeat)
        with suppress(TimeoutError):
            async with asyncio.timeout(until_ping):
                await self._stirred.wait()
                return
        silence = asyncio.get_running_loop().time() - self._alive
        if silence > 2 * self._heartbeat:
            self.cut()
        elif silence > self._heartbeat:
            await self._socket.ping()

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(event):
                self._record.frame(self._clock(), self._number, "out", event)
                await self._send(msgspec.json.encode(event).decode())
            case SendRaw(text):
                await self._send(text)
            case Close():
                await self._shut(effect)
            case Drop():
                self.cut()
            case Drip(seconds):
                self._drip = seconds
            case Freeze():
                self._frozen = True
                if self._request.transport is not None:
                    self._request.transport.pause_reading()
                await asyncio.Event().wait()

    async def _send(self, text: str) -> None:
        if self._drip:
            await asyncio.sleep(self._drip)
        try:
            async with asyncio.timeout(2 * self._heartbeat):
                await self._socket.send_str(text)
        except TimeoutError:  # a client that does not read
            self.cut()

    async def _shut(self, close: Close) -> None:
        self._closed_by, self._close = "server", close
        await self._socket.close(code=close.code, message=close.reason.encode()[:123])

    async def shut(self, close: Close) -> None:
        """Close the socket from outside, at the end of the emulator."""
        if self._frozen:
            self.cut()
            return
        with suppress(ConnectionError):
            await self._shut(close)

    def _note_end(self, message: WSMessage) -> None:
        if message.type is WSMsgType.CLOSE:
            self._close = Close(message.data or 1005, message.extra or "")
        elif isinstance(message.data, WebSocketError):  # a frame that is none, or too large: aiohttp refused it
            self._closed_by = "server"
            self._close = Close(message.data.code, str(message.data))

    def _note(self, data: str | bytes) -> None:
        try:
            event = decoded(data)
        except WireError:
            event = {}
        self._record.frame(self._clock(), self._number, "in", event)


def socket_response(protocols: list[str]) -> web.WebSocketResponse:
    """A socket that answers pings here, where they can be withheld, and chooses `realtime` if it is offered."""
    chosen = ("realtime",) if "realtime" in protocols else ()
    return web.WebSocketResponse(
        protocols=chosen, max_msg_size=FRAME_LIMIT, timeout=CLOSING, autoping=False, compress=False
    )


GOING_AWAY = Close(WSCloseCode.GOING_AWAY, "The server is shutting down.")
