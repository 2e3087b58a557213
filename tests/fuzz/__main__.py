"""`python -m tests.fuzz [--seconds N] [NAME …]`: fuzz each target, guided by coverage, and say how much was tried."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.folders import folder_of
from tests.fuzz.targets import TARGETS

GRACE = 300  # seconds a target may take beyond its time, to start and to read its corpus


def main() -> int:
    """Exit code 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; without one all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    chosen = parser.parse_args()
    broken = [name for name in chosen.names or TARGETS if not _held(name, chosen.seconds)]
    return int(bool(broken))


def _held(name: str, seconds: int) -> bool:
    folder_of(name).mkdir(parents=True, exist_ok=True)
    log = folder_of(name) / "log"
    code = _ended(name, seconds, log)
    told = log.read_text(encoding="utf-8", errors="replace")
    tried = _last(r"stat::number_of_executed_units: +(\d+)", told)
    reached = _last(r"cov: (\d+)", told)
    broken = sorted(file.name for file in folder_of(name).glob("broken-*"))
    if code != 0:
        broken.append(f"exit code {code}")
    verdict = "every promise held" if not broken else f"BROKEN: {', '.join(broken)}"
    print(f"{name:<16} {int(tried or 0):>12,} inputs in {seconds} s, {reached} branches reached: {verdict}", flush=True)
    if broken:
        print(f"Inputs and log are in {folder_of(name)}; an input goes into tests/fuzz/found/{name}/ with the fix.")
    return not broken


def _ended(name: str, seconds: int, log: Path) -> int | str:
    """The exit code of a guided run, or why there is none."""
    with log.open("w", encoding="utf-8") as written:
        try:
            return subprocess.run(
                [sys.executable, "-m", "tests.fuzz.guided", name, str(seconds)],
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                timeout=seconds + GRACE,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return "none: it did not end"


def _last(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else ""


if __name__ == "__main__":
    raise SystemExit(main())
