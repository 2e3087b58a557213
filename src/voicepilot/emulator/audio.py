"""Audio as bytes: tones to answer with, loudness to listen by, in the three formats of the wire.

PCM16 little-endian mono at 24 kHz, or G.711 at 8 kHz (realtime-wire.md D4, `audio.*.format`).
"""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Iterator
from functools import cache

import msgspec

from voicepilot.emulator.checks import Json

TONE = 440  # close to the concert pitch; the period is a whole number of samples
AMPLITUDE = 8_000
SECONDS_PER_CHARACTER = 0.06  # about the pace of speech
CHUNK = 0.2  # seconds of audio in one delta


class Format(msgspec.Struct, frozen=True):
    """One of the wire's audio formats."""

    name: str
    rate: int
    width: int

    def seconds(self, size: int) -> float:
        """How long `size` bytes last."""
        return size / (self.rate * self.width)

    def size(self, seconds: float) -> int:
        """The bytes of so many seconds, whole samples only."""
        return int(seconds * self.rate) * self.width


FORMATS = {
    "audio/pcm": Format("audio/pcm", 24_000, 2),
    "audio/pcmu": Format("audio/pcmu", 8_000, 1),
    "audio/pcma": Format("audio/pcma", 8_000, 1),
}


def format_of(setting: Json) -> Format:
    """The format a session's setting names."""
    return FORMATS[setting["type"]]


@cache
def _period(name: str) -> bytes:
    rate = FORMATS[name].rate
    length = round(rate / TONE)
    samples = [round(AMPLITUDE * math.sin(2 * math.pi * n / length)) for n in range(length)]
    if name == "audio/pcm":
        return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)
    table = _decoding(name)
    return bytes(min(range(256), key=lambda code: abs(table[code] - sample)) for sample in samples)


def tone(seconds: float, form: Format) -> bytes:
    """A steady tone of that length."""
    period = _period(form.name)
    size = form.size(seconds)
    return (period * (size // len(period) + 1))[:size]


def silence(seconds: float, form: Format) -> bytes:
    """Nothing to hear, for that long."""
    quiet = {"audio/pcm": b"\0", "audio/pcmu": b"\xff", "audio/pcma": b"\xd5"}[form.name]
    return quiet * form.size(seconds)


def spoken(word: str, form: Format, speed: float = 1.0) -> Iterator[bytes]:
    """A word as a tone as long as the word, then a short gap, in chunks fit for deltas."""
    length = len(word) * SECONDS_PER_CHARACTER / speed
    sound = tone(length * 0.8, form) + silence(length * 0.2, form)
    step = form.size(CHUNK)
    return (sound[start : start + step] for start in range(0, len(sound), step))


@cache
def _decoding(name: str) -> tuple[int, ...]:
    return tuple((_mu_law if name == "audio/pcmu" else _a_law)(code) for code in range(256))


def _mu_law(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _a_law(code: int) -> int:
    code ^= 0x55
    segment = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    if segment:
        magnitude = magnitude + 0x100 << segment - 1
    return magnitude if code & 0x80 else -magnitude


def loudness(data: bytes | bytearray, form: Format) -> float:
    """The root mean square of every fourth sample, from 0 to 32768; every one would only be slower."""
    if form.width == 1:
        table = _decoding(form.name)
        samples = array.array("h", (table[code] for code in data[::4]))
    else:
        samples = array.array("h", bytes(data[: len(data) // 2 * 2]))
        if sys.byteorder == "big":
            samples.byteswap()
        samples = samples[::4]
    if not samples:
        return 0.0
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))
