"""What goes wrong, and when, as data: kinds of trouble, how often they come, and the spells drawn from a seed."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from voicepilot.sim.chance import Dice


class Trouble(StrEnum):
    """What can go wrong around sessions. The provider's first, then the machine's."""

    OUTAGE = "outage"  # connections are refused
    ERRORS = "errors"  # 500 and 503
    RATE_LIMIT = "rate-limit"  # 429 with Retry-After, to all or above so many a second
    HANG = "hang"  # no answer
    SLOW = "slow"  # answers take `factor` times as long
    LATE = "late"  # the answer comes when nobody waits for it any more, whoever cancels the request
    REPEAT = "repeat"  # the key that was given before is given again
    GARBLED = "garbled"  # 200 without a usable key
    REFUSED = "refused"  # 401
    SHORT_KEYS = "short-keys"  # keys live `factor` seconds, whatever was asked for
    SKEW = "skew"  # the provider's clock is `factor` seconds ahead
    SUSPEND = "suspend"  # the lid is closed: time passes and no timer runs
    WALL_JUMP = "wall-jump"  # the wall clock is `factor` seconds ahead of true time


MACHINE = frozenset({Trouble.SUSPEND, Trouble.WALL_JUMP})
HARMLESS = frozenset({Trouble.SKEW, Trouble.WALL_JUMP, Trouble.SHORT_KEYS})
"""These must cost no session its key."""

SLOW_TO_SHOW = frozenset({Trouble.HANG, Trouble.SLOW, Trouble.LATE})
"""That these are there shows only when an attempt has taken its time."""


class Spell(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time with one trouble. Seconds since the world began, on true time."""

    trouble: Trouble
    begins: float
    ends: float
    share: float = 1.0  # of the requests that meet it
    retry_after: float | None = None  # seconds, what a 429 asks for
    per_second: float | None = None  # rate limit: so many requests are served all the same
    factor: float = 1.0


class Episodes(msgspec.Struct, frozen=True, kw_only=True):
    """How often a trouble comes and how long it stays: spells are drawn from it."""

    trouble: Trouble
    every: tuple[float, float]  # seconds from the end of one to the beginning of the next
    lasts: tuple[float, float]  # seconds
    first: tuple[float, float] | None = None  # seconds from the beginning of the world; None: as `every`
    at_most: int | None = None
    share: tuple[float, float] = (1.0, 1.0)
    retry_after: tuple[float, float] | None = None
    per_second: float | None = None
    factor: tuple[float, float] = (1.0, 1.0)


def drawn(episodes: tuple[Episodes, ...], seconds: float, seed: int) -> tuple[Spell, ...]:
    """The spells of a world that lasts so long, in the order they begin."""
    spells = [
        spell for number, each in enumerate(episodes) for spell in _of(each, seconds, Dice(seed, "spells", number))
    ]
    return tuple(sorted(spells, key=lambda spell: (spell.begins, spell.trouble)))


def _of(each: Episodes, seconds: float, dice: Dice) -> list[Spell]:
    spells: list[Spell] = []
    begins = dice.between(each.first or each.every)
    while begins < seconds and (each.at_most is None or len(spells) < each.at_most):
        spell = Spell(
            trouble=each.trouble,
            begins=begins,
            ends=begins + dice.between(each.lasts),
            share=dice.between(each.share),
            retry_after=None if each.retry_after is None else float(round(dice.between(each.retry_after))),
            per_second=each.per_second,
            factor=dice.between(each.factor),
        )
        spells.append(spell)
        begins = spell.ends + dice.between(each.every)
    return spells


class Latency(msgspec.Struct, frozen=True):
    """How long answers take: seconds at some quantiles, straight lines between them."""

    quantiles: tuple[tuple[float, float], ...] = ((0, 0.06), (0.5, 0.14), (0.9, 0.35), (0.99, 1.2), (1, 3.0))

    def at(self, share: float) -> float:
        """The latency of that quantile."""
        below = self.quantiles[0]
        for above in self.quantiles[1:]:
            if share <= above[0]:
                width = above[0] - below[0]
                return below[1] + (above[1] - below[1]) * ((share - below[0]) / width if width else 1.0)
            below = above
        return below[1]


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """How badly the application's code behaves: which share of its calls does what. The rest is quick."""

    slow: float = 0.0  # takes 0.2 to 2 s
    hangs: float = 0.0  # never returns
    deaf: float = 0.0  # takes 3 to 30 s, and swallows its cancellation
    raises: float = 0.0
    calls_back: float = 0.0  # calls the manager from inside: renews, ends, resets

    def kind(self, share: float) -> str:
        """What a call with that draw does."""
        for name in self.__struct_fields__:
            likely: float = getattr(self, name)
            if share < likely:
                return name
            share -= likely
        return "quick"
