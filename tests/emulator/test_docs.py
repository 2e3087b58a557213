"""The examples in the documentation run as they stand."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from voicepilot.emulator import Script
from voicepilot.emulator.faults import KINDS
from voicepilot.emulator.options import Options

pytestmark = pytest.mark.sockets

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


async def run(*command: str, cwd: Path) -> str:
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = {**unmeasured, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # ours alone, installed as entry point or not
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_fixture_works_in_another_project(tmp_path: Path) -> None:
    for number, block in enumerate(blocks("testing.md", "python")):
        (tmp_path / f"test_{number}.py").write_text(block)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    output = await run("-m", "pytest", "-q", "-p", "voicepilot.emulator.pytest_plugin", cwd=tmp_path)
    assert "6 passed" in output


async def test_the_first_example_runs(tmp_path: Path) -> None:
    (block,) = blocks("emulator.md", "python")
    (tmp_path / "example.py").write_text(block)
    assert await run("example.py", cwd=tmp_path) == "ek_ 200\n"


def test_the_script_and_the_recording_can_be_read() -> None:
    (script,) = blocks("emulator.md", "yaml")
    assert len(Script.parse(script).turns) == 3
    (recording,) = blocks("emulator.md", "json")
    assert len(Script.replay(recording.splitlines()).turns) == 1


def test_every_option_and_fault_is_documented() -> None:
    page = (DOCS / "emulator.md").read_text()
    names = {*Options.__struct_fields__, *KINDS, *(kind for kinds in KINDS.values() for kind in kinds)} - {"status"}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_the_plugin_is_light() -> None:
    program = "import sys, voicepilot.emulator.pytest_plugin; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
