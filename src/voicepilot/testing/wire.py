"""One connection in memory: a socket at one end, the emulator's conversation at the other, and a way in between.

There is no task in here. What is sent arrives, at once or after the latency, by callbacks of the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from voicepilot.conversation.ports import Closed, Pong
from voicepilot.emulator import record
from voicepilot.emulator.commits import Commits
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.effects import Close, Drip, Drop, Effect, Freeze, Send, SendRaw
from voicepilot.emulator.faults import Fault

WINDOW = 64  # messages on their way before the server waits for its reader
ROUNDING = 1e-6  # seconds; times since 1970 are no finer in a float

Json = dict[str, Any]  # Any: whatever an event holds
Message = str | Pong | Closed
T = TypeVar("T")


class Pipe(Generic[T]):
    """Hands things over in order, each so many seconds after it was put in."""

    def __init__(self, deliver: Callable[[T], None], delay: Callable[[], float]) -> None:
        self._deliver = deliver
        self._delay = delay
        self._things: deque[T] = deque()
        self._last = 0.0  # when the newest arrives, on the loop's clock

    def __len__(self) -> int:
        return len(self._things)

    def put(self, thing: T, *, pause: float = 0.0) -> None:
        """Send something, `pause` seconds after whatever was sent before it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._last = max(now + self._delay(), self._last) + pause
        if self._last <= now and not self._things:
            self._deliver(thing)
            return
        self._things.append(thing)
        loop.call_at(self._last, self._arrive)

    def _arrive(self) -> None:
        # Timers due at once run in any order, so each delivers the oldest and not its own.
        self._deliver(self._things.popleft())


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What all connections of a line share."""

    clock: Callable[[], float]
    record: record.Record
    commits: Commits
    delay: Callable[[], float]  # seconds that the next message takes
    cut_at: Callable[[int, Json], Literal["before", "after"] | None]  # whether this event is where the connection ends


class ClientEnd:
    """The end that a conversation holds: a `Socket`."""

    def __init__(self, up: Callable[[Message], None], taken: Callable[[], None]) -> None:
        self._up = up
        self._taken = taken
        self._inbox: deque[Message] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._end: Closed | None = None
        self.server_time: float | None = None

    @property
    def unread(self) -> int:
        """Messages that arrived and were not received."""
        return len(self._inbox)

    async def send(self, text: str) -> None:
        """Send a text frame. Raises ConnectionError once it is known here that the connection is over."""
        self._put(text)

    async def ping(self) -> None:
        """Ask whether somebody is there. Raises ConnectionError as `send` does."""
        self._put(Pong())

    async def receive(self) -> Message:
        """The next thing that arrives. One reader at a time."""
        while not self._inbox:
            if self._end is not None:
                return self._end
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._inbox.popleft()
        self._taken()
        return message

    async def close(self, code: int = 1000) -> None:
        """Close it."""
        if self._end is None:
            self._inbox.clear()
            self._finish(Closed(code))
            self._up(Closed(code))

    def arrive(self, message: Message) -> None:
        """Something came from the other end."""
        if self._end is not None:
            return
        if isinstance(message, Closed):
            self._finish(message)
            return
        self._inbox.append(message)
        self._stir()

    def _put(self, message: Message) -> None:
        if self._end is not None:
            raise ConnectionResetError("the connection is closed")
        self._up(message)

    def _finish(self, end: Closed) -> None:
        self._end = end
        self._stir()

    def _stir(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Wire:
    """A connection, seen from the server's end."""

    def __init__(self, number: int, conversation: Conversation, terms: Terms) -> None:
        self.number = number
        self.conversation = conversation
        self.over = False  # nothing is said or heard any more
        self._terms = terms
        self._up: Pipe[Message] = Pipe(self._heard, terms.delay)
        self.client = ClientEnd(self._up.put, self.pump)
        self._down: Pipe[Message] = Pipe(self.client.arrive, terms.delay)
        self._timer: asyncio.TimerHandle | None = None
        self._frozen = False
        self._drip = 0.0

    def open(self) -> None:
        """Greet the client."""
        self._hand(self.conversation.open(self._terms.clock()))
        self.pump()

    def strike(self, fault: Fault) -> None:
        """A fault befalls the session now."""
        self.conversation.strike(fault, self._terms.clock())
        self.pump()

    def end(self, closed: Closed, by: Literal["client", "server"] = "server") -> None:
        """The connection is over; the client hears of it once what is on its way has arrived."""
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        at = self._terms.clock()
        self._terms.record.add(
            record.Closed(at=at, connection=self.number, code=closed.code, reason=closed.reason, by=by)
        )
        if by == "server":
            self._down.put(closed)

    def pump(self) -> None:
        """Do what is due at the server, as far as the client takes it."""
        now = self._terms.clock()
        while self._open and self.client.unread + len(self._down) < WINDOW:
            at = self.conversation.wake_at()
            if at is None or at > now + ROUNDING:
                self._sleep(at)
                return
            self._hand(self.conversation.wake(max(at, now)))

    @property
    def _open(self) -> bool:
        return not self.over and not self._frozen

    def _sleep(self, until: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if until is not None:
            seconds = max(0.0, until - self._terms.clock())
            self._timer = asyncio.get_running_loop().call_later(seconds, self.pump)

    def _heard(self, message: Message) -> None:
        if isinstance(message, Closed):
            self.end(message, by="client")
        elif not self._open:
            return
        elif isinstance(message, Pong):
            self._down.put(message)
        else:
            self.pump()
            self._listen(message)
            self.pump()

    def _listen(self, text: str) -> None:
        now = self._terms.clock()
        self._terms.record.frame(now, self.number, "in", _shown(text))
        self._hand(self.conversation.receive(text, now))

    def _hand(self, effects: list[Effect]) -> None:
        self._terms.commits.note(self.number, self.conversation, effects)
        self._perform_all(effects)

    def _perform_all(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if not self._open:
                return
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(event):
                self._say_or_cut(event)
            case SendRaw(text):
                self._down.put(text, pause=self._drip)
            case Close(code, reason):
                self.end(Closed(code, reason))
            case Drop():
                self.end(Closed())
            case Drip(seconds):
                self._drip = seconds
            case Freeze():
                self._frozen = True

    def _say_or_cut(self, event: Json) -> None:
        cut = self._terms.cut_at(self.number, event)
        if cut != "before":
            self._terms.record.frame(self._terms.clock(), self.number, "out", event)
            self._down.put(msgspec.json.encode(event).decode(), pause=self._drip)
        if cut is not None:
            self.end(Closed())


def _shown(text: str) -> Json:
    try:
        event = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return event if isinstance(event, dict) else {}
