"""Runs the Node stories against an emulator with TLS: after `npm ci` here, `python tests/node/run.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from voicepilot.emulator import Call, Turn, running_emulator
from voicepilot.emulator.answers import Reply

HERE = Path(__file__).parent


def answer(turn: Turn) -> Reply:
    """A function call for the weather, a long speech on request, an echo for the rest."""
    if "weather" in turn.text:
        return Call("get_weather", {"city": "Paris"})
    return "a long answer " * 20 if "speech" in turn.text else turn.text or "Hello."


def main() -> int:
    """The exit code of `node --test`."""
    node = shutil.which("node")
    if node is None:
        sys.exit("the Node stories need node 20 or newer")
    with (
        running_emulator(tls=True, answers=answer, pacing="realtime", time_scale=20) as emulator,
        tempfile.NamedTemporaryFile(suffix=".pem") as authority,
    ):
        authority.write(emulator.authority or b"")
        authority.flush()
        environment = {
            **os.environ,
            "BASE_URL": emulator.base_url,
            "CONTROL_URL": f"{emulator.azure_endpoint}/_emulator",
            "NODE_EXTRA_CA_CERTS": authority.name,
        }
        command = [node, "--test", "story.test.mjs"]
        return subprocess.run(command, cwd=HERE, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
