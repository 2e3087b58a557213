"""`python -m tests.fuzz [--seconds N] [NAME …]`: fuzz each target, guided by coverage, and say how much was tried."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

from tests.fuzz.folders import folder_of
from tests.fuzz.targets import TARGETS

GRACE = 120  # seconds a target may take beyond its time, to start and to read its corpus


def main() -> int:
    """Exit code 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; without one all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    chosen = parser.parse_args()
    broken = [name for name in chosen.names or TARGETS if not _held(name, chosen.seconds)]
    return int(bool(broken))


def _held(name: str, seconds: int) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", name, str(seconds)],
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=seconds + GRACE,
        check=False,
    )
    (folder_of(name) / "log").write_text(done.stdout, encoding="utf-8")
    tried = _last(r"stat::number_of_executed_units: +(\d+)", done.stdout)
    reached = _last(r"cov: (\d+)", done.stdout)
    broken = sorted(file.name for file in folder_of(name).glob("broken-*"))
    if done.returncode != 0:
        broken.append(f"exit code {done.returncode}")
    verdict = "every promise held" if not broken else f"BROKEN: {', '.join(broken)}"
    print(f"{name:<16} {int(tried or 0):>12,} inputs in {seconds} s, {reached} branches reached: {verdict}", flush=True)
    if broken:
        print(f"Inputs and log are in {folder_of(name)}; an input goes into tests/fuzz/found/{name}/ with the fix.")
    return not broken


def _last(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else ""


if __name__ == "__main__":
    raise SystemExit(main())
