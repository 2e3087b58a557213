"""Those who talk in the demo: each opens a new call with the session's current key for every line.

A key gates the making of connections, so a line that is answered proves that the key of that moment was good.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from itertools import cycle
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from voicepilot.cli.demo.history import ANSWERED, PROVIDER_DOWN, Said
from voicepilot.cli.demo.transcripts import Transcripts
from voicepilot.ports import Role
from voicepilot.privacy import Turn
from voicepilot.runtime.manager import SessionManager

if TYPE_CHECKING:
    from openai import AsyncOpenAI

PAUSE = 2.5
"""Seconds between an answer and the caller's next line."""

PATIENCE = 10.0
"""Seconds a caller waits for an answer."""

MODEL = "gpt-realtime"

DOWN = 503

LINES = (
    "Good morning, is anybody there?",
    "What is the weather like?",
    "Remind me to call back at noon.",
    "Read me the last message.",
    "Thank you, go on.",
)


class Client(Protocol):
    """How to hold one turn with a provider."""

    name: str

    async def say(self, line: str) -> str:
        """Open a call with the current key, say `line`, and give the answer. Raises `Refused`."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


class Refused(Exception):  # noqa: N818 - it is what happened
    """The provider did not open the call."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with {status}")
        self.status = status


def message(line: str) -> dict[str, Any]:
    """A user's line as a conversation item."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": line}]}


class AiohttpClient:
    """The wire spoken by hand."""

    name = "aiohttp"

    def __init__(self, manager: SessionManager, session_id: str) -> None:
        self._manager, self._session_id = manager, session_id
        self._http = aiohttp.ClientSession()

    async def say(self, line: str) -> str:
        """One turn over a WebSocket of its own."""
        credential = self._manager.credential(self._session_id)
        if credential.websocket_url is None:
            raise LookupError("the key came without an address to connect to")
        headers = {"Authorization": f"Bearer {credential.reveal()}"}
        try:
            async with self._http.ws_connect(credential.websocket_url, headers=headers) as socket:
                await socket.send_json({"type": "conversation.item.create", "item": message(line)})
                await socket.send_json({"type": "response.create", "response": {"output_modalities": ["text"]}})
                return await _answer(socket)
        except aiohttp.WSServerHandshakeError as error:
            refused = Refused(error.status)
        raise refused

    async def close(self) -> None:
        """Close the HTTP client."""
        await self._http.close()


async def _answer(socket: aiohttp.ClientWebSocketResponse) -> str:
    while True:
        event = await socket.receive_json()
        if event["type"] == "response.output_text.done":
            return str(event["text"])
        if event["type"] == "error":
            raise RuntimeError(event["error"]["message"])


class OpenAIClient:
    """The official client, which asks for the current key by itself whenever it connects."""

    name = "openai"

    def __init__(self, key: str | Callable[[], Awaitable[str]], base_url: str) -> None:
        from openai import AsyncOpenAI  # noqa: PLC0415 - takes most of a second, and need not be installed

        self._client: AsyncOpenAI = AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0)

    async def say(self, line: str) -> str:
        """One turn over a WebSocket of its own."""
        from websockets.exceptions import InvalidStatus  # noqa: PLC0415 - comes with the client

        try:
            async with self._client.realtime.connect(model=MODEL) as connection:
                await connection.conversation.item.create(item=message(line))  # type: ignore[arg-type]  # one for both
                await connection.response.create(response={"output_modalities": ["text"]})
                async for event in connection:
                    if event.type == "response.output_text.done":
                        return event.text
                    if event.type == "error":
                        raise RuntimeError(event.error.message)
        except InvalidStatus as error:
            refused = Refused(error.response.status_code)
        else:
            raise RuntimeError("the call was closed before the answer")
        raise refused

    async def close(self) -> None:
        """Close the HTTP client."""
        await self._client.close()


def openai_is_there() -> bool:
    """Whether the official client, with what it needs for realtime, can be imported."""
    return importlib.util.find_spec("openai") is not None and importlib.util.find_spec("websockets") is not None


async def warm_up(key: str, base_url: str) -> None:
    """Hold one turn with the official client: it goes on importing until its first answer.

    On a slow machine that takes seconds, in which the event loop stands still and keys lapse. So it comes before the
    first session.
    """
    client = OpenAIClient(key, base_url)
    try:
        await client.say("Is this line open?")
    finally:
        await client.close()


class Caller:
    """Somebody who talks in one session, line after line, until hushed."""

    def __init__(
        self,
        who: str,
        session_id: str,
        client: Client,
        *,
        manager: SessionManager,
        transcripts: Transcripts,
        now: Callable[[], float],
        heard: Callable[[Said], None],
        stored: Callable[[str, Turn], None],
        lines: Iterable[str] = LINES,
    ) -> None:
        self.who = who
        self.client = client
        self._session_id = session_id
        self._manager = manager
        self._transcripts = transcripts
        self._now = now
        self._heard = heard
        self._stored = stored
        self._lines = cycle(lines)
        self._hushed = asyncio.Event()

    def hush(self) -> None:
        """Say nothing more; a turn under way is finished."""
        self._hushed.set()

    async def talk(self) -> None:
        """Talk until hushed."""
        try:
            while not self._hushed.is_set():
                await self._turn(next(self._lines))
                with suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE):
                        await self._hushed.wait()
        finally:
            await self.client.close()

    async def _turn(self, line: str) -> None:
        at = self._now()
        self._manager.reset_inactivity_timer(self._session_id)
        self._keep("user", line)
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self.client.say(line)
        except Refused as refused:
            outcome = PROVIDER_DOWN if refused.status == DOWN else str(refused)
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        else:
            self._keep("assistant", answer)
            outcome = ANSWERED
        self._heard(Said(at=at, who=self.who, client=self.client.name, outcome=outcome))

    def _keep(self, role: Role, line: str) -> None:
        turn = self._transcripts.add(self._session_id, role, line)
        if turn is not None:
            self._stored(self.who, turn)
