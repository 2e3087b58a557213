"""The fixture other projects get by installing us."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.sockets

PROJECT = """
import asyncio

import pytest
from openai import AsyncOpenAI, OpenAI


def test_sync(realtime_emulator):
    realtime_emulator.faults.fail_mints(429, retry_after_ms=1)
    client = OpenAI(api_key="sk-test", base_url=realtime_emulator.base_url)
    assert client.realtime.client_secrets.create().value.startswith("ek_")
    assert [mint.status for mint in realtime_emulator.record.mints()] == [429, 200]


@pytest.mark.realtime_emulator(session_life=0.1)
def test_async(realtime_emulator):
    async def story():
        async with (
            AsyncOpenAI(api_key="sk-test", base_url=realtime_emulator.base_url) as client,
            client.realtime.connect(model="gpt-realtime") as connection,
        ):
            return [event.type async for event in connection]

    assert asyncio.run(story()) == ["session.created", "error"]
"""


async def test_another_project_uses_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_voice.py").write_text(PROJECT)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "voicepilot.emulator.pytest_plugin"]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # only ours, installed as an entry point or not
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert "2 passed" in output.decode()


def test_the_plugin_is_light() -> None:
    program = "import sys, voicepilot.emulator.pytest_plugin; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
