"""Where the fuzzer finds its inputs, and where it keeps what it learned: in `.fuzz/`, which git does not see."""

from __future__ import annotations

from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
"""Inputs to begin with, and in `….words` what a mutation may well put in."""

FOUND = Path(__file__).parent / "found"
"""Inputs that once broke a promise."""

LEARNED = Path(__file__).parents[2] / ".fuzz"


def folder_of(target: str) -> Path:
    """What belongs to one target: its corpus and what broke it."""
    return LEARNED / target
