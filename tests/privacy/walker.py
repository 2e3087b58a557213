"""Walks everything the garbage collector knows, and all that refers to, looking for a text."""

from __future__ import annotations

import _asyncio
import gc
import sys
from types import FrameType
from typing import Any


class Canary:
    """A text to look for, which this object itself never holds in one piece."""

    def __init__(self, number: int) -> None:
        self.head = "the canary number "
        self.tail = f"{number} sang at dawn"

    def say(self) -> str:
        """The text, in one piece; let go of it."""
        return self.head + self.tail

    def is_in(self, value: str | bytes | bytearray) -> bool:
        """Whether `value` holds the text."""
        head, tail = (self.head, self.tail) if isinstance(value, str) else (self.head.encode(), self.tail.encode())
        at = value.find(head)  # type: ignore[arg-type]  # both of one kind, as the line above made them
        while at >= 0:
            if value[at + len(head) : at + len(head) + len(tail)] == tail:
                return True
            at = value.find(head, at + 1)  # type: ignore[arg-type]
        return False


def found(*canaries: Canary) -> list[int]:
    """How many texts that can be reached from any live object hold each canary."""
    gc.collect()
    counts = [0] * len(canaries)
    seen: set[int] = set()
    layer: list[Any] = [*_frames(), *gc.get_objects()]
    while layer:
        fresh = {id(value): value for value in layer if id(value) not in seen}
        seen.update(fresh)
        for value in fresh.values():
            if isinstance(value, str | bytes | bytearray):
                for number, canary in enumerate(canaries):
                    counts[number] += canary.is_in(value)
        # Up to CPython 3.12.5 this module hands out freed iterators, which crashes or hangs the collector
        # (python/cpython#122695). What it holds is found all the same: its dictionary is an object of its own.
        layer = gc.get_referents(*(value for value in fresh.values() if value is not _asyncio))
    return counts


def _frames() -> list[FrameType]:
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames
