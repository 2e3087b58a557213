"""The simulated provider: answers key requests in place of HTTP, as its troubles of the moment will have it.

It stands behind the `Transport` port of the real EphemeralKeyService, and keeps the truth about every key: how long it
is really good, and whose it is.
"""

from __future__ import annotations

import asyncio
import email.utils
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from voicepilot.errors import NetworkError
from voicepilot.network.reply import Reply
from voicepilot.sim.chance import share
from voicepilot.sim.faults import MACHINE, Latency, Spell, Trouble
from voicepilot.testing.virtual import EPOCH, VirtualClock

ISSUED_AT = 0.9
"""The part of an answer's latency after which the key begins to live."""


class _Anchor(msgspec.Struct):
    seconds: float


class _Options(msgspec.Struct):
    instructions: str = ""


class _Body(msgspec.Struct):
    expires_after: _Anchor
    session: _Options


class Issued(msgspec.Struct, frozen=True):
    """The truth about a key."""

    caller: str
    issued_at: float
    valid_until: float


class Asked(msgspec.Struct, frozen=True):
    """A key request as it met the provider."""

    at: float
    caller: str
    number: int  # of this caller's, from 1
    outcome: str  # key, or the trouble it met
    retry_after: float | None = None
    latency: float = 0.0  # seconds until it is answered, if it is


class SimulatedProvider:
    """A `credentials.Transport`. `heard` is called for each request once its outcome is known."""

    def __init__(
        self,
        spells: tuple[Spell, ...],
        latency: Latency,
        seed: int,
        clock: VirtualClock,
    ) -> None:
        self.keys: dict[str, Issued] = {}
        self.heard: Callable[[Asked], None] = lambda _: None
        self._spells = tuple(spell for spell in spells if spell.trouble not in MACHINE)
        self._next = 0  # the first spell that has not begun
        self._present: list[Spell] = []
        self._latency = latency
        self._seed = seed
        self._clock = clock
        self._numbers: Counter[str] = Counter()
        self._served: Counter[int] = Counter()  # in this second, for the rate limit
        self._last: dict[str, str] = {}  # each caller's newest key

    def forget(self, caller: str) -> None:
        """The caller is gone, and its keys are nobody's business any more."""
        self._numbers.pop(caller, None)
        self._last.pop(caller, None)

    async def close(self) -> None:
        """Nothing to close."""

    def _now(self) -> float:
        return self._clock.now() - EPOCH

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer, or fail to."""
        asked = msgspec.json.decode(body, type=_Body)
        caller, at = asked.session.instructions, self._now()
        self._numbers[caller] += 1
        number = self._numbers[caller]
        spells = [spell for spell in self._spells_at(at) if self._meets(spell, caller, number)]
        met = {spell.trouble: spell for spell in spells}
        latency = self._latency.at(share(self._seed, "latency", caller, number))
        if slow := met.get(Trouble.SLOW):
            latency *= slow.factor
        outcome, spell = self._outcome(met, at)
        self.heard(Asked(at, caller, number, outcome, spell.retry_after if spell else None, latency))
        return await self._answered(outcome, spell, asked, _Call(caller, number, latency, met))

    # --- what it meets ----------------------------------------------------------------------------------------------

    def _spells_at(self, at: float) -> list[Spell]:
        while self._next < len(self._spells) and self._spells[self._next].begins <= at:
            self._present.append(self._spells[self._next])
            self._next += 1
        self._present = [spell for spell in self._present if spell.ends > at]
        return self._present

    def _meets(self, spell: Spell, caller: str, number: int) -> bool:
        return spell.share >= 1 or share(self._seed, spell.trouble, spell.begins, caller, number) < spell.share

    def _outcome(self, met: Mapping[Trouble, Spell], at: float) -> tuple[str, Spell | None]:
        for trouble in _FATAL:
            spell = met.get(trouble)
            if spell and (trouble is not Trouble.RATE_LIMIT or not self._room(at, spell.per_second or 0.0)):
                return trouble.value, spell
        return "key", None

    def _room(self, at: float, per_second: float) -> bool:
        """Whether one more is served, counted over windows long enough to hold one."""
        window = max(1.0, 1.0 / per_second) if per_second else 0.0
        if not window:
            return False
        slot = int(at / window)
        if self._served[slot] >= per_second * window:
            return False
        if slot not in self._served:
            self._served.clear()
        self._served[slot] += 1
        return True

    # --- what it answers --------------------------------------------------------------------------------------------

    async def _answered(self, outcome: str, spell: Spell | None, asked: _Body, call: _Call) -> Reply:
        match outcome:
            case Trouble.OUTAGE:
                await asyncio.sleep(min(call.latency, 0.1))
                raise NetworkError("asking the simulated provider: the connection was refused")
            case Trouble.HANG:
                await asyncio.get_running_loop().create_future()
            case Trouble.LATE:
                await _whatever_happens(12.0 + call.latency)
                return self._key(asked, call)
        await asyncio.sleep(call.latency * ISSUED_AT)
        if outcome == "key":
            reply = self._repeated(call) or self._key(asked, call)
            await asyncio.sleep(call.latency * (1 - ISSUED_AT))
            return reply
        await asyncio.sleep(call.latency * (1 - ISSUED_AT))
        return self._refusal(outcome, spell, call)

    def _key(self, asked: _Body, call: _Call) -> Reply:
        now, short = self._now(), call.met.get(Trouble.SHORT_KEYS)
        life = short.factor if short else asked.expires_after.seconds
        # The provider's clock shows whole seconds, and so does the life that follows from it.
        ahead = self._ahead(call)
        expires_at = int(now + ahead + life)
        value = f"ek_sim_{call.caller}_{call.number}".replace(" ", "_")
        self.keys[value] = Issued(call.caller, now, now + life)
        self._last[call.caller] = value
        return self._said(200, {"value": value, "expires_at": int(EPOCH) + expires_at}, call)

    def _repeated(self, call: _Call) -> Reply | None:
        value = self._last.get(call.caller) if Trouble.REPEAT in call.met else None
        if value is None or value not in self.keys:
            return None
        expires_at = int(self.keys[value].valid_until + self._ahead(call))
        return self._said(200, {"value": value, "expires_at": int(EPOCH) + expires_at}, call)

    def _refusal(self, outcome: str, spell: Spell | None, call: _Call) -> Reply:
        if outcome == Trouble.GARBLED:
            return self._said(200, {"expires_at": None}, call)
        if outcome == Trouble.RATE_LIMIT:
            seconds = spell.retry_after if spell and spell.retry_after is not None else 1.0
            return self._said(429, {"error": {"code": "rate_limit_exceeded"}}, call, retry_after=seconds)
        status = 401 if outcome == Trouble.REFUSED else 500 if call.number % 2 else 503
        return self._said(status, {"error": {"message": "simulated"}}, call)

    def _ahead(self, call: _Call) -> float:
        skew = call.met.get(Trouble.SKEW)
        return skew.factor if skew else 0.0

    def _said(self, status: int, body: object, call: _Call, *, retry_after: float | None = None) -> Reply:
        now = self._clock.now()
        headers = {
            "content-type": "application/json",
            "date": email.utils.formatdate(int(now + self._ahead(call)), usegmt=True),
        }
        if retry_after is not None:
            headers["retry-after"] = f"{retry_after:g}"
        return Reply(status, headers, msgspec.json.encode(body), self._clock.wall())


class _Call(msgspec.Struct, frozen=True):
    caller: str
    number: int
    latency: float
    met: Mapping[Trouble, Spell]


_FATAL = (
    Trouble.OUTAGE,
    Trouble.HANG,
    Trouble.LATE,
    Trouble.RATE_LIMIT,
    Trouble.ERRORS,
    Trouble.REFUSED,
    Trouble.GARBLED,
)
"""What keeps a request from its key, the first that is there."""


async def _whatever_happens(seconds: float) -> None:
    """Wait, and swallow every cancellation, as badly written HTTP stacks do."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)
