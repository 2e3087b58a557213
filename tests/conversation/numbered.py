"""Audio whose every frame says which it is: 40 ms of PCM16 at 24 kHz, loud enough to be taken for speech."""

from __future__ import annotations

import array

FRAME = 0.04
SAMPLES = 960


def frame(number: int) -> bytes:
    """The frame of that number."""
    return array.array("h", [2_000 + number] * SAMPLES).tobytes()


def frames(start: int, count: int) -> list[bytes]:
    """So many of them from there on."""
    return [frame(number) for number in range(start, start + count)]


def silence(seconds: float) -> list[bytes]:
    """Frames in which nobody speaks."""
    return [bytes(2 * SAMPLES)] * round(seconds / FRAME)
