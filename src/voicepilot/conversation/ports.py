"""What a conversation talks through: somebody who dials, and the sockets he gives."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec


class Pong(msgspec.Struct, frozen=True):
    """The other side answered a ping."""


class Closed(msgspec.Struct, frozen=True):
    """The connection is over; code 1006 where there was no close frame (RFC 6455, 7.4.1)."""

    code: int = 1006
    reason: str = ""


class Socket(Protocol):
    """One WebSocket."""

    async def send(self, text: str) -> None:
        """Send a text frame; frames go in the order of the calls. Raises ConnectionError once it is closed.

        Where nobody else sends, it goes before this waits for anything: one who is cancelled has sent it.
        """
        ...

    async def receive(self) -> str | Pong | Closed:
        """The next thing that arrives. A network fault is a `Closed`, and after one there is nothing else."""
        ...

    async def ping(self) -> None:
        """Ask whether somebody is there. Raises ConnectionError once it is closed."""
        ...

    async def close(self, code: int = 1000) -> None:
        """Close it, within a second, whatever the other side does. Idempotent, never raises."""
        ...


@runtime_checkable
class Dated(Protocol):
    """A socket that knows what time it was at the provider when it was opened, in whole seconds, if that was told."""

    server_time: float | None


@runtime_checkable
class Buffered(Protocol):
    """A socket that knows how many bytes of what was sent the other side has not taken."""

    @property
    def unsent(self) -> int:
        """So many."""
        ...


class Dialler(Protocol):
    """Opens sockets. `voicepilot.conversation.sockets.WebSocketDialler` is the real one."""

    async def dial(self, url: str, token: str) -> Socket:
        """Open a WebSocket at `url` with `token` as Bearer. Raises DialError; the caller limits the time."""
        ...

    async def dispose(self) -> None:
        """Let go of what is shared by the sockets. Idempotent."""
        ...
