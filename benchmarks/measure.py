"""Two things timed in turn, A B A B …, so that whatever else the machine does slows both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable

import msgspec

Sample = Callable[[], Awaitable[float]]
"""Measures once, and says how much: seconds, unless a row says otherwise."""


class Spread(msgspec.Struct, frozen=True):
    """The median of several measurements, between the quartiles."""

    low: float
    middle: float
    high: float


class Pair(msgspec.Struct, frozen=True):
    """Ours, what stands beside it, and the one divided by the other round for round."""

    ours: Spread
    beside: Spread
    ratio: Spread


def spread(values: Iterable[float]) -> Spread:
    """The quartiles of `values`; of one value, three times itself."""
    measured = sorted(values)
    if len(measured) == 1:
        measured *= 2
    return Spread(*statistics.quantiles(measured, n=4, method="inclusive"))


def pair(ours: Iterable[float], beside: Iterable[float]) -> Pair:
    """What was measured in the same rounds."""
    mine, other = list(ours), list(beside)
    return Pair(spread(mine), spread(other), spread(a / b for a, b in zip(mine, other, strict=True)))


async def in_turn(ours: Sample, beside: Sample, *, rounds: int) -> Pair:
    """Measure both `rounds` times, after one round to warm up, taking turns in going first."""
    mine: list[float] = []
    other: list[float] = []
    for number in range(rounds + 1):
        order = ((ours, mine), (beside, other))
        for sample, taken in order if number % 2 else reversed(order):
            taken.append(await sample())
    return pair(mine[1:], other[1:])


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """The processor time that `work` takes: none of it waits, and so what others do meanwhile counts less.

    It begins without garbage of others; the collector stays on, as it does in a program.
    """
    gc.collect()
    began = time.process_time()
    await work()
    return time.process_time() - began


def each(count: int, work: Callable[[int], Awaitable[object]]) -> Sample:
    """A sample: seconds for one of the `count` things that `work` does."""

    async def sample() -> float:
        return await seconds(lambda: work(count)) / count

    return sample
