"""The commands as people run them: processes, signals, pipes and sockets."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.canary import CREDENTIAL, Net

from voicepilot.cli.demo.parts import API_KEY

pytestmark = pytest.mark.sockets

VOICEPILOT = (sys.executable, "-c", "from voicepilot.cli.app import main; main()")
PATIENCE = 60.0
"""Seconds until a process that does not end fails its test; on a calm machine it takes one or two."""

SPEED = "5"
"""Fast enough to wait for, slow enough for a busy machine: what takes 10 s in the story has 2 s."""

ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AZURE_", "VOICEPILOT_"))
}


@contextmanager
def started(*arguments: str, **more: Any) -> Iterator[subprocess.Popen[str]]:  # Any: what Popen takes
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT, **more}
    with subprocess.Popen([*VOICEPILOT, *arguments], text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VOICEPILOT, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=ENVIRONMENT | environment,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def emulator(*arguments: str) -> Iterator[dict[str, str]]:
    with started("emulate", "--port", "0", *arguments) as process:
        yield json.loads(first_line(process))


# --- emulate ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_emulator_says_where_it_is_and_ends_when_told(number: signal.Signals) -> None:
    with started("emulate", "--port", "0", "--key-life", "20", "--fault", "mint:429:retry_after=2") as process:
        ready = json.loads(first_line(process))
        assert ready["base_url"] == ready["azure_endpoint"] + "/v1"
        port = int(ready["azure_endpoint"].rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_taken_port_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = finished("emulate", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"voicepilot: cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Stop what listens there, or choose another --port; 0 takes any free one.\n"
    )


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_told_in_one_line(host: str) -> None:
    done = finished("emulate", "--host", host, "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"voicepilot: cannot listen on {host}:0: ")
    assert done.stderr.endswith(" Choose another --host; 127.0.0.1 is this machine.\n")
    assert done.stderr.count("\n") == 1


def test_an_emulator_that_nobody_listens_to_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with started("emulate", "--port", "0", stdout=writer) as process:
        os.close(writer)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (141, "")


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_the_doctor_finds_nothing_wrong_with_the_emulator() -> None:
    with emulator() as ready:
        done = finished("doctor", "--base-url", ready["base_url"], "--json", OPENAI_API_KEY="sk-anything-0123")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, report["healthy"]) == (0, "", True)
    assert {check["name"]: check["status"] for check in report["checks"]}["websocket"] == "pass"
    assert "sk-anything" not in done.stdout


def test_a_missing_key_is_told_with_its_remedy() -> None:
    with emulator() as ready:
        done = finished("doctor", "--base-url", ready["base_url"])
    assert (done.returncode, done.stderr) == (2, "")
    assert "no API key: OPENAI_API_KEY is not set" in done.stdout
    assert "Set OPENAI_API_KEY" in done.stdout


def test_an_unreachable_base_url_is_told_with_its_remedy() -> None:
    with socket.socket() as unused:  # bound but not listening: nobody else takes the port meanwhile
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        done = finished("doctor", "--base-url", url, OPENAI_API_KEY="sk-anything-0123")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"asking 127.0.0.1:{port}: the connection was refused" in done.stdout
    assert "Check the base URL" in done.stdout


# --- demo -------------------------------------------------------------------------------------------------------------


def test_the_demo_keeps_every_promise_and_shows_no_key() -> None:
    done = finished("demo", "--speed", SPEED, OPENAI_API_KEY=CREDENTIAL)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "promises were kept." in done.stdout
    net = Net(CREDENTIAL, API_KEY)
    net.look("output", done.stdout)
    net.check()
    for told in ("429", "503", "refused: ", "inactivity-timeout", "by hand", "advice: ", "receipt: ", "openai client"):
        assert told in done.stdout
    for told in (
        "step TEST_AUTHENTICATION did not help; fallback degraded-features is entered",
        "voicepilot.session.degraded = True",
        "voicepilot.session.degraded = False",
        "My card is [card]",
        "(consent-withdrawn, transcripts)",
        "moved to connection 2 while nobody spoke",
        "the answer was cut; it is asked for again",
        "and the first was: Good evening",
    ):
        assert told in done.stdout
    assert "ek_" not in done.stdout
    assert "4111" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_ends_its_sessions_when_it_is_stopped(number: signal.Signals) -> None:
    with started("demo") as process:
        shown = first_line(process)
        while "started" not in shown:
            shown = first_line(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + number, "")
    assert "ended (disposed)" in out


def test_a_demo_that_nobody_reads_ends_quietly() -> None:
    with started("demo") as process:
        first_line(process)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (141, "")


def test_the_demo_draws_a_table_in_a_terminal_and_gives_the_cursor_back() -> None:
    master, slave = pty.openpty()
    with started(
        "demo", "--speed", SPEED, stdout=slave, env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "100"}
    ) as process:
        os.close(slave)
        shown = b""
        while b"anna" not in shown or b"active" not in shown:
            shown += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        while chunk := _read(master):
            shown += chunk
        assert (process.wait(timeout=PATIENCE), process.communicate()[1]) == (130, "")
    os.close(master)
    assert "█" in shown.decode()
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") >= 0


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_the_entry_point_is_ours() -> None:
    project = msgspec.toml.decode((Path(__file__).parents[2] / "pyproject.toml").read_bytes())
    assert project["project"]["scripts"] == {"voicepilot": "voicepilot.cli.app:main"}
