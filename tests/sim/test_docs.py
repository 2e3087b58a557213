from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.sim.tables import PAGE, renewed
from voicepilot import sim
from voicepilot.cli.app import run_app
from voicepilot.sim.report import Report, facts


def test_the_page_shows_scenarios_and_invariants_as_they_are() -> None:
    page = PAGE.read_text()
    assert page == renewed(page), "docs/simulator.md is stale: python -m tests.sim.tables"


def test_every_line_of_the_report_is_explained() -> None:
    page = PAGE.read_text().partition("## Reading the report")[2].partition("## ")[0]
    recovery = sim.report.Recovery(count=0, median=0, p95=0, worst=0)
    empty = dict.fromkeys(Report.__struct_fields__, 0) | {"recovery": recovery, "failures": {}, "ends": {}}
    explained = [name for row in page.splitlines() for name in row.strip("| ").partition(" |")[0].split(", ")]
    assert [name for name, _ in facts(Report(**empty)) if name not in explained] == []  # type: ignore[arg-type]


def test_the_first_command_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = next(line for line in PAGE.read_text().splitlines() if line.startswith("voicepilot simulate"))
    smaller = shlex.split(command.replace("200", "5").replace("--hours 8", "--hours 0.2"))
    assert run_app(smaller[1:]) == 0
    assert "5 sessions, 0.2 hours, seed 7" in capsys.readouterr().out


def test_every_promised_name_exists() -> None:
    assert [name for name in sim.__all__ if not hasattr(sim, name)] == []
