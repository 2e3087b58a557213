"""`voicepilot config`: sources are shown, secrets are not, problems are told all at once and in the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from voicepilot.cli import emulate as command
from voicepilot.cli.app import PORT, run_app
from voicepilot.config.listing import reference
from voicepilot.emulator import RealtimeEmulator
from voicepilot.emulator.options import Options

CANARY = "sk-canary-CREDENTIAL-0123456789"
PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_show_names_each_source(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.toml").write_text("[sessions]\nkey_life_seconds = 60\n")
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("VOICEPILOT_TELEMETRY__METRIC_LABELS", "tenant")
    assert run_app(["config", "show", "--config", "mine.toml", "--changed"]) == 0
    assert [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()] == [
        ["provider.api_key", "<hidden>", "environment variable OPENAI_API_KEY"],
        ["sessions.key_life_seconds", "60.0", "mine.toml [sessions] key_life_seconds"],
        ["telemetry.metric_labels", '["tenant"]', "environment variable VOICEPILOT_TELEMETRY__METRIC_LABELS"],
    ]


def test_show_shows_everything_also_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == ["provider", "sessions", "conversation", "recovery", "privacy", "telemetry", "emulator"]
    assert shown["emulator"]["port"] == {"value": 8690, "source": "default"}


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_no_secret_is_shown_wherever_it_was_put(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    plain = "not-in-the-form-of-a-key"
    monkeypatch.setenv("OPENAI_API_KEY", plain)
    monkeypatch.setenv("VOICEPILOT_EMULATOR__API_KEYS", f"{CANARY},k2")
    monkeypatch.setenv("VOICEPILOT_PROVIDER__MODEL", CANARY)
    monkeypatch.setenv("VOICEPILOT_PROVIDER__ENTRA_SCOPE", plain)
    assert run_app(["config", "show", *flags]) == 0
    monkeypatch.setenv("VOICEPILOT_PROVIDER__PROFILE", CANARY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://user:{plain}@x.example/v1")
    assert run_app(["config", "check", *flags]) == 2
    assert run_app(["config", "show", *flags]) == 2
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    assert plain not in said.out + said.err


def test_check_tells_everything_and_exits_with_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_app(["config", "check"]) == 0
    assert capsys.readouterr().out == "The settings can be used.\n"
    Path("voicepilot.toml").write_text("[sessions]\nkey_life_seconds = 1\n[privacy]\naudio_seconds = -1\n")
    assert run_app(["config", "check", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], len(report["problems"])) == (False, 2)
    Path("voicepilot.toml").write_text("[provider]\nprofile = 'azure'\n[emulator]\ncertificate = 'x'\n")
    assert run_app(["config", "check"]) == 2
    assert capsys.readouterr().out.splitlines()[:2] == [
        "azure_endpoint is not set",
        "certificate and private_key go together",
    ]


def test_what_is_wrong_is_one_line_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    Path("voicepilot.toml").write_text("[sessions]\nkey_life_seconds = 1\nretry_backoff_ms = 0\n")
    assert run_app(["config", "show"]) == 2
    assert run_app(["config", "show", "--config", "nowhere.toml"]) == 2
    assert run_app(["config", "check", "--config", "nowhere.toml"]) == 2
    assert run_app(["config", "reference", "--output", "no/where.md"]) == 2
    said = capsys.readouterr()
    assert [line.partition(":")[0] for line in said.err.splitlines()] == ["voicepilot"] * 3
    assert "nowhere.toml cannot be read" in said.out


def test_config_alone_is_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["config"]) == 0
    assert "reference" in capsys.readouterr().out


def test_the_reference_page_is_not_stale(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "run: voicepilot config reference --output docs/configuration.md"
    )
    assert run_app(["config", "reference"]) == 0
    assert capsys.readouterr().out == reference()
    assert run_app(["config", "reference", "--output", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == reference()


def test_emulate_takes_what_it_is_not_told_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Options] = []

    class Noted(RealtimeEmulator):
        def __init__(self, options: Options | None = None, **changes: Any) -> None:
            super().__init__(options, **changes)
            made.append(self.options)

    monkeypatch.setattr(command, "RealtimeEmulator", Noted)
    monkeypatch.setattr(command, "run", lambda _: 0)
    Path("mine.toml").write_text("[emulator]\nport = 1\nkey_life = 20\nseed = 7\n")
    assert run_app(["emulate", "--config", "mine.toml", "--port", "2"]) == 0
    assert run_app(["emulate"]) == 0
    assert made == [Options(port=2, key_life=20, seed=7), Options(port=PORT)]
    Path("mine.toml").write_text("[emulator]\nport = 99999\n")
    assert run_app(["emulate", "--config", "mine.toml"]) == 2
