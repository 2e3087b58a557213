"""Ids shaped like the provider's: a prefix, the creation time in base 62, then random characters."""

from __future__ import annotations

import secrets
from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
EPOCH = 1_576_800_000
TAIL = 21  # characters after the prefix of `sess_`, `event_`, `item_`, `resp_` and `conv_` ids

TokenSource = Callable[[int], str]


def random_token(length: int) -> str:
    """`length` unguessable base 62 characters: what a running emulator uses."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def base62(number: int, width: int) -> str:
    """`number` in `width` base 62 digits; digits that do not fit are dropped at the left."""
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits


class Ids:
    """Makes ids whose first five characters tell when they were made (realtime-wire.md, "derived-time trick").

    The randomness is given, so that a conversation replayed with the same source names everything the same.
    """

    def __init__(self, token: TokenSource = random_token) -> None:
        self.token = token

    def make(self, prefix: str, now: float) -> str:
        """An id such as `item_E4xxY…`."""
        return f"{prefix}{base62(int(now) - EPOCH, 5)}{self.token(TAIL - 5)}"

    def call(self) -> str:
        """The id of a function call."""
        return f"call_{self.token(16)}"

    def secret(self) -> str:
        """The value of an ephemeral key."""
        return f"ek_{self.token(32)}"
