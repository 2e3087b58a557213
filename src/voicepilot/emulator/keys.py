"""The ephemeral keys that were made: what each opens, and until when.

A key gates the making of sessions only, and may make several (realtime-wire.md G).
"""

from __future__ import annotations

import msgspec

from voicepilot.emulator.checks import Json

FORGET_AFTER = 3600.0  # seconds an expired key is still told from an unknown one
MOST_KEYS = 100_000
MOST_HELD = 256 * 1024 * 1024  # bytes of their sessions, as JSON


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key and the session it was made with."""

    value: str
    session: Json
    valid_until: float
    provider: str

    @property
    def expires_at(self) -> int:
        """The expiry as the wire tells it: whole seconds, never later than the truth."""
        return int(self.valid_until)

    def __repr__(self) -> str:
        return f"Key(expires_at={self.expires_at})"


class Keys:
    """Every key that may still be asked about."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}
        self._used: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._held = 0

    def add(self, key: Key, now: float) -> None:
        """A key was made."""
        self._keys[key.value] = key
        self._sizes[key.value] = len(msgspec.json.encode(key.session))
        self._held += self._sizes[key.value]
        self._forget(now)

    def find(self, value: str, now: float, *, single_use: bool = False) -> Key | None:
        """The key, if it is good now."""
        key = self._keys.get(value)
        if key is None or now >= key.valid_until or (single_use and value in self._used):
            return None
        return key

    def use(self, key: Key) -> None:
        """The key opened a session."""
        self._used.add(key.value)

    def _forget(self, now: float) -> None:
        # The dict is in the order of making, which is near enough that of expiry.
        while self._keys:
            oldest = next(iter(self._keys.values()))
            room = len(self._keys) <= MOST_KEYS and self._held <= MOST_HELD
            if room and now < oldest.valid_until + FORGET_AFTER:
                return
            del self._keys[oldest.value]
            self._held -= self._sizes.pop(oldest.value)
            self._used.discard(oldest.value)
