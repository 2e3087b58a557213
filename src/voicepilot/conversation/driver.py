"""Runs a conversation: performs what its core orders, and brings back what came of it."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet

import msgspec
from yarl import URL

from voicepilot.conversation import effects as fx
from voicepilot.conversation.faults import fault_of_close
from voicepilot.conversation.happenings import Happening
from voicepilot.conversation.inputs import (
    DialFailed,
    Dialled,
    Fell,
    Greeted,
    Heard,
    Input,
    Ponged,
    Said,
    Summarised,
    Suspended,
)
from voicepilot.conversation.lines import Line
from voicepilot.conversation.machine import step, wake, wake_at
from voicepilot.conversation.options import ConversationConfig
from voicepilot.conversation.ports import Closed, Dialler, Socket
from voicepilot.conversation.restoring import NOT_READY
from voicepilot.conversation.soundness import is_sound
from voicepilot.conversation.state import Json, Phase, State
from voicepilot.conversation.talking import DELTA
from voicepilot.errors import AttemptRefusedError, Fault, FaultDomain, SessionError, fault_of
from voicepilot.ports import ConnectionPhase, Credential, ManagedSession

NAP = 5.0
"""Seconds the timer waits at most, so that a machine that slept notices soon."""

SUMMARY_LIMIT = 20.0
"""Seconds that a summary may take."""

TALK = (Heard, Said)
"""What is heard or said: dozens of times in a second."""

Summariser = Callable[[tuple[Json, ...]], Awaitable[str]]
Deliver = Callable[[Json | Happening], None]

_decoder = msgspec.json.Decoder(dict[str, Any])


class Driver:
    """One conversation, its connections and its timer.

    `deliver` gets the stream; `begun` and `finish` hear of its beginning and end.
    """

    def __init__(
        self,
        session: ManagedSession,
        dialler: Dialler,
        config: ConversationConfig,
        options: Json,
        *,
        deliver: Deliver,
        begun: Callable[[], None],
        finish: Callable[[str, Fault | None], None],
        model: str | None = None,
        url: str | None = None,
        summarise: Summariser | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        name = f"{zlib.crc32(f'{session.session_id}/{session.now()}'.encode()):08x}"
        self.state = State(config, options, name)
        self._session = session
        self._dialler = dialler
        self._deliver = deliver
        self._begun = begun
        self._finish = finish
        self._model = model
        self._url = url
        self._summarise = summarise
        self._logger = logger or logging.getLogger("voicepilot")
        self._lines: dict[int, Line] = {}
        self._inbox: list[Input] = []
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._hooks: list[Callable[[], Awaitable[None]]] = []
        self._calling = False
        self._room: asyncio.Event | None = None  # awaited while the reader of the stream does not keep up
        self._full: set[int] = set()  # the connections that are not read because he does not
        self._closing: set[asyncio.Task[None]] = set()
        self._summaries: WeakSet[asyncio.Task[None]] = WeakSet()  # whoever spawns them keeps them alive

    # --- inputs -----------------------------------------------------------------------------------------------------

    def apply(self, given: Input) -> None:
        """Let `given` happen; what it causes by itself queues behind it."""
        self._inbox.append(given)
        if not self._busy:
            self._work_off()

    def _work_off(self) -> None:
        self._busy = True
        try:
            while self._inbox:
                given, before = self._inbox.pop(0), self.state.phase
                self._perform_all(step(self.state, given, self._session.now()))
                # What is heard or said on a live connection only ever moves the next deadline away.
                if before is not self.state.phase or not isinstance(given, TALK):
                    self._set_timer()
        finally:
            self._busy = False

    async def say(self, event: Json) -> None:
        """Let the client say `event`, and wait until it is written, or kept for the next connection."""
        line = self._lines.get(self.state.active.number) if self.state.active else None
        if line is None:
            self.apply(Said(event))
            return
        await line.written(partial(self.apply, Said(event)))

    # --- time -------------------------------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        at = wake_at(self.state) if self.state.phase is not Phase.OVER else None
        if at is None:
            self._drop_timer()
            return
        now, loop = self._session.now(), asyncio.get_running_loop()
        due = loop.time() + min(max(0.0, at - now), NAP)
        if self._timer is None or due < self._timer_at:
            self._drop_timer()
            self._timer, self._timer_at = loop.call_at(due, self._wake), due

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        for number in self._excused():
            self.apply(Ponged(number, excused=True))
        self._busy = True
        try:
            self._perform_all(wake(self.state, self._session.now()))
        finally:
            self._busy = False
        self._work_off()
        self._set_timer()

    def _excused(self) -> list[int]:
        """The connections that are silent because nobody reads them, or because a long frame is still on its way."""
        return [number for number, line in self._lines.items() if line.is_taking() or number in self._full]

    # --- effects ----------------------------------------------------------------------------------------------------

    def _perform_all(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.Yield):  # half of them, and what there is most of should cost least
                self._yield(effect.event)
            else:
                self._perform(effect)

    def _yield(self, event: Json | Happening) -> None:
        if not isinstance(event, Happening) and not event["type"].endswith(DELTA):  # words are kept once all are there
            self._session.hear(event)
        self._deliver(event)

    def _perform(self, effect: fx.Effect) -> None:  # noqa: C901, PLR0912 - one case for each effect
        match effect:
            case fx.NoteActivity():
                self._session.note_activity()
            case fx.Send(number, event):
                if (line := self._lines.get(number)) is not None:
                    line.put(event)
            case fx.Count(usage):
                self._session.report_usage(usage)
            case fx.Dial(number, limit):
                line = self._lines[number] = Line(self._session.spawn)
                line.task = self._session.spawn(self._hold(number, line, limit), "voicepilot-connection")
            case fx.Ping(number):
                self._session.spawn(self._ping(self._lines[number]), "voicepilot-ping")
            case fx.HangUp(number):
                self._hang_up(number, self._lines.pop(number, None))
            case fx.Report(phase, status, fault):
                self._session.report(phase, status, fault)
                if phase is ConnectionPhase.LIVE:
                    self._begun()
            case fx.Suspend(reason, answer):
                self._call(partial(self._suspend, reason, answer=answer))
            case fx.Resume():
                self._call(self._session.resumed)
            case fx.ForgetUtterance(item_id):
                self._session.forget(item_id)
            case fx.Summarise(items) if self._summarise is not None:
                work = self._sum_up(self._summarise, items)
                self._summaries.add(self._session.spawn(work, "voicepilot-summary"))
            case fx.Finish(reason, fault):
                self._drop_timer()
                self._hooks.clear()
                for summary in tuple(self._summaries):
                    summary.cancel()
                finish = self._finish
                self._deliver = self._begun = self._finish = _nobody  # so that no cycle keeps the two alive
                finish(reason, fault)

    # --- connections ------------------------------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Whether nothing is read."""
        return self._room is not None

    def hold(self) -> None:
        """Read nothing more for now: the reader of the stream does not keep up."""
        self._room = self._room or asyncio.Event()

    def go_on(self) -> None:
        """Read again."""
        room, self._room = self._room, None
        if room is not None:
            room.set()

    async def _hold(self, number: int, line: Line, limit: float) -> None:
        """Open a connection, and read it until it is over."""
        try:
            socket = await self._dial(limit)
        except Exception as error:
            self.apply(DialFailed(number, _fault_of(error)))
            return
        line.open(socket, self._session.now())
        if line.hung_up:  # while it was dialled
            await socket.close()
            return
        try:
            self.apply(Dialled(number))
            await self._read(number, socket)
        finally:
            if not line.hung_up:  # else whoever did closes it
                await socket.close()

    async def _dial(self, limit: float) -> Socket:
        credential = await self._session.fresh_credential()
        url = self._address(credential)
        async with asyncio.timeout(limit):
            dial = partial(self._dialler.dial, url, credential.reveal())
            return await self._session.through_breaker(dial, endpoint=URL(url).host_port_subcomponent or url)

    def _address(self, credential: Credential) -> str:
        url = self._url or credential.websocket_url
        if url is None:
            raise SessionError(
                "the key service does not say where a realtime connection is opened",
                session_id=self._session.session_id,
                remediation="Give connect() the address: url='wss://…/realtime?model=…'.",
            )
        if self._model is None or (self._url is None and self._model == credential.model):
            return url
        address = URL(url)
        name = "deployment" if "deployment" in address.query else "model"
        return str(address.update_query({name: self._model}))

    async def _read(self, number: int, socket: Socket) -> None:
        while True:
            if self._room is not None:
                await self._until_there_is_room(number)
            message = await socket.receive()
            if isinstance(message, str):  # `case str(text)` would cost ten times as much, for each frame of sound
                self._hear(number, message)
            elif isinstance(message, Closed):
                self.apply(Fell(number, fault_of_close(message.code, message.reason)))
                return
            else:
                self.apply(Ponged(number))

    async def _until_there_is_room(self, number: int) -> None:
        """Wait for the reader of the stream, if it is his: a connection being made ready has nothing to tell him."""
        while self._room is not None and self._carries(number):
            self._full.add(number)
            try:
                await self._room.wait()
            finally:
                self._full.discard(number)

    def _carries(self, number: int) -> bool:
        return self.state.active is not None and self.state.active.number == number

    def _hear(self, number: int, text: str) -> None:
        try:
            event = _decoder.decode(text)
        except msgspec.DecodeError:
            event = {}
        if not isinstance(event.get("type"), str):
            self._logger.warning("the provider sent something that is no event to session %s", self._session.session_id)
        elif not is_sound(event):
            self._logger.warning("the provider sent an incomplete event to session %s", self._session.session_id)
            if self._carries(number):
                self._deliver(event)
        elif event["type"] == "session.created":
            self.apply(Greeted(number, event, self._life(number, event)))
        else:
            self._learn(number, event)

    def _learn(self, number: int, event: Json) -> None:
        try:
            self.apply(Heard(number, event))
        except Exception:  # a mistake of ours must not end the call: another connection starts from what is known
            self._logger.exception("%s could not be taken in for session %s", event["type"], self._session.session_id)
            self.apply(Fell(number, CONFUSED))

    def _life(self, number: int, event: Json) -> float | None:
        """Seconds until the provider ends the connection, if it says so."""
        expires_at, line = event["session"].get("expires_at"), self._lines.get(number)
        if line is None or not isinstance(expires_at, int | float):
            return None
        return line.life(expires_at, self._session.now())

    def _hang_up(self, number: int, line: Line | None) -> None:
        if line is None or line.hung_up:
            return
        line.hang_up()
        if line.task is not None and (line.socket is None or number in self._full):
            line.task.cancel()  # it dials, or waits for the reader, and would not notice
        if line.socket is not None:
            self._closing.add(task := self._session.spawn(line.socket.close(), "voicepilot-hang-up"))
            task.add_done_callback(self._closing.discard)

    async def until_closed(self) -> None:
        """Wait until every connection that was hung up is closed."""
        if self._closing:
            await asyncio.wait(self._closing)

    async def _ping(self, line: Line) -> None:
        if line.socket is not None:
            with suppress(ConnectionError):
                await line.socket.ping()

    # --- the application --------------------------------------------------------------------------------------------

    def _call(self, job: Callable[[], Awaitable[None]]) -> None:
        self._hooks.append(job)
        if not self._calling:
            self._calling = True
            self._session.spawn(self._call_all(), "voicepilot-hooks")

    async def _call_all(self) -> None:
        try:
            while self._hooks:
                await self._hooks.pop(0)()
        finally:
            self._calling = False

    async def _suspend(self, reason: str, *, answer: bool) -> None:
        await self._session.suspending(reason)
        if answer:
            self.apply(Suspended())

    async def _sum_up(self, summarise: Summariser, items: tuple[Json, ...]) -> None:
        try:
            async with asyncio.timeout(SUMMARY_LIMIT):
                text: object = await summarise(items)
        except Exception as error:  # its text may quote what was said, and so may its traceback
            self._logger.warning("the summary of session %s raised %s", self._session.session_id, type(error).__name__)
            return
        if isinstance(text, str):
            self.apply(Summarised(tuple(str(item["id"]) for item in items), text))


CONFUSED = Fault(
    code="EVENT_NOT_UNDERSTOOD",
    message="an event of the provider could not be taken in",
    remediation="The connection is replaced. Please report the logged error.",
    retryable=True,
)


def _nobody(*_: object) -> None:
    """Who is told when all is over."""


def _fault_of(error: Exception) -> Fault:
    if isinstance(error, TimeoutError):
        return NOT_READY
    if isinstance(error, AttemptRefusedError):
        return Fault(
            code=error.code,
            message=error.message,
            remediation=error.remediation,
            retryable=True,
            domain=FaultDomain.TRANSPORT,
            retry_after=error.retry_in,
        )
    return fault_of(error)
