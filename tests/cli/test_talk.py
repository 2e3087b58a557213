"""`voicepilot talk` as people run it: a process, with pipes or a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.test_processes import ENVIRONMENT, PATIENCE, VOICEPILOT, emulator, first_line, started

from voicepilot.cli.talk import typed_lines

pytestmark = pytest.mark.sockets

CONNECTED = "-- connected to an emulated provider on this machine\n"

DEVICES = """
class Device:
    def __init__(self, **form):
        print("opened", sorted(form), flush=True)

    def start(self):
        print("started", flush=True)

    def close(self):
        print("closed", flush=True)


RawInputStream = RawOutputStream = Device
"""


def talked(typed: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VOICEPILOT, "talk", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=ENVIRONMENT | environment,
    )


def test_a_conversation_is_typed_dropped_and_carried_on() -> None:
    done = talked("hello\n/drop\nagain", "--emulator")
    shown = done.stdout.splitlines(keepends=True)
    assert (done.returncode, done.stderr, shown[0]) == (0, "", CONNECTED)
    assert [line for line in shown if line.startswith("< ")] == ["< hello\n", "< again\n"]
    assert any(line.startswith("-- back on connection 2 after ") for line in shown)
    assert shown[-1].startswith("-- 2 answers over 2 connections; ")


def test_it_is_typed_in_a_terminal_and_moved_while_somebody_thinks() -> None:
    master, slave = pty.openpty()
    with started("talk", "--emulator", "--connection-life", "2", stdin=slave, stdout=slave) as process:
        os.close(slave)
        shown = b""
        for awaited, typed in ((b"/quit ends", b"hello\n"), (b"moved to connection 2", b"still there\n")):
            while awaited not in shown:
                shown += os.read(master, 65_536)
            os.write(master, typed)
        while b"< still there" not in shown:
            shown += os.read(master, 65_536)
        os.write(master, b"/quit\n")
        assert (process.wait(timeout=PATIENCE), process.communicate()[1]) == (0, "")
    os.close(master)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits_for_a_line(number: signal.Signals) -> None:
    with started("talk", "--emulator", stdin=subprocess.PIPE) as process:
        assert first_line(process) == CONNECTED
        process.send_signal(number)
        assert process.wait(timeout=PATIENCE) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_when_nobody_reads_it_ends_quietly() -> None:
    with started("talk", "--emulator", stdin=subprocess.PIPE) as process:
        first_line(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.wait(timeout=PATIENCE) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            (),
            "Set OPENAI_API_KEY, or give api_key. Or talk to an emulated provider: --emulator.",
        ),
        (("--emulator", "--config", "/no/such"), "/no/such cannot be read: No such file or directory. Correct "),
        (("--emulator", "--connection-life", "0"), "Invalid value for '--connection-life'"),
    ],
)
def test_what_must_be_set_right_first_is_told_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = talked("hello\n", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_provider_that_is_not_there_is_told_in_one_line() -> None:
    done = talked("hello\n", OPENAI_API_KEY="sk-any-0123", OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the connection was refused. Check the base URL" in done.stderr
    assert done.stderr.count("\n") == 1


def test_another_provider_is_named() -> None:
    with emulator() as ready:
        done = talked("hello\n", OPENAI_API_KEY="sk-any-0123", OPENAI_BASE_URL=ready["base_url"])
    shown = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"-- connected to gpt-realtime\S* at 127\.0\.0\.1", shown[0])
    assert shown[2:3] == ["< hello"]


def test_audio_without_sounddevice_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise ImportError", encoding="utf-8")
    done = talked("hello\n", "--emulator", "--audio", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "voicepilot-sessions[audio]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_with_audio_the_devices_are_opened_started_and_closed(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text(DEVICES, encoding="utf-8")
    done = talked("hello\n", "--emulator", "--audio", PYTHONPATH=str(tmp_path))
    shown = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    form = "opened ['blocksize', 'callback', 'channels', 'dtype', 'samplerate']"
    assert shown[:2] == [form, form]
    assert shown[3:5] == ["started", "started"]
    assert "< hello" in shown
    assert shown[-2:] == ["closed", "closed"]


# --- what is typed ----------------------------------------------------------------------------------------------------


async def test_lines_are_what_is_between_line_ends_however_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [b"gr\xc3", b"\xbc\xc3\x9f dich\n\nzwei\nhal", b"b\xff", b""]
    with Path(os.devnull).open(encoding="utf-8") as stdin:  # noqa: ASYNC230 - /dev/null
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(os, "read", lambda *_: pieces.pop(0))
        assert [line async for line in typed_lines()] == ["grüß dich", "", "zwei", "halb\ufffd"]


async def test_no_input_at_all_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert [line async for line in typed_lines()] == []
