"""What it takes to import voicepilot, and to be told what the command line can do."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Sample, in_turn
from benchmarks.table import Row, Rows, compared, run

ROUNDS = 15
IMPORT = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
PARTS = "from voicepilot import EphemeralKeyService, SessionManager"


def imported(statement: str) -> Sample:
    """Seconds of processor time that a new interpreter takes for a statement, without its own start."""

    async def sample() -> float:
        return float(_output([sys.executable, "-c", IMPORT.format(statement)]))

    return sample


def answered(*command: str) -> Sample:
    """Seconds of processor time that a program takes."""

    async def sample() -> float:
        began = _childrens_time()
        _output(list(command))
        return _childrens_time() - began

    return sample


def _output(command: list[str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    return done.stdout


def _childrens_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def rows() -> Rows:
    """Each in an interpreter of its own."""
    program = str(Path(sys.executable).with_name("voicepilot"))
    rival = imported("import aiohttp")
    bare = await in_turn(imported("import voicepilot"), rival, rounds=ROUNDS)
    parts = await in_turn(imported(PARTS), rival, rounds=ROUNDS)
    told = await in_turn(answered(program, "--help"), answered(sys.executable, "-c", "pass"), rounds=ROUNDS)
    more = told.ours.middle - told.beside.middle
    return (
        compared("import voicepilot", bare, "import aiohttp", at_most=1.3),
        compared("import SessionManager and EphemeralKeyService", parts, "import aiohttp, which it needs"),
        Row(
            what="voicepilot --help",
            ours=told.ours.middle,
            unit="s",
            beside=told.beside.middle,
            beside_what="python -c pass",
            ratio=told.ratio,
            target="under 300 ms more",
            reached=more < 0.3,
        ),
    )


if __name__ == "__main__":
    run(rows)
