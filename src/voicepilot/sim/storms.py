"""What many sessions do together: how often they ask in a storm of 429, and whether they come back as a herd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from voicepilot.recovery import BreakerOptions, Circuit, CircuitMoved
from voicepilot.sim.excuses import Run
from voicepilot.sim.faults import Trouble
from voicepilot.sim.provider import Asked

PER_KEY = 1.2
"""Requests for each key that a storm may cost."""

STORMY = 20
"""Requests below which there is no storm: so few tell a breaker nothing."""

CROWD = 10.0
"""Sessions for each second of the spread that make a herd; below, chance alone makes seconds three times as busy."""


class Storm(msgspec.Struct):
    """What was asked in one storm of 429."""

    run: Run
    asked: int = 0
    keys: int = 0
    probes: int = 0  # one for each break that ended within it
    surprises: int = 0  # times a closed circuit had to open: what was under way then could not know

    @property
    def was_one(self) -> bool:
        """Whether more was asked than a provider serves that is a little busy."""
        return self.asked >= STORMY and (self.surprises > 0 or self.keys < self.asked / 2)

    def allowed(self, breaker: BreakerOptions, under_way: int) -> float:
        """Requests that it may cost: for its keys, a probe for each break, and what was under way when it came."""
        probes = min(self.probes, 1 + int((self.run.ends - self.run.begins) / breaker.first_break))
        return PER_KEY * self.keys + probes + under_way + (breaker.failures_in_a_row or STORMY)


class Storms:
    """Counts requests and circuits by the storm they fall into."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.storms = [Storm(run) for run in runs if run.only is Trouble.RATE_LIMIT]
        self._next = 0

    def asked(self, asked: Asked) -> None:
        """Count a request."""
        storm = self._at(asked.at)
        if storm is not None:
            storm.asked += 1
            storm.keys += asked.outcome == "key"

    def moved(self, at: float, news: CircuitMoved) -> None:
        """Count a probe, or that a closed circuit opened."""
        storm = self._at(at)
        if storm is not None:
            storm.probes += news.now is Circuit.HALF_OPEN
            storm.surprises += news.was is Circuit.CLOSED

    def _at(self, at: float) -> Storm | None:
        while self._next < len(self.storms) and self.storms[self._next].run.ends < at:
            self._next += 1
        storm = self.storms[self._next] if self._next < len(self.storms) else None
        return storm if storm is not None and storm.run.begins <= at else None


def highest(per_second: Counter[int], begins: float, ends: float) -> tuple[int, int]:
    """The busiest whole second in the stretch, and what it saw."""
    return max(
        ((count, second) for second, count in per_second.items() if begins <= second < ends), default=(0, int(begins))
    )[::-1]
