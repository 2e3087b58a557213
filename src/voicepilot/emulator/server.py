"""The emulator as a server: aiohttp in front of pure routes.

async with RealtimeEmulator(key_life=20) as emulator:
    client = AsyncOpenAI(api_key="sk-anything", base_url=emulator.base_url)
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Self

import msgspec
from aiohttp import web

from voicepilot.emulator.admission import Admitted, TurnedAway, admit
from voicepilot.emulator.checks import WireError
from voicepilot.emulator.commits import Commits, Committed
from voicepilot.emulator.effects import Send
from voicepilot.emulator.faults import Fault
from voicepilot.emulator.http import Reply, Request, usual_headers
from voicepilot.emulator.ids import Ids
from voicepilot.emulator.keys import Keys
from voicepilot.emulator.options import Backend, Options
from voicepilot.emulator.plan import Faults
from voicepilot.emulator.record import Opened, Record
from voicepilot.emulator.routes import SOCKETS, answer
from voicepilot.emulator.sockets import GOING_AWAY, Peer, Room, socket_response
from voicepilot.emulator.tls import Tls, tls_of
from voicepilot.errors import ConfigurationError, VoicePilotError

BODY_LIMIT = 2 * 1024 * 1024
TOO_LARGE = WireError("The request body is too large.", None)
FAREWELL = 0.5  # seconds open sockets have to answer the close frame when the emulator stops


class RealtimeEmulator:
    """A Realtime service on this machine. Its keyword arguments are the fields of `Options`.

    `faults` makes things go wrong and `record` tells what happened. Keys, record and port outlive a `stop`, so a
    `start` after it is the same service back again.
    """

    def __init__(self, options: Options | None = None, **changes: Any) -> None:  # Any: the fields of Options
        try:
            self.options = msgspec.structs.replace(options or Options(), **changes)
        except TypeError as error:
            raise ConfigurationError(f"the emulator has no such option: {error}") from error
        self.faults = Faults(self.options.seed, self.options.time_scale)
        self.record = Record()
        self._backend = Backend(
            options=self.options,
            keys=Keys(),
            faults=self.faults,
            record=self.record,
            ids=Ids(),
            calls={},
            commits=Commits() if self.options.keep_audio else None,
        )
        self._port = self.options.port
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._tls: Tls | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._numbers = itertools.count(1)
        self._rooms: dict[Peer, Room] = {}
        self._epoch = 0.0
        self.faults.on_live = self._strike_soon

    # -- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises ConfigurationError where the port or certificate cannot be used."""
        if self._runner is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._epoch = time.time() - self._loop.time()
        self._stopping = asyncio.Event()
        self._tls = self._tls or tls_of(self.options)
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=FAREWELL)
        await runner.setup()
        try:
            context = self._tls.context if self._tls else None
            site = web.TCPSite(runner, self.options.host, self._port, ssl_context=context, reuse_address=True)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            where = f"{self.options.host}:{self._port}"
            raise ConfigurationError(f"cannot listen on {where}: {error.strerror or error}", field="port") from error
        self._runner, self._site = runner, site
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every socket and listen no more; may be called twice."""
        runner, self._runner = self._runner, None
        if runner is None or self._site is None:
            return
        await self._site.stop()
        self._stopping.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL), asyncio.TaskGroup() as tasks:
                for peer in list(self._rooms):
                    tasks.create_task(peer.shut(GOING_AWAY))
        for peer in list(self._rooms):
            peer.cut()
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- where it is ----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._runner is not None

    @property
    def port(self) -> int:
        """The port it listens on, and will again after a stop."""
        if not self._port:
            raise VoicePilotError("the emulator has no port yet", remediation="Await its start(), or use `async with`.")
        return self._port

    @property
    def azure_endpoint(self) -> str:
        """What Azure's clients call the endpoint."""
        scheme = "https" if self.options.secure else "http"
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"{scheme}://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """The base URL for OpenAI's clients."""
        return f"{self.azure_endpoint}/v1"

    @property
    def authority(self) -> bytes | None:
        """The certificate authority that clients must trust, in PEM, where it was made for `tls=True`."""
        return self._tls.authority if self._tls else None

    def now(self) -> float:
        """Seconds since 1970 on the emulator's clock, which never jumps."""
        return self._epoch + (self._loop.time() if self._loop else 0.0)

    def committed_audio(self) -> list[Committed]:
        """The audio of every item made by committing the input buffer, in order. It takes `keep_audio=True`."""
        if self._backend.commits is None:
            raise ConfigurationError(
                "the emulator keeps no audio", field="keep_audio", remediation="Make it with keep_audio=True."
            )
        return list(self._backend.commits)

    # -- serving --------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answered(request)
        except ConnectionError:  # the client is gone, so nobody hears this
            return web.Response()

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        path, upgrade = request.path, request.headers.get("Upgrade", "").lower()
        try:
            body = await request.read() if request.can_read_body else b""
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"error": TOO_LARGE.body}, status=413)
        asked = Request(
            method=request.method,
            path=path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        if (path in SOCKETS or asked.preview) and upgrade == "websocket":
            return await self._admit(asked, request)
        reply = answer(self._backend, asked, self.now())
        if path.endswith("/hangup"):
            self._stir()
        return await self._reply(reply, asked, request)

    async def _admit(self, asked: Request, request: web.Request) -> web.StreamResponse:
        admission = admit(self._backend, asked, self.now())
        if isinstance(admission, Reply):
            return await self._reply(admission, asked, request)
        await self._pause(admission.delay)
        if self._stopping.is_set():
            _cut(request)
            return web.Response()
        socket = socket_response(asked.protocols)
        socket.headers["Date"] = formatdate(self.now(), usegmt=True)
        await socket.prepare(request)
        if isinstance(admission, TurnedAway):
            error = Send(
                {"type": "error", "event_id": self._backend.ids.make("event_", self.now()), "error": admission.error}
            )
            await socket.send_str(msgspec.json.encode(error.event).decode())
            await socket.close(code=admission.code, message=admission.reason.encode())
            return socket
        await self._converse(admission, asked, request, socket)
        return socket

    async def _converse(
        self, admitted: Admitted, asked: Request, request: web.Request, socket: web.WebSocketResponse
    ) -> None:
        number = next(self._numbers)
        room = self._room(admitted, number)
        session = admitted.conversation.session
        self.record.add(
            Opened(
                at=self.now(),
                connection=number,
                credential=self.record.tag(asked.credential) if asked.credential else None,
                session=session["id"],
                model=session["model"],
                provider=asked.provider,
                call=admitted.call,
            )
        )
        heartbeat = self.options.heartbeat
        peer = Peer(number, room, socket, request, record=self.record, clock=self.now, heartbeat=heartbeat)
        self._rooms[peer] = room
        try:
            await peer.serve(greeted=admitted.call is None)
        finally:
            del self._rooms[peer]

    def _room(self, admitted: Admitted, number: int) -> Room:
        """A room of its own, or the one where the call's other sidebands are."""
        same = (room for room in self._rooms.values() if room.conversation is admitted.conversation)
        return next(same, None) or Room(admitted.conversation, self.now, number, self._backend.commits)

    async def _reply(self, reply: Reply, asked: Request, request: web.Request) -> web.StreamResponse:
        await self._pause(reply.delay)
        if reply.mishap == "hang":
            await self._hang(request)
        # A server that goes down answers nobody, least of all early.
        if self._stopping.is_set() or reply.mishap in {"hang", "reset"}:
            _cut(request)
            return web.Response()
        headers = {**usual_headers(asked.provider, self._backend.ids, self.now()), **reply.headers}
        headers.setdefault("Content-Type", reply.content_type)
        if reply.mishap == "truncated":
            return await _truncated(reply, headers, request)
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def _pause(self, seconds: float) -> None:
        if seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()

    async def _hang(self, request: web.Request) -> None:
        # A client that gave up is only noticed by looking.
        while not self._stopping.is_set() and request.transport is not None and not request.transport.is_closing():
            await self._pause(0.5)

    # -- faults --------------------------------------------------------------------------------------------------

    def _strike_soon(self, fault: Fault) -> None:
        if self._loop is not None and self.running:
            self._loop.call_soon_threadsafe(self._strike, fault)

    def _strike(self, fault: Fault) -> None:
        for room in set(self._rooms.values()):
            room.strike(fault)

    def _stir(self) -> None:
        for peer in self._rooms:
            peer.stir()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _truncated(reply: Reply, headers: dict[str, str], request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers={**headers, "Content-Length": str(len(reply.body))})
    await response.prepare(request)
    await response.write(reply.body[: len(reply.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
