"""The shell's part of one connection: its task, its socket, and what waits to be written to it, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from voicepilot.conversation.ports import Buffered, Dated, Socket
from voicepilot.conversation.state import Json

LONGEST_LIFE = 86_400.0
"""Seconds; a connection that claims to live longer, or to be over, has a clock that cannot be right."""

Spawn = Callable[[Coroutine[Any, Any, None], str], object]

_encoder = msgspec.json.Encoder()


class Line:
    """One connection, from the order to dial it until it is hung up."""

    __slots__ = (
        "_left",
        "_opened_at",
        "_spawn",
        "_waiting",
        "_writer_waits",
        "_writing",
        "_written",
        "hung_up",
        "socket",
        "task",
    )

    def __init__(self, spawn: Spawn) -> None:
        self.task: asyncio.Task[None] | None = None
        self.socket: Socket | None = None
        self.hung_up = False
        self._opened_at = 0.0
        self._spawn = spawn
        self._left = (0, 0)  # events to write, and bytes the other side had not taken, when it was last looked at
        self._waiting: deque[Json] = deque()
        self._writing = False
        self._writer_waits = False  # whoever puts something will write it himself
        self._written: asyncio.Event | None = None  # made for those who wait for a writer

    def open(self, socket: Socket, now: float) -> None:
        """Write to `socket` from now on."""
        self.socket, self._opened_at = socket, now

    def life(self, expires_at: float, now: float) -> float | None:
        """Seconds until the provider's clock shows `expires_at`; None if that is nonsense by its clock and by ours."""
        socket: object = self.socket
        told = socket.server_time if isinstance(socket, Dated) else None
        lives = [expires_at - now]
        if told is not None:
            # It is told in whole seconds, so that within them our clock, if it agrees, knows better.
            opened = min(max(self._opened_at, told), told + 1.0)
            lives.insert(0, expires_at - (opened + now - self._opened_at))
        return next((life for life in lives if 0 < life < LONGEST_LIFE), None)

    def is_taking(self) -> bool:
        """Whether the other side took some of what was still to be sent when this was last asked: so it lives."""
        socket: object = self.socket
        before, self._left = self._left, (len(self._waiting), socket.unsent if isinstance(socket, Buffered) else 0)
        return self._left[0] < before[0] or self._left[1] < before[1]

    def put(self, event: Json) -> None:
        """Have `event` written behind those before it."""
        self._waiting.append(event)
        if not self._writing and not self._writer_waits:
            self._write_soon()

    async def written(self, putting: Callable[[], None]) -> None:
        """Let `putting` put something, and write it here, without a task."""
        self._writer_waits = True
        try:
            putting()
        finally:
            self._writer_waits = False
        while self._waiting and not self.hung_up:
            if self._writing:
                await self._until_written()
            else:
                await self._write()

    def hang_up(self) -> None:
        """Write nothing more."""
        self.hung_up = True
        self._waiting.clear()
        self._wake()

    def _write_soon(self) -> None:
        self._writing = True
        self._spawn(self._write(), "voicepilot-write")

    async def _write(self) -> None:
        """Write what waits, one after the other."""
        self._writing = True
        try:
            while self._waiting and self.socket is not None:
                event = self._waiting.popleft()
                await self.socket.send(_encoder.encode(event).decode())
        except ConnectionError:
            self._waiting.clear()  # the journal has it; the next connection gets it
        finally:
            self._writing = False
            self._wake()
            if self._waiting and not self.hung_up:  # whoever wrote was cancelled
                self._write_soon()

    async def _until_written(self) -> None:
        self._written = self._written or asyncio.Event()
        await self._written.wait()

    def _wake(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.set()
