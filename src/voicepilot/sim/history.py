"""What happened, as it happened: a digest of every event, counts, and a timeline for the picture."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import msgspec

from voicepilot.events import Event, RenewalCompleted, RenewalFailed, SessionEnded, SessionErrorEvent, StateChanged
from voicepilot.sim.provider import Asked
from voicepilot.testing.virtual import EPOCH

COLUMNS = 240
"""Columns of the timeline."""

SAMPLES = 100_000
"""Recovery times kept at most; what more there is is only counted."""


class Column(msgspec.Struct):
    """One stretch of the timeline."""

    keys: int = 0  # requests that got one
    refused: int = 0  # requests that did not
    live: int = 0  # sessions, as of the last look
    without_key: int = 0
    lapses: int = 0


class History:
    """The memory of one world. Times are seconds since it began."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.columns = [Column() for _ in range(COLUMNS)]
        self.counts: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()  # codes of failed attempts
        self.ends: Counter[str] = Counter()  # reasons why sessions ended
        self.per_second: Counter[int] = Counter()  # requests at the provider
        self.recoveries: list[float] = []  # seconds from a lapse to the next key
        self.live_seconds = 0.0
        self.without_key = 0.0
        self._digest = blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        """Stands for everything that was told and asked, in order."""
        return self._digest.hexdigest()

    def column(self, at: float) -> Column:
        """The timeline at that time."""
        return self.columns[self._index(at)]

    def asked(self, asked: Asked) -> None:
        """A request met the provider."""
        self._digest.update(f"{asked.at:.4f} {asked.caller} {asked.number} {asked.outcome}\n".encode())
        self.counts["mints"] += 1
        self.per_second[int(asked.at)] += 1
        column = self.column(asked.at)
        if asked.outcome == "key":
            self.counts["keys"] += 1
            column.keys += 1
        else:
            column.refused += 1

    def told(self, event: Event) -> None:
        """An event was published."""
        line = f"{event.at - EPOCH:.4f} {event.session_id} {event.type} {_detail(event)}\n"
        self._digest.update(line.encode())
        self.counts[event.type] += 1

    def lapsed(self, began: float, ended: float, seconds: float, *, recovered: bool) -> None:
        """A session was without a valid key for so many seconds."""
        self.without_key += seconds
        self.counts["lapses"] += 1
        self.column(began).lapses += 1
        for number in range(self._index(began), self._index(ended) + 1):
            self.columns[number].without_key += 1
        if recovered:
            self.counts["recovered"] += 1
            if len(self.recoveries) < SAMPLES:
                self.recoveries.append(seconds)

    def _index(self, at: float) -> int:
        return min(COLUMNS - 1, max(0, int(at * COLUMNS / self.seconds)))


def _detail(event: Event) -> str:
    match event:
        case StateChanged():
            return f"{event.previous_state} {event.new_state} {event.reason}"
        case RenewalCompleted() | RenewalFailed():
            return f"{event.result.attempts} {event.result.latency_ms:.1f}"
        case SessionErrorEvent():
            return f"{event.error.code} {event.error.cause}"
        case SessionEnded():
            counts = event.statistics
            beats, resets = counts.heartbeat_count, counts.inactivity_resets
            return f"{event.reason} {counts.renewal_count} {counts.failed_renewal_count} {beats} {resets}"
    return ""
