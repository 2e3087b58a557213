"""The mutation score of each package, from what mutmut left in `mutants/`, and what each survivor changed.

A mutant counts as killed when a test failed. One that ran out of time, or that no test reaches, counts as a survivor:
it may only be slow, and whoever reads the list must look. Names of mutants as arguments, or all. Exit code 1 below
`LEAST`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

LEAST = 0.85
MUTANTS = Path("mutants/src/voicepilot")
KILLED = {1, 3}
"""Exit codes of pytest: a test failed, or pytest itself."""


def results(only: Collection[str] = ()) -> dict[str, dict[str, int]]:
    """By package, the exit code of each mutant that was tried, or of these `only`."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for meta in sorted(MUTANTS.rglob("*.meta")):
        codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        package = meta.relative_to(MUTANTS).parts[0]
        found[package] |= {
            name: code for name, code in codes.items() if code is not None and (not only or name in only)
        }
    return {package: codes for package, codes in found.items() if codes}


def change(mutant: str) -> str:
    """What it changed, as the lines of a diff."""
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", mutant], capture_output=True, text=True, check=False
    )
    lines = [line for line in shown.stdout.splitlines() if line[:1] in {"-", "+"} and line[:3] not in {"---", "+++"}]
    return "\n".join(f"    {line}" for line in lines)


def main(*only: str) -> int:
    """Print everything."""
    short = False
    for package, codes in results(frozenset(only)).items():
        survivors = [name for name, code in codes.items() if code not in KILLED]
        for name in survivors:
            print(f"{name}\n{change(name)}")
        score = 1 - len(survivors) / len(codes)
        short |= score < LEAST
        print(f"{package}: {len(codes)} mutants, {len(survivors)} survive: {score:.1%} (at least {LEAST:.0%})")
    return int(short)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
