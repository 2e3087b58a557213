"""A managed conversation, in virtual time, with a provider that says whatever it is told to say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.happenings import ConversationEnded, Happening
from voicepilot.conversation.options import ConversationConfig
from voicepilot.conversation.ports import Closed, Pong
from voicepilot.errors import DialError, Fault, SessionError, VoicePilotError
from voicepilot.ports import ConnectionPhase, ConnectionStatus, EphemeralKey, Usage
from voicepilot.runtime.vault import SessionCredential
from voicepilot.subscription import Subscription
from voicepilot.testing.virtual import run_virtual

T = TypeVar("T")
NOW = 1_784_852_000.0
GREETING = b'{"type":"session.created","session":{"id":"sess_1","expires_at":1784855600}}'
CLIENT, PASS, DROP = b">", b"+", b"!"
"""How a line begins that is no frame of the provider's: the client says it, seconds pass, the connection falls."""


class Provider:
    """Plays the lines to whichever connection is open; a connection beyond the last line is refused for good."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines
        self.conversation: Conversation | None = None
        self.dials = 0

    async def dial(self, url: str, token: str) -> Provider:
        if not self.lines or self.dials > 20:
            raise DialError(Fault(code="OVER", message="it is over", remediation="None.", retryable=False))
        self.dials += 1
        self.lines.insert(0, GREETING)
        return self

    async def receive(self) -> str | Pong | Closed:
        while self.lines:
            line = self.lines.pop(0)
            if line.startswith(CLIENT):
                asyncio.get_running_loop().call_soon(self._say, line[1:])
                await asyncio.sleep(0.01)
            elif line.startswith(PASS):
                await asyncio.sleep(10.0)
            elif line.startswith(DROP):
                return Closed()
            else:
                await asyncio.sleep(0.001)
                return line.decode(errors="replace")
        return Closed(1000)

    def _say(self, frame: bytes) -> None:
        if self.conversation is not None:
            task = asyncio.ensure_future(said(self.conversation, frame))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def send(self, text: str) -> None:
        assert msgspec.json.decode(text)["type"]

    async def ping(self) -> None:
        pass

    async def close(self, code: int = 1000) -> None:
        pass

    async def dispose(self) -> None:
        pass


async def said(conversation: Conversation, frame: bytes) -> None:
    """The client says something; what cannot be sent is refused in words."""
    with suppress(VoicePilotError, msgspec.DecodeError):
        event = msgspec.json.decode(frame)
        if isinstance(event, dict):
            await conversation.send(event)


class Session:
    """One session as a conversation sees it."""

    session_id = "s1"

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def now(self) -> float:
        return NOW + asyncio.get_running_loop().time()

    async def fresh_credential(self) -> SessionCredential:
        key = EphemeralKey("ek_1", expires_in=600, issued_for="s1", websocket_url="wss://provider.invalid/v1/realtime")
        return SessionCredential(session_id="s1", key=key, expires_at=self.now() + 600)

    def report(self, phase: ConnectionPhase, status: ConnectionStatus, fault: Fault | None = None) -> None:
        pass

    def note_activity(self) -> None:
        pass

    def report_usage(self, usage: Usage) -> None:
        assert all(value >= 0 for value in msgspec.structs.astuple(usage) if isinstance(value, int | float))

    async def suspending(self, reason: str) -> None:
        pass

    async def resumed(self) -> None:
        pass

    def hear(self, event: Mapping[str, Any]) -> None:
        pass

    def forget(self, item_id: str) -> None:
        pass

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.append(task)
        return task

    def attach(
        self, close: Callable[[str], Awaitable[None]], warn: Callable[[str, float, float], None] | None = None
    ) -> Subscription:
        return Subscription(lambda: None)

    async def through_breaker(self, operation: Callable[[], Awaitable[T]], *, endpoint: str) -> T:
        return await operation()


def try_server_frames(data: bytes) -> None:
    """Whatever the provider says, the stream ends in words, no task fails, and nothing that is sent is no event."""
    run_virtual(_listen(data.split(b"\n")[:60]))


async def _listen(lines: list[bytes]) -> None:
    session, provider, last = Session(), Provider(lines), None
    logger = logging.getLogger("voicepilot.fuzz")
    logger.disabled = True
    broken: list[Mapping[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    conversation = Conversation(session, provider, ConversationConfig(), {"instructions": "Be kind."}, logger=logger)
    with suppress(SessionError):
        async with asyncio.timeout(3600), conversation:
            provider.conversation = conversation
            async for event in conversation:
                last = event
                assert isinstance(event, Happening) or isinstance(event["type"], str)
    for context in broken:
        raise context.get("exception") or AssertionError(context["message"])
    assert last is None or isinstance(last, ConversationEnded)
    for task in session.tasks:
        if not task.done():
            await asyncio.wait({task}, timeout=60)
        assert task.done()
        if not task.cancelled() and (error := task.exception()):
            raise error
