"""Conversation: what applications talk through. It outlives the connections it runs over."""

from __future__ import annotations

import asyncio
import base64
import binascii
import copy
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, Self

from voicepilot.conversation.driver import Driver, Summariser
from voicepilot.conversation.events import ServerEvent
from voicepilot.conversation.happenings import ConversationEnded, Happening, InputDropped, LimitWarning
from voicepilot.conversation.inputs import CloseAsked, ConnectAsked
from voicepilot.conversation.options import ConversationConfig
from voicepilot.conversation.ports import Dialler
from voicepilot.conversation.resources import (
    ConversationResource,
    InputAudioBufferResource,
    ResponseResource,
    SessionResource,
)
from voicepilot.conversation.state import Json, Phase
from voicepilot.errors import (
    ConfigurationError,
    ConversationClosedError,
    ConversationFullError,
    ConversationLostError,
    Fault,
    SessionError,
)
from voicepilot.ports import Disposable, ManagedSession, Usage


class Modelled(Protocol):
    """An event of the official client, or any other pydantic model."""

    def model_dump(self, *, exclude_unset: bool) -> dict[str, Any]:
        """Its fields."""
        ...


ClientEvent = Mapping[str, Any] | Modelled
"""What `send` takes: the event as a mapping, or as the official client's type."""


class Conversation:
    """A realtime conversation of one session, made by `manager.connect`.

    `async with manager.connect(session_id) as conversation:` opens it, `async for event in conversation:` reads it.
    The stream has the provider's events in order (`ServerEvent`) and, among them, what happens to the conversation
    itself (`Happening`): handovers, reconnections, what was lost. It ends with `ConversationEnded`.
    """

    def __init__(
        self,
        session: ManagedSession,
        dialler: Dialler,
        config: ConversationConfig,
        options: Mapping[str, Any],
        *,
        model: str | None = None,
        url: str | None = None,
        summarise: Summariser | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self._session = session
        self._events: deque[Json | Happening] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._begun: asyncio.Future[None] | None = None
        self._attached: Disposable | None = None
        self._over = False
        self._fault: Fault | None = None
        self._most = config.max_event_backlog
        self._driver = Driver(
            session,
            dialler,
            config,
            dict(options),
            deliver=self.tell,
            begun=self._go,
            finish=self._finish,
            model=model,
            url=url,
            summarise=summarise,
            logger=logger,
        )

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the first connection.

        Raises ConversationLostError when none can be had (`error.fault` says why), or SessionError when the session
        is not running or has a conversation already, or when this one is over.
        """
        if self._over:
            raise self._closed()
        self._attached = self._session.attach(self._end, self._warn)
        self._begun = asyncio.get_running_loop().create_future()
        try:
            self._driver.apply(ConnectAsked())
            await self._begun
            self._check_open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the conversation; the session lives on. Idempotent."""
        try:
            await self._end("closed")
        finally:
            if self._attached is not None:
                self._attached.dispose()

    def _warn(self, limit: str, used: float, allowed: float) -> None:
        if not self._over:
            self.tell(LimitWarning(at=self._session.now(), limit=limit, used=used, allowed=allowed))

    async def _end(self, reason: str) -> None:
        self._driver.apply(CloseAsked(reason))
        await self._driver.until_closed()

    # --- what is said -----------------------------------------------------------------------------------------------

    async def send(self, event: ClientEvent) -> None:
        """Send any client event (realtime-wire.md D1), as a mapping or as the official client's type.

        While there is no connection it waits in the conversation, and is sent once the next one is configured and
        knows what was said before. Returns when it is written or kept. Raises ConversationClosedError once it is over,
        ConfigurationError for what is no event, and ConversationFullError when no more text can wait.
        """
        self._check_open()
        if not isinstance(event, Mapping):
            event = event.model_dump(exclude_unset=True)
        event = _checked(event)
        if not self._driver.state.journal.has_room() and event["type"] != "input_audio_buffer.append":
            raise ConversationFullError("too much input waits for a connection", session_id=self.session_id)
        await self._driver.say(event)

    async def update(self, **session: Any) -> None:
        """Change the session's options (`session.update`); the next connections get them too."""
        kind = {"type": "realtime"} if self._driver.state.is_typed() else {}
        await self.send({"type": "session.update", "session": {**kind, **session}})

    async def say(self, text: str, *, respond: bool = True) -> None:
        """Say something in writing as the user and, unless told otherwise, ask for an answer."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send({"type": "conversation.item.create", "item": item})
        if respond:
            await self.create_response()

    async def append_audio(self, audio: bytes | str) -> None:
        """Add to what the user says aloud: bytes in the session's input format, or the same in base64."""
        data = audio if isinstance(audio, str) else base64.b64encode(audio).decode()
        await self.send({"type": "input_audio_buffer.append", "audio": data})

    async def commit(self) -> None:
        """The user's turn is over, where no turn detection says so; there is no answer before `create_response`."""
        await self.send({"type": "input_audio_buffer.commit"})

    async def clear(self) -> None:
        """Forget the audio that was not committed."""
        await self.send({"type": "input_audio_buffer.clear"})

    async def create_response(self, **response: Any) -> None:
        """Ask for an answer, with options for this one (`response.create`)."""
        await self.send({"type": "response.create", **({"response": response} if response else {})})

    async def cancel(self, response_id: str | None = None) -> None:
        """Stop the answer under way."""
        which = {} if response_id is None else {"response_id": response_id}
        await self.send({"type": "response.cancel", **which})

    @property
    def session(self) -> SessionResource:
        """`session.update`, as the official client spells it."""
        return SessionResource(self.send)

    @property
    def response(self) -> ResponseResource:
        """`response.create` and `cancel`."""
        return ResponseResource(self.send)

    @property
    def input_audio_buffer(self) -> InputAudioBufferResource:
        """`input_audio_buffer.append`, `commit` and `clear`."""
        return InputAudioBufferResource(self.send)

    @property
    def conversation(self) -> ConversationResource:
        """`conversation.item.create`, `delete`, `retrieve` and `truncate`."""
        return ConversationResource(self.send)

    def _check_open(self) -> None:
        if self._begun is None:
            raise ConversationClosedError("the conversation is not open: use `async with`", session_id=self.session_id)
        if self._over:
            raise self._closed()

    # --- what is heard ----------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[ServerEvent | Happening]:
        return self

    async def __anext__(self) -> ServerEvent | Happening:
        while not self._events:
            if self._over:
                if self._fault is not None:
                    raise self._lost(self._fault)
                raise StopAsyncIteration
            self._check_open()
            if self._reader is None or self._reader.done():
                self._reader = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._reader)
        event = self._events.popleft()
        if self._driver.is_held and len(self._events) <= self._most // 2:
            self._driver.go_on()
        return event if isinstance(event, Happening) else ServerEvent(event)

    async def recv(self) -> ServerEvent | Happening:
        """The next event. Raises ConversationClosedError after the last one, ConversationLostError if it was lost."""
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise self._closed() from None

    def tell(self, event: Json | Happening) -> None:
        """Put something into the stream; pieces of lost audio that follow each other become one."""
        last = self._events[-1] if self._events else None
        if isinstance(event, InputDropped) and isinstance(last, InputDropped) and last.end == event.start:
            self._events[-1] = InputDropped(at=event.at, start=last.start, end=event.end)
            return
        self._events.append(event)
        if len(self._events) >= self._most:
            self._driver.hold()
        self._wake_reader()

    def _go(self) -> None:
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _finish(self, reason: str, fault: Fault | None) -> None:
        used = self._driver.state.used
        self._events.append(ConversationEnded(at=self._session.now(), reason=reason, usage=used))
        self._over, self._fault = True, fault
        self._driver.go_on()
        self._wake_reader()
        self._go()

    # --- questions --------------------------------------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """Which session it belongs to."""
        return self._session.session_id

    @property
    def phase(self) -> Phase:
        """Where it is: live, preparing a handover, connecting after a fall, and so on."""
        return self._driver.state.phase

    @property
    def usage(self) -> Usage:
        """What was used so far, on all its connections."""
        return self._driver.state.used

    @property
    def connections(self) -> int:
        """How many connections have carried it so far."""
        return self._driver.state.connected

    def __repr__(self) -> str:
        return f"Conversation(session_id={self.session_id!r}, phase={self.phase.value!r})"

    def _lost(self, fault: Fault) -> ConversationLostError:
        return ConversationLostError(fault, session_id=self.session_id)

    def _closed(self) -> SessionError:
        if self._fault is not None:
            return self._lost(self._fault)
        return ConversationClosedError("the conversation is over", session_id=self.session_id)


def _checked(event: Mapping[str, Any]) -> Json:
    kind = event.get("type")
    if not isinstance(kind, str):
        raise ConfigurationError("type: an event needs one, such as 'response.create'", field="type")
    if kind == "input_audio_buffer.append" and not _is_base64(event.get("audio")):
        raise ConfigurationError("audio: must be a text in base64; append_audio() takes bytes", field="audio")
    if kind == "conversation.item.create" and not isinstance(event.get("item"), Mapping):
        raise ConfigurationError("item: conversation.item.create needs one", field="item")
    if kind == "session.update" and not isinstance(event.get("session"), Mapping):
        raise ConfigurationError("session: session.update needs one", field="session")
    # It may be sent late, or again, and the application may use the object again; audio is a text, and frequent.
    return dict(event) if kind == "input_audio_buffer.append" else copy.deepcopy(dict(event))


def _is_base64(audio: object) -> bool:
    try:
        return isinstance(audio, str) and binascii.a2b_base64(audio, strict_mode=True) is not None
    except (binascii.Error, ValueError):
        return False
