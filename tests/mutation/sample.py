"""`python -m tests.mutation.sample COUNT SEED [PATTERN]`: the names of mutants drawn by chance from those that match.

The same code and seed give the same names. mutmut knows them only once it has generated its mutants, which it does
before it notices that there is none of the name it is asked for.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from tests.mutation.report import MUTANTS

NOBODY = "voicepilot.nobody"


def generate() -> None:
    """Let mutmut write its mutants, and try none."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", NOBODY]
    subprocess.run(command, capture_output=True, check=False)


def names(folder: Path = MUTANTS) -> list[str]:
    """All there are."""
    metas = (json.loads(file.read_text(encoding="utf-8")) for file in folder.rglob("*.meta"))
    return sorted(name for meta in metas for name in meta["exit_code_by_key"])


def drawn(among: list[str], count: int, seed: int) -> list[str]:
    """So many of them, without repetition."""
    return random.Random(seed).sample(among, min(count, len(among)))


def main(count: str, seed: str, pattern: str = "*") -> None:
    """Print them."""
    generate()
    among = [name for name in names() if fnmatch(name, pattern)]
    if not among:
        raise SystemExit(f"no mutant is called {pattern}")
    chosen = drawn(among, int(count), int(seed))
    print(f"{len(chosen)} of {len(among)} mutants, by the seed {seed}", file=sys.stderr)
    print(*chosen)


if __name__ == "__main__":
    main(*sys.argv[1:])
