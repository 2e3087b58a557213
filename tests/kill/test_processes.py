"""A process is told to end, or is ended: what it still does, and what it leaves on the disk."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.canary import CREDENTIAL
from tests.cli.test_processes import ENVIRONMENT, PATIENCE, emulator
from tests.kill.application import CALLERS, WORDS

pytestmark = pytest.mark.sockets

KILLS = int(os.environ.get("VOICEPILOT_KILLS", "2"))
"""How often the process is killed; `make kill` does it more often."""

LAST_LINE = 120
"""Of those the application tells; it is killed before it can tell more."""

SETTINGS = """\
[provider]
model = "gpt-realtime"

[telemetry]
log_style = "json"
log_level = "debug"

[recovery]
breaker_minimum_throughput = 100
"""


class Application:
    """The process, and the folder that is all it may write to."""

    def __init__(self, root: Path, base_url: str) -> None:
        self.root = root
        for name in ("home", "tmp", "here"):
            (root / name).mkdir(exist_ok=True)
        self.settings = root / "here" / "voicepilot.toml"
        self.settings.write_text(SETTINGS, encoding="utf-8")
        self.log = root / "here" / "log.jsonl"
        self._environment = ENVIRONMENT | {
            "OPENAI_API_KEY": CREDENTIAL,
            "OPENAI_BASE_URL": base_url,
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.told: list[dict[str, Any]] = []

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        with (
            self.log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("application.py"))],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.root / "here",
                env={name: value for name, value in self._environment.items() if not name.startswith("XDG_")},
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def read(self, process: subprocess.Popen[str], lines: int) -> None:
        """So much of what it tells."""
        assert process.stdout is not None
        for _, line in zip(range(lines), process.stdout, strict=False):
            self.told.append(json.loads(line))

    def read_answers(self, process: subprocess.Popen[str]) -> None:
        """Until everybody has heard an answer."""
        while len({line.get("answered") for line in self.told} - {None}) < CALLERS:
            before = len(self.told)
            self.read(process, 1)
            assert len(self.told) > before, self.log.read_text()[-4_000:]

    def end(self, process: subprocess.Popen[str]) -> int:
        """Say stop, and read the rest."""
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
        self.told += [json.loads(line) for line in out.splitlines()]
        return process.returncode

    def of(self, name: str) -> list[Any]:
        return [line[name] for line in self.told if name in line]


@pytest.fixture(scope="module")
def provider() -> Iterator[dict[str, str]]:
    with emulator("--key-life", "8", "--session-life", "5") as ready:
        yield ready


@pytest.fixture
def application(tmp_path: Path, provider: dict[str, str]) -> Iterator[Application]:
    _ask(provider, "DELETE", "faults")
    _ask(provider, "DELETE", "record")
    made = Application(tmp_path, provider["base_url"])
    yield made
    assert [path for path in made.of("wrote") if not path.startswith((str(tmp_path), "/dev/null"))] == []


def _ask(provider: dict[str, str], method: str, what: str, body: object = None) -> Any:
    url = provider["base_url"].removesuffix("/v1") + "/_emulator/" + what
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - an emulator of our own
        return json.loads(answer.read() or b"null")


def look_for_secrets(root: Path) -> None:
    """Whatever the process could have written holds no credential, no key and no word that was said."""
    secret = re.compile("|".join([CREDENTIAL[5:20], r"ek_[A-Za-z0-9]{8,}", "quartz", "xylophone"]))
    assert "quartz" in WORDS
    for path in root.rglob("*"):
        if path.is_file():
            found = secret.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{path}: {found}"


# --- SIGTERM ----------------------------------------------------------------------------------------------------------


def assert_all_ended(application: Application) -> None:
    """Every session got its hook, with what was said, and a purge that left nothing."""
    sessions = dict.fromkeys(application.of("started"), True)
    assert len(sessions) == CALLERS
    assert {line["session"]: line["turns"] > 0 for line in application.told if "hook" in line} == sessions
    ended = {line["ended"]: line["complete"] and line["cleared"] > 0 for line in application.told if "ended" in line}
    assert ended == sessions


def test_who_is_told_to_end_ends_everything_first(application: Application, provider: dict[str, str]) -> None:
    with application.running() as process:
        application.read_answers(process)
        assert application.end(process) == 128 + signal.SIGTERM
    assert_all_ended(application)
    record = _ask(provider, "GET", "record")["entries"]
    opened = {entry["connection"] for entry in record if entry["kind"] == "opened"}
    closed = {entry["connection"]: (entry["by"], entry["code"]) for entry in record if entry["kind"] == "closed"}
    assert len(opened) >= CALLERS
    assert closed == dict.fromkeys(opened, ("client", 1000))
    levels = {json.loads(line)["level"] for line in application.log.read_text().splitlines()}
    assert levels <= {"debug", "info"}
    look_for_secrets(application.root)


@pytest.mark.parametrize("fault", ["live:freeze", "outage:hang:seconds=60"])
def test_a_provider_that_hangs_does_not_hold_up_the_end(
    application: Application, provider: dict[str, str], fault: str
) -> None:
    with application.running() as process:
        application.read_answers(process)
        _ask(provider, "POST", "faults", {"fault": fault})
        assert application.end(process) == 128 + signal.SIGTERM
    assert_all_ended(application)
    look_for_secrets(application.root)


# --- SIGKILL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(KILLS))
def test_who_is_killed_leaves_what_can_be_read_and_no_secret(application: Application, seed: int) -> None:
    with application.running() as process:
        application.read(process, random.Random(seed).randint(1, LAST_LINE))
        process.kill()
        process.wait(timeout=PATIENCE)
    assert tomllib.loads(application.settings.read_text()) == tomllib.loads(SETTINGS)
    *lines, last = application.log.read_text(encoding="utf-8").split("\n")
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert last == "" or last.startswith("{")  # the kill may have come in the middle of a line
    look_for_secrets(application.root)


def test_after_a_kill_it_starts_again_in_the_same_place(application: Application) -> None:
    with application.running() as process:
        application.read_answers(process)
        process.kill()
    application.told.clear()
    with application.running() as process:
        application.read_answers(process)
        assert application.end(process) == 128 + signal.SIGTERM
    assert len(application.of("ended")) == CALLERS
    look_for_secrets(application.root)
