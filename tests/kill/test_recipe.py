"""The program that docs/reliability.md gives for ending on SIGTERM does that."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.test_processes import ENVIRONMENT, PATIENCE, emulator
from tests.test_examples import blocks

pytestmark = pytest.mark.sockets

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
READY = "manager.start_session()"


def test_the_program_of_the_page_ends_its_session_and_says_why(tmp_path: Path) -> None:
    (program,) = [code for _, _, code in blocks(PAGE.read_text(encoding="utf-8")) if "signal.SIGTERM" in code]
    assert READY in program
    told = program.replace(READY, f"{READY}\n        manager.on_session_ended(print_reason)\n        print(flush=True)")
    file = tmp_path / "program.py"
    file.write_text("def print_reason(event):\n    print(event.reason)\n\n\n" + told, encoding="utf-8")
    with emulator() as ready:
        settings = {"OPENAI_API_KEY": "sk-anything-0123", "OPENAI_BASE_URL": ready["base_url"]}
        with subprocess.Popen(
            [sys.executable, str(file)],
            text=True,
            cwd=tmp_path,
            env=ENVIRONMENT | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "\n"
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
    assert (process.returncode, out, err) == (143, "disposed\n", "")
