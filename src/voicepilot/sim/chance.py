"""Chance that repeats: every draw follows from the seed and a name, so the order of events cannot change it.

Only `random.Random.random()` and blake2b are used, whose outputs are the same on every version of Python.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


def number_of(*names: object) -> int:
    """64 bits that look random and are always the same for the same names."""
    return int.from_bytes(blake2b("/".join(map(str, names)).encode(), digest_size=8).digest())


def share(*names: object) -> float:
    """From 0 up to 1, always the same for the same names."""
    return number_of(*names) / 2**64


class Dice:
    """A stream of draws of its own for whoever has a name."""

    def __init__(self, *names: object) -> None:
        self._random = random.Random(number_of(*names)).random

    def between(self, bounds: tuple[float, float]) -> float:
        """A number between the two."""
        low, high = bounds
        return low + (high - low) * self._random()

    def happens(self, likely: float) -> bool:
        """Whether something happens that is so likely, from 0 to 1."""
        return likely > 0 and self._random() < likely

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[int(self._random() * len(choices))]
