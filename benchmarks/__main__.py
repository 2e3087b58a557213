"""`python -m benchmarks [ROW …] [--json]`: each row in a process of its own, then the whole table."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import voicepilot
from benchmarks.table import Row, as_table

MODULES = (
    "start_end",
    "start_many",
    "memory",
    "steady",
    "reset",
    "diagnostics",
    "current",
    "renewals",
    "events",
    "imports",
    "conversation_speed",
    "conversation_turns",
    "conversation_memory",
    "simulator",
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The table, and where and when it was measured."""

    voicepilot: str
    python: str
    machine: str
    at: datetime
    rows: list[Row]


def measured(module: str) -> list[Row]:
    """The rows of one module, measured in a new process."""
    print(f"{module} …", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", "--json"], check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=list[Row])


def report(modules: list[str]) -> Report:
    """Measure them all."""
    rows = [row for module in modules for row in measured(module)]
    return Report(
        voicepilot=voicepilot.__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        machine=f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        at=datetime.now(UTC).replace(microsecond=0),
        rows=rows,
    )


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Print the table, or the report as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What voicepilot costs.")
    parser.add_argument("rows", nargs="*", choices=[[], *MODULES], help="only these", metavar="ROW")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    given = parser.parse_args()
    found = report(given.rows or list(MODULES))
    if given.json:
        print(msgspec.json.encode(found).decode())
        return
    print(f"voicepilot {found.voicepilot}, {found.python}, {found.machine}, {found.at:%Y-%m-%d %H:%M} UTC\n")
    print(as_table(found.rows))


if __name__ == "__main__":
    main()
