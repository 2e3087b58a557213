"""What the user said, as sound: kept until its words are known, within a bound."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Literal

import msgspec

AudioPolicy = Literal["until-transcribed", "always", "never"]
"""How long the user's audio is kept to be said again: until its transcript is there, to the end, or not at all."""

MAX_AUDIO = 120.0
"""Seconds of audio kept of one conversation: under 6 MB of PCM at 24 kHz."""


class Recording(msgspec.Struct, frozen=True):
    """The sound of one content part, decoded."""

    data: bytes
    rate: float  # bytes a second
    form: str  # the input format it is in

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.data) / self.rate


class Recordings:
    """The user's audio by item and content index, oldest first; beyond `max_seconds` the oldest goes."""

    def __init__(self, policy: AudioPolicy, max_seconds: float) -> None:
        self._policy = policy
        self._max_seconds = max_seconds
        self._kept: dict[tuple[str, int], Recording] = {}

    @property
    def seconds(self) -> float:
        """How much is kept."""
        return sum(kept.seconds for kept in self._kept.values())

    def keep(self, item_id: str, index: int, chunks: Iterable[str], rate: float, form: str) -> None:
        """Keep base64 audio, each chunk encoded by itself."""
        if self._policy == "never":
            return
        self._kept.pop((item_id, index), None)
        if data := b"".join(_decoded(chunk) for chunk in chunks):
            self._kept[item_id, index] = Recording(data, rate, form)
        surplus = self.seconds - self._max_seconds
        while surplus > 1e-6:
            surplus -= self._kept.pop(next(iter(self._kept))).seconds

    def get(self, item_id: str, index: int, form: str) -> str | None:
        """The audio as base64, if it is there and in the format that the session now wants."""
        kept = self._kept.get((item_id, index))
        return base64.b64encode(kept.data).decode() if kept and kept.form == form else None

    def seconds_of(self, item_id: str) -> float:
        """How much is kept of an item."""
        return sum(kept.seconds for key, kept in self._kept.items() if key[0] == item_id)

    def transcribed(self, item_id: str, index: int) -> None:
        """The words are known."""
        if self._policy != "always":
            self._kept.pop((item_id, index), None)

    def forget(self, item_id: str) -> None:
        """Drop what is kept of an item."""
        for key in [key for key in self._kept if key[0] == item_id]:
            del self._kept[key]

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()


def _decoded(chunk: str) -> bytes:
    try:
        return base64.b64decode(chunk)
    except (binascii.Error, ValueError):
        return b""  # the provider has refused it too
