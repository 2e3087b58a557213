"""How long anybody was without a valid key, as the provider saw it."""

from __future__ import annotations

import msgspec

from voicepilot.emulator.record import Entry, Mint, Opened, Refused


class Validity(msgspec.Struct):
    """What the emulator's record adds up to. Each session asks for a model of its own, which is its name here."""

    mints: dict[str, int] = {}  # by status; `none` where there was no answer
    refused: dict[str, int] = {}  # sockets, by code
    opened: int = 0
    gaps: dict[str, float] = {}  # seconds, by session
    until: dict[str, float] = {}  # when the newest key of each session lapses

    def note(self, entry: Entry) -> None:
        """Something happened at the provider."""
        match entry:
            case Mint():
                _count(self.mints, str(entry.status or "none"))
                if entry.status == 200 and entry.model and entry.valid_until is not None:
                    self._extend(entry.model, entry.at, entry.valid_until)
            case Refused():
                _count(self.refused, f"{entry.status} {entry.code}")
            case Opened():
                self.opened += 1

    def _extend(self, session: str, at: float, until: float) -> None:
        gap = at - self.until.get(session, at)
        if gap > 0:
            self.gaps[session] = self.gaps.get(session, 0.0) + gap
        self.until[session] = max(until, self.until.get(session, 0.0))


def _count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1
