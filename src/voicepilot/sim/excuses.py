"""What may cost a session its key: disturbances as they came, and how long one may last before it costs anything.

A gap without a valid key is excused only by a disturbance that lasted longer than the margin allows. How long that is
follows from who may ask when. A session is never told to wait for more than half of what is left of its key; one that
cannot wait for the end of a break, or for somebody else's probe, probes a little later. Or it need not probe: the last
break that can have begun while the disturbance lasted is over before the margin is.
"""

from __future__ import annotations

import msgspec

from voicepilot.recovery.breaker import PROBE_WAIT
from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.sim.faults import HARMLESS, SLOW_TO_SHOW, Spell, Trouble

APART = 90.0
"""Seconds of quiet after which one disturbance is over: more than the longest break, with its spread."""

SPREAD = 1.25
"""How much longer than the break a refused attempt waits at most."""

ANSWER = 3.5
"""Seconds that asking again, and the slowest answer of a calm day, take."""

PROBE = PROBE_WAIT * SPREAD
"""Seconds until whoever cannot wait for somebody else's probe may probe beside it, or asks again."""

TAILS = {Trouble.HANG: 10.0, Trouble.LATE: 20.0, Trouble.SLOW: 10.0}
"""Seconds for which requests that met the trouble go on taking up room after it is over."""


class Run(msgspec.Struct):
    """A stretch in which something was wrong, short pauses included."""

    begins: float
    ends: float
    hidden: bool = False  # some of it showed only in the time that attempts took
    crowded: bool = False  # the provider asked to be left alone, so that nobody may probe before the end of a break
    only: Trouble | None = None  # the one trouble it was made of


class Disturbances:
    """Everything that was wrong, merged into runs, in order."""

    def __init__(self, spells: tuple[Spell, ...]) -> None:
        self.runs: list[Run] = []
        for spell in spells:
            if spell.trouble not in HARMLESS and spell.trouble is not Trouble.SUSPEND:
                self._add(spell)
        self.sleeps: list[tuple[float, float]] = []

    def slept(self, begins: float, ends: float) -> None:
        """The machine was suspended."""
        self.sleeps.append((begins, ends))

    def _add(self, spell: Spell) -> None:
        trouble, asked = spell.trouble, spell.retry_after
        ends = spell.ends + max(TAILS.get(trouble, 0.0), asked or 0.0)
        hidden, crowded = trouble in SLOW_TO_SHOW, trouble is Trouble.RATE_LIMIT or asked is not None
        last = self.runs[-1] if self.runs else None
        if last is None or spell.begins > last.ends + APART:
            self.runs.append(Run(spell.begins, ends, hidden=hidden, crowded=crowded, only=trouble))
            return
        last.ends = max(last.ends, ends)
        last.hidden = last.hidden or hidden
        last.crowded = last.crowded or crowded
        last.only = trouble if trouble is last.only else None

    def between(self, begins: float, ends: float) -> list[Run]:
        """The runs that touch the stretch, with what they leave behind."""
        return [run for run in self.runs if run.begins <= ends and run.ends + APART >= begins]

    def slept_between(self, begins: float, ends: float) -> bool:
        """Whether the machine slept in the stretch."""
        return any(down < ends and begins < up for down, up in reversed(self.sleeps))

    def asleep_for(self, begins: float, ends: float) -> float:
        """Seconds of the stretch that the machine slept."""
        return sum(max(0.0, min(up, ends) - max(down, begins)) for down, up in self.sleeps)

    def latest(self, at: float, slack: float = 1.0, look_again: float = 5.0) -> float:
        """By when something that is due `at` must be noticed: `slack` later, or soon after the machine woke."""
        if not any(down <= at + slack and up >= at - look_again for down, up in self.sleeps):
            return at + slack
        latest = at + look_again + slack
        for down, up in self.sleeps:
            if down <= latest and up > at:
                latest += up - max(down, at)
        return latest


def harmless(
    margin: float, breaker: BreakerOptions, cool_down: float, *, hidden: bool = False, crowded: bool = False
) -> float:
    """Seconds that a disturbance may last without a session whose margin is `margin` losing its key.

    `hidden`: it shows only after an attempt has used up half of what was left of the key. `crowded`: nobody probes
    before the end of a break.
    """
    left = margin - ANSWER - (max(2.0, margin / 2) if hidden else 0.0)
    allowed, rested, pause = 0.0, 0.0, breaker.first_break
    while rested + pause * SPREAD <= left:
        rested += pause
        allowed = rested
        pause = min(pause * breaker.growth, max(cool_down, breaker.first_break))
    if hidden or crowded or breaker.urgent_break is None:
        return allowed
    return max(allowed, margin - 2 * (max(PROBE, breaker.urgent_break) + ANSWER))
