"""What is measured while a soak runs, and whether it stays as it was."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec

MEASURED = ("memory", "blocks", "tasks", "sockets", "descriptors")
MOST_GROWTH = 0.01
"""Of the mean in the first quarter after the warm-up, until the last quarter."""


class Sample(msgspec.Struct, frozen=True):
    """How this process is at one moment."""

    at: float  # seconds since the beginning
    memory: float  # resident megabytes
    blocks: int  # of memory that Python objects hold
    tasks: int
    sockets: int
    descriptors: int


def sample(at: float) -> Sample:
    """How this process is now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    targets = [_target(entry) for entry in Path("/proc/self/fd").iterdir()]
    return Sample(
        at=at,
        memory=pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        blocks=sys.getallocatedblocks(),
        tasks=len(asyncio.all_tasks()),
        sockets=sum(target.startswith("socket:") for target in targets),
        descriptors=len(targets),
    )


def trim() -> None:
    """Let the C library give back the free memory that it keeps for later: how much it is says nothing of a leak."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if give_back is not None:
        give_back(0)


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # it was the one that listed the others
        return ""


def growth(samples: Sequence[Sample], what: str, warm_up: float) -> float:
    """By how much of itself `what` grew from the first quarter after the warm-up to the last."""
    values = [getattr(each, what) for each in samples if each.at >= warm_up]
    quarter = len(values) // 4
    if quarter == 0:
        raise ValueError("too few samples after the warm-up to tell growth")
    before = fmean(values[:quarter])
    return (fmean(values[-quarter:]) - before) / before
