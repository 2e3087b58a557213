"""A line to an emulated provider without a network: everything happens in memory and, if you like, in virtual time.

    line = EmulatedLine()
    socket = await line.dial(line.url, "sk-anything")

It is to a `Dialler` what the emulator is to a network: the same conversations, options, faults and record, and cuts at
exactly the event you name.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from yarl import URL

from voicepilot.conversation.faults import fault_of_refused_dial
from voicepilot.conversation.ports import Closed
from voicepilot.emulator import faults as live
from voicepilot.emulator import record
from voicepilot.emulator.admission import Admission, Admitted, TurnedAway, admit, unauthorized
from voicepilot.emulator.commits import Commits, Committed
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.http import Reply, Request
from voicepilot.emulator.ids import Ids
from voicepilot.emulator.keys import Key, Keys
from voicepilot.emulator.options import Backend, Options
from voicepilot.emulator.plan import Faults
from voicepilot.emulator.session import DEFAULT_MODEL, new_session
from voicepilot.errors import ConfigurationError, DialError, Fault, NetworkError
from voicepilot.network import reply as network
from voicepilot.ports import Clock
from voicepilot.testing.virtual import VirtualClock
from voicepilot.testing.wire import ClientEnd, Json, Terms, Wire

KEY_LIFE = 86_400.0 * 365  # seconds; whether a token is good is for `valid` to say

Matches = Callable[[Mapping[str, Any]], bool]  # Any: whatever an event holds


class _Cut(NamedTuple):
    matches: Matches
    side: Literal["before", "after"]
    of: int | None


class EmulatedLine:
    """A `Dialler` whose every socket ends in a conversation of the emulator.

    Its further keyword arguments are the fields of the emulator's `Options`. `valid` says which tokens are good (by
    default all), `latency` is how many seconds a message takes each way, and `spread` how many more at random. Its
    clock is `ahead` seconds ahead of yours. `faults` and `record` are those of the emulator.
    """

    url = "ws://line.invalid/v1/realtime?model=gpt-realtime"

    def __init__(
        self,
        options: Options | None = None,
        *,
        clock: Clock | None = None,
        valid: Callable[[str], bool] | None = None,
        latency: float = 0.0,
        spread: float = 0.0,
        ahead: float = 0.0,
        **changes: Any,  # Any: the fields of Options
    ) -> None:
        try:
            self.options = msgspec.structs.replace(options or Options(), **changes)
        except TypeError as error:
            raise ConfigurationError(f"the emulator has no such option: {error}") from error
        self.latency = latency
        self.spread = spread
        self.ahead = ahead
        self.faults = Faults(self.options.seed, self.options.time_scale)
        self.record = record.Record()
        self._clock = clock or VirtualClock()
        self._valid = valid or (lambda _: True)
        self._random = random.Random(self.options.seed)
        self._backend = Backend(
            options=self.options, keys=Keys(), faults=self.faults, record=self.record, ids=Ids(), calls={}
        )
        self._commits = Commits()
        self._terms = Terms(
            clock=self._clock.now, record=self.record, commits=self._commits, delay=self._delay, cut_at=self._cut_at
        )
        self._wires: list[Wire] = []
        self._refusals: list[Fault] = []
        self._cuts: list[_Cut] = []
        self._down_until = 0.0
        self.faults.on_live = self._strike

    # -- as a Dialler ---------------------------------------------------------------------------------------------

    async def dial(self, url: str, token: str) -> ClientEnd:
        """Open a connection. Raises DialError, for the same reasons and with the same faults as over a network."""
        await asyncio.sleep(2 * self._delay())
        asked = _request(url, token)
        if fault := self._refusal():
            self._note_refusal(asked, fault.status, fault.provider_code or fault.code)
            raise DialError(fault)
        admission = self._admission(asked)
        await asyncio.sleep(admission.delay)
        match admission:
            case Admitted():
                return self._opened(admission, asked)
            case TurnedAway():
                return self._turned_away(admission)
            case _:
                raise DialError(await self._fault_of(admission))

    async def dispose(self) -> None:
        """Cut what is open."""
        self.cut()

    # -- what goes wrong ------------------------------------------------------------------------------------------

    def refuse(self, fault: Fault, count: int = 1) -> None:
        """The next `count` dials fail with this fault. Refusals as the wire has them: `faults.refuse_connections`."""
        self._refusals.extend([fault] * count)

    def outage(self, seconds: float) -> None:
        """Cut every connection, and refuse all dials for so long."""
        self._down_until = self._clock.now() + seconds
        self.cut()

    def cut(self, *, after_events: int | None = None, of: int | None = None) -> None:
        """Cut every connection now; or one of them when the server has sent so many more events.

        With 0 the next event is lost. `of` is the number of the connection (they count from 1, as in the record); by
        default the newest that is open, or else the next.
        """
        if after_events is None:
            for wire in self._open():
                wire.end(Closed())
            return
        left = iter(range(after_events - 1, -1, -1))
        newest = next((wire.number for wire in reversed(self._wires) if not wire.over), len(self._wires) + 1)
        side: Literal["before", "after"] = "after" if after_events else "before"
        self._cuts.append(_Cut(lambda _: next(left, 0) == 0, side, of or newest))

    def cut_on(self, matches: Matches | str, *, deliver: bool = True, of: int | None = None) -> None:
        """Cut the connection, whichever it is or `of` that number, whose server sends the first event that matches.

        A text is the event's type. With `deliver=False` that event is lost as well.
        """
        found: Matches = (lambda event: bool(event["type"] == matches)) if isinstance(matches, str) else matches
        self._cuts.append(_Cut(found, "after" if deliver else "before", of))

    def freeze(self) -> None:
        """Every open connection stays open and silent from now on, pings included."""
        self.faults.freeze_sessions()

    def expire(self, *, with_event: bool = True) -> None:
        """End every open connection as its maximum duration does."""
        self.faults.expire_sessions(with_event=with_event)

    # -- what happened --------------------------------------------------------------------------------------------

    def committed_audio(self) -> list[Committed]:
        """The audio of every committed item, of all connections, in order."""
        return list(self._commits)

    def conversation(self, number: int = 0) -> Conversation:
        """The conversation of that connection (they count from 1), open or not; the last one's by default."""
        return self._wires[number - 1].conversation

    def items(self, number: int = 0) -> list[Json]:
        """The items in the conversation of that connection, in order and as on the wire; the last one's by default."""
        return self.conversation(number).history()

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._open())

    # -- inside ---------------------------------------------------------------------------------------------------

    def _strike(self, fault: live.Fault) -> None:
        for wire in self._open():
            wire.strike(fault)

    def _open(self) -> list[Wire]:
        return [wire for wire in self._wires if not wire.over]

    def _delay(self) -> float:
        return self.latency + (self._random.uniform(0.0, self.spread) if self.spread else 0.0)

    def _cut_at(self, number: int, event: Json) -> Literal["before", "after"] | None:
        for cut in self._cuts:
            if cut.of in {None, number} and cut.matches(event):
                self._cuts.remove(cut)
                return cut.side
        return None

    def _refusal(self) -> Fault | None:
        if self._clock.now() < self._down_until:
            return NetworkError("dialling: the connection was refused", code="CONNECTION_REFUSED").fault
        return self._refusals.pop(0) if self._refusals else None

    def _note_refusal(self, asked: Request, status: int | None, code: str | None) -> None:
        tag = self.record.tag(asked.credential or "")
        self.record.add(record.Refused(at=self._clock.now(), path=asked.path, status=status, credential=tag, code=code))

    def _admission(self, asked: Request) -> Admission:
        now, token = self._clock.now(), asked.credential or ""
        if not self._valid(token):
            self._note_refusal(asked, 401, "invalid_api_key")
            return unauthorized(self._backend, asked)
        if self._backend.keys.find(token, now) is None:
            session = new_session("sess_key", asked.query.get("model") or DEFAULT_MODEL)
            key = Key(value=token, session=session, valid_until=now + KEY_LIFE, provider=asked.provider)
            self._backend.keys.add(key, now)
        return admit(self._backend, asked, now)

    async def _fault_of(self, reply: Reply) -> Fault:
        if reply.mishap == "hang":
            await asyncio.get_running_loop().create_future()
        if reply.mishap == "reset":
            return NetworkError("dialling: the connection was cut before the answer", code="CONNECTION_RESET").fault
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return fault_of_refused_dial(network.Reply(reply.status, headers, reply.body, self._clock.wall()))

    def _opened(self, admitted: Admitted, asked: Request) -> ClientEnd:
        wire = Wire(len(self._wires) + 1, admitted.conversation, self._terms)
        self._wires.append(wire)
        wire.client.server_time = float(int(self._clock.now() + self.ahead))
        session = wire.conversation.session
        session["expires_at"] = int(wire.conversation.ends_at + self.ahead)
        opened = record.Opened(
            at=self._clock.now(),
            connection=wire.number,
            credential=self.record.tag(asked.credential or ""),
            session=session["id"],
            model=session["model"],
            provider=asked.provider,
        )
        self.record.add(opened)
        wire.open()
        return wire.client

    def _turned_away(self, refusal: TurnedAway) -> ClientEnd:
        client = ClientEnd(lambda _: None, lambda: None)
        event_id = self._backend.ids.make("event_", self._clock.now())
        event = {"type": "error", "event_id": event_id, "error": refusal.error}
        client.arrive(msgspec.json.encode(event).decode())
        client.arrive(Closed(refusal.code, refusal.reason))
        return client


def _request(url: str, token: str) -> Request:
    asked = URL(url)
    return Request(method="GET", path=asked.path, query=dict(asked.query), headers={"authorization": f"Bearer {token}"})
