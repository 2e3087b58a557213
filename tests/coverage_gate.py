"""Prints the coverage figures, and fails when the core or the runtime is below what CONTRIBUTING promises."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

GATES = {"src/voicepilot/lifecycle/": 100.0, "src/voicepilot/runtime/": 95.0}


def covered(files: dict[str, dict[str, dict[str, int]]], folder: str) -> float:
    """Percent of statements and branches under `folder` that were executed."""
    done = total = 0
    for name, file in files.items():
        if folder in name:
            summary = file["summary"]
            done += summary["covered_lines"] + summary["covered_branches"]
            total += summary["num_statements"] + summary["num_branches"]
    return 100.0 * done / total if total else 0.0


def main() -> int:
    """Report, and say whether every gate is reached."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(report)], check=True)
        files = json.loads(report.read_text())["files"]
    print(f"coverage, statements and branches: all of voicepilot {covered(files, 'src/voicepilot/'):.1f} %")
    short = False
    for folder, least in GATES.items():
        figure = covered(files, folder)
        short |= figure < least
        print(f"  {folder:26} {figure:6.2f} %  (at least {least:g} %)")
        for name, file in sorted(files.items()):
            if folder in name and (file["missing_lines"] or file["missing_branches"]):
                print(f"    {name}: lines {file['missing_lines']}, branches {file['missing_branches']}")
    return int(short)


if __name__ == "__main__":
    raise SystemExit(main())
