"""`voicepilot simulate`: what it says, what it refuses, and how it exits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from tests.sim.faults import FAULTS
from tests.sim.planting import planted

from voicepilot.cli.app import run_app
from voicepilot.cli.codes import FAILED, USAGE
from voicepilot.cli.simulate import variants_of
from voicepilot.sim import SCENARIOS, Setup

SMALL = ["simulate", "--sessions", "4", "--hours", "0.4", "--seed", "3"]


@pytest.fixture(autouse=True)
def _somewhere_without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_reports_what_a_person_wants_to_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(SMALL) == 0
    said = capsys.readouterr().out
    assert "availability" in said
    assert "Every invariant held." in said
    assert "voicepilot simulate --scenario provider-bad-day --sessions 4 --hours 0.4 --seed 3" in said


def test_json_is_one_line_without_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app([*SMALL, "--json"]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    (report,) = msgspec.json.decode(out)["reports"]
    assert (report["seed"], report["broken"]) == (3, [])
    assert len(report["digest"]) == 32


def test_the_replay_gives_the_same_digest(capsys: pytest.CaptureFixture[str]) -> None:
    run_app([*SMALL, "--compare", "margin=20,40", "--json"])
    reports = msgspec.json.decode(capsys.readouterr().out)["reports"]
    run_app([*reports[1]["replay"].split()[1:], "--json"])
    (again,) = msgspec.json.decode(capsys.readouterr().out)["reports"]
    assert reports[0]["digest"] != reports[1]["digest"] == again["digest"]


def test_a_terminal_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    @contextmanager
    def bar(_: str) -> Iterator[Callable[[float], None]]:
        yield seen.append

    monkeypatch.setattr("voicepilot.cli.simulate.wants_table", lambda: True)
    monkeypatch.setattr("voicepilot.cli.render.progress", bar)
    assert run_app(SMALL) == 0
    assert seen == sorted(seen)
    assert (seen[0] < 0.02, seen[-1]) == (True, 1.0)
    assert run_app([*SMALL, "--json"]) == 0
    assert seen == sorted(seen)  # not moved again: programs read this


def test_two_settings_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app([*SMALL, "--compare", "margin=10,30"]) == 0
    said = capsys.readouterr().out
    titles = next(line for line in said.splitlines() if "margin" in line)
    assert titles.split() == ["renewal_margin_seconds=10", "renewal_margin_seconds=30"]
    assert said.count("Every invariant held.") == 2


def test_the_picture_needs_nothing_else(tmp_path: Path) -> None:
    assert run_app([*SMALL, "--html", "day.html"]) == 0
    page = (tmp_path / "day.html").read_text()
    picture = page[page.index("<svg") : page.index("</svg>") + 6]
    bars = [each for each in ET.fromstring(picture) if each.get("fill") == "var(--good)"]  # noqa: S314 - our own page
    assert max(float(bar.get("height", "0")) for bar in bars) > 60
    assert not [word for word in ("<script", "<link", "src=", "href=", "url(", "@import") if word in page]


def test_settings_of_a_file_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text("[sessions]\nkey_life_seconds = 120\n")
    assert run_app([*SMALL, "--config", "mine.toml", "--json"]) == 0
    (report,) = msgspec.json.decode(capsys.readouterr().out)["reports"]
    assert report["changed"] == {"key_life_seconds": 120}
    assert report["replay"].endswith("--config mine.toml")
    assert report["renewals"] > 20  # in at most 1.6 session-hours, of keys that live two minutes


def test_every_scenario_is_listed_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["simulate", "--list"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == list(SCENARIOS)
    assert all(line.endswith(".") for line in said)


def test_a_broken_invariant_shows_in_exit_code_seed_and_replay(capsys: pytest.CaptureFixture[str]) -> None:
    fault = next(fault for fault in FAULTS if fault.name == "the old key is kept after the swap")
    with planted(fault):
        assert run_app(SMALL) == FAILED
    said = capsys.readouterr().out
    assert "BROKEN, with seed 3:" in said
    assert "keys-are-held-once at " in said
    assert "Again: voicepilot simulate --scenario provider-bad-day --sessions 4 --hours 0.4 --seed 3" in said


@pytest.mark.parametrize(
    ("given", "names", "remedy"),
    [
        (["--scenario", "calm"], "--scenario calm: no such scenario; did you mean calm-day?", "--list"),
        (["--compare", "margin"], "--compare margin: values are missing", "margin=10,30"),
        (["--compare", "margin=a"], "a is not a number", "margin=10,30"),
        (["--compare", "margin=1,,2"], "nothing is not a number", "margin=10,30"),
        (["--compare", "retry=3"], "it could be max_retry_attempts or retry_backoff_ms", "margin=10,30"),
        (["--compare", "moon=3"], "there are renewal_margin_seconds", "margin=10,30"),
        (["--compare", "margin=99999"], "renewal_margin_seconds: must be between 0 and 3600", ""),
        (["--compare", "attempts=1.5"], "max_retry_attempts: must be a whole number", ""),
        (["--sessions", "0"], "--sessions", "--help"),
        (["--hours", "x"], "--hours", "--help"),
        (["--config", "nowhere.toml"], "nowhere.toml", ""),
    ],
)
def test_a_mistake_is_named_with_what_to_do(
    given: list[str], names: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["simulate", *given]) == USAGE
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert names in err
    assert remedy in err


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["simulate", "--html", "nowhere/day.html"]) == FAILED
    assert "--html nowhere/day.html: No such file or directory." in capsys.readouterr().err


def test_a_part_of_an_options_name_will_do() -> None:
    titles = [variant.title for variant in variants_of("life=60,600", Setup(), ())]
    assert titles == ["key_life_seconds=60", "key_life_seconds=600"]
