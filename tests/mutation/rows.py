"""`python -m tests.mutation.rows [TABLE …]`: takes each row out of the tables of rules, and runs the tests without it.

mutmut changes functions only, and what matters most stands in tables. A row that no test misses is printed.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLES = {
    "lifecycle/rules.py": "tests/lifecycle",
    "recovery/breaker.py": "tests/recovery",
    "conversation/rules.py": "tests/conversation",
}
"""Where a `RULES` stands, and the tests that must miss its rows."""

INSPECTING = ("test_purity.py", "test_diagram.py", "test_docs.py")
"""Tests that look at the source or at pages made from it, and so would miss any row."""

LONGEST = 300  # seconds the tests of a package may take


def without_each_row(source: str) -> Iterator[tuple[str, str]]:
    """Each row of `RULES`, and the source without it."""
    rows = _rows(ast.parse(source)).elts
    lines = source.splitlines(keepends=True)
    for row in rows:
        assert row.end_lineno is not None
        kept = lines[: row.lineno - 1] + lines[row.end_lineno :]
        yield " ".join((ast.get_source_segment(source, row) or "").split()), "".join(kept)


def _rows(tree: ast.Module) -> ast.Tuple:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "RULES":
            assert isinstance(node.value, ast.Tuple)
            return node.value
    raise LookupError("no RULES in this module")


def is_missed(folder: Path, tests: str) -> bool:
    """Whether a test fails with the sources in `folder`."""
    ignored = [f"--ignore={ROOT / tests / name}" for name in INSPECTING]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not sockets", *ignored]
    environment = os.environ | {"PYTHONPATH": str(folder), "CI": "1"}  # CI: hypothesis tries the same each time
    try:
        command = [sys.executable, "-m", "pytest", *options, tests]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def survivors(table: str, folder: Path) -> Iterator[str]:
    """The rows of one table that no test misses."""
    file = folder / "voicepilot" / table
    source = file.read_text(encoding="utf-8")
    if is_missed(folder, TABLES[table]):
        raise SystemExit(f"the tests of {table} fail with every row in place")
    for row, mutated in without_each_row(source):
        file.write_text(mutated, encoding="utf-8")
        if not is_missed(folder, TABLES[table]):
            yield row
    file.write_text(source, encoding="utf-8")


def main() -> int:
    """Try every table named, or all."""
    missing = 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", folder, dirs_exist_ok=True)
        for table in sys.argv[1:] or TABLES:
            rows = len(_rows(ast.parse((ROOT / "src/voicepilot" / table).read_text(encoding="utf-8"))).elts)
            kept = 0
            for row in survivors(table, Path(folder)):
                print(f"  no test misses {row}", flush=True)
                kept += 1
            print(f"{table}: {rows} rows, {kept} of which no test misses", flush=True)
            missing += kept
    return int(missing > 0)


if __name__ == "__main__":
    raise SystemExit(main())
