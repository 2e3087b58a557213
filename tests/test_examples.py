"""Runs the Python of README.md and docs/: every fenced block is a whole program, or a file of tests.

The provider is the emulator, by the environment. A block is left out only if its fence says `python no-run`, and an
HTML comment on the line above it says why.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voicepilot.emulator import RealtimeEmulator, running_emulator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEY = re.compile(r"ek_\w{6}")
NO_RUN = "no-run"

# Runs a program that may await at top level, as the asyncio REPL does.
RUNNER = """
import ast, asyncio, inspect, pathlib, sys
source = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
program = compile(source, sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
left = eval(program, {"__name__": "__main__"})
if inspect.iscoroutine(left):
    asyncio.run(left)
"""


def blocks(page: str) -> Iterator[tuple[int, str, str]]:
    """Line number, what the fence says after `python`, and the code of each block."""
    for found in FENCE.finditer(page):
        yield page[: found.start()].count("\n") + 1, found[1].strip(), found[2]


def examples() -> Iterator[object]:
    """The programs one by one, and the tests of each page together."""
    for page in PAGES:
        name, tests = page.relative_to(ROOT), ""
        for line, said, code in blocks(page.read_text(encoding="utf-8")):
            if said == NO_RUN:
                continue
            if "\ndef test_" in code:
                tests += code
            else:
                yield pytest.param(code, id=f"{name}:{line}")
        if tests:
            yield pytest.param(tests, id=f"{name}:tests")


@pytest.fixture
def emulator() -> Iterator[RealtimeEmulator]:
    with running_emulator() as emulator:
        yield emulator


def command_for(code: str, file: Path) -> list[str]:
    file.write_text(code, encoding="utf-8")
    if "\ndef test_" in code:
        return [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(file.parent),
            str(file),
        ]
    return [sys.executable, "-W", "error", "-c", RUNNER, str(file)]


@pytest.mark.sockets
@pytest.mark.parametrize("code", list(examples()))
def test_an_example_runs(code: str, emulator: RealtimeEmulator, tmp_path: Path) -> None:
    # Without COVERAGE_… the examples are not measured, which would cost each of them half a second.
    others = ("OPENAI_", "AZURE_", "VOICEPILOT_", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    environment = {
        **kept,
        "OPENAI_BASE_URL": emulator.base_url,
        "OPENAI_API_KEY": "sk-example",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        command_for(code, tmp_path / "test_example.py"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not KEY.search(done.stdout), "an example shows a key"


def test_a_block_that_is_left_out_says_why() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = text.splitlines()
        for line, said, _ in blocks(text):
            assert said in {"", NO_RUN}, f"{page.name}:{line}: the fence says {said!r}"
            if said == NO_RUN:
                assert lines[line - 2].startswith("<!--"), f"{page.name}:{line}: a comment above must say why"


def test_the_readme_has_an_example() -> None:
    assert list(blocks(PAGES[0].read_text(encoding="utf-8")))
