from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterable

import pytest
from rich.console import Console

from voicepilot.cli import render
from voicepilot.cli.demo.history import Figures
from voicepilot.cli.demo.promises import Promise
from voicepilot.cli.demo.summary import summary_lines
from voicepilot.cli.screen import Line, LiveScreen, PlainScreen, Row, open_screen, stamp

ROW = Row(who="anna", phase="active", left=12.0, life=20.0, next_event="renewal in 2 s", renewals=3, last="renewed")


def never(error: OSError) -> None:
    pytest.fail(str(error))


def drawn(rows: Iterable[Row], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render.session_table(rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("left", "shown"),
    [(20, "██████████"), (10, "█████░░░░░"), (0.1, "█░░░░░░░░░"), (0, "░" * 10), (-3, "░" * 10), (99, "█" * 10)],
)
def test_a_bar_shows_what_is_left(left: float, shown: str) -> None:
    assert render.bar(left, 20, width=10) == shown


def test_a_bar_of_nothing_is_empty() -> None:
    assert render.bar(3, 0, width=4) == "░░░░"


def test_the_table_shows_each_session() -> None:
    ended = ROW._replace(who="cleo", phase="ended", left=None, next_event="")
    text = drawn([ROW, ended])
    anna, cleo = (line for line in text.splitlines() if "anna" in line or "cleo" in line)
    for cell in ("active", "█████░░░  12 s", "renewal in 2 s", " 3 ", "renewed"):
        assert cell in anna
    assert "ended" in cleo
    assert "no key" in cleo


def test_a_degraded_session_is_marked() -> None:
    assert "active !" in drawn([ROW._replace(degraded=True)])


def test_the_table_fits_a_narrow_terminal() -> None:
    text = drawn([ROW._replace(last="a very long story " * 9)], width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "12 s" in text


def test_a_young_key_is_green_and_an_old_one_red() -> None:
    styles = [str(render.key_text(ROW._replace(left=left)).style) for left in (19, 9, 3)]
    assert styles == ["green", "yellow", "red"]


def test_plain_lines_carry_the_time_and_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    at = 1_800_000_000.27
    PlainScreen(never).tell(at, "anna", Line("renewed", "good"))
    assert capsys.readouterr().out == f"{stamp(at)}  anna     renewed\n"
    assert stamp(at).endswith(":00.2")


def test_a_line_that_cannot_be_written_is_reported_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    lost: list[OSError] = []
    monkeypatch.setattr(sys, "stdout", Closed())
    PlainScreen(lost.append).write(Line("anybody?"))
    assert [type(error) for error in lost] == [BrokenPipeError]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "screen"),
    [
        ({"TERM": "xterm"}, LiveScreen),
        ({"TERM": "xterm", "NO_COLOR": "1"}, PlainScreen),
        ({"TERM": "xterm", "NO_COLOR": ""}, LiveScreen),
        ({"TERM": "dumb"}, PlainScreen),
        ({}, PlainScreen),
    ],
)
def test_a_table_is_for_terminals_that_want_one(
    environment: dict[str, str], screen: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert isinstance(open_screen(never), screen)
    assert isinstance(open_screen(never, plain=True), PlainScreen)


def test_a_file_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert isinstance(open_screen(never), PlainScreen)


async def test_the_live_table_stays_and_the_story_runs_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    screen = LiveScreen()
    rows = [ROW]
    async with asyncio.TaskGroup() as group:
        following = group.create_task(screen.follow(lambda: rows))
        await asyncio.sleep(1)
        screen.tell(0.0, "anna", Line("spoke", "good"))
        rows[0] = ROW._replace(phase="ended")
        following.cancel()
    screen.write(Line("over"))
    shown = terminal.getvalue()
    assert shown.index("spoke") < shown.rindex("ended") < shown.rindex("over")
    assert "[bold]" not in shown


FIGURES = Figures(
    sessions=3,
    renewals=13,
    automatic=12,
    by_hand=1,
    for_connections=0,
    retries=9,
    mean_latency=1.5,
    undisturbed_latency=0.25,
    without_key=0.0,
    turns=40,
    tasks_left=0,
    sockets_left=None,
)


def summary(*promises: Promise, finished: bool = True) -> str:
    return "\n".join(line.text for line in summary_lines(FIGURES, promises, took=51.2, finished=finished, limit=90))


def test_the_summary_gives_every_figure() -> None:
    text = summary(Promise("limits hold", "3 at once"))
    for line in (
        "in 51 s",
        "renewals                     13 (12 by themselves, 1 by hand, 0 to connect)",
        "retries                      9 key requests",
        "mean renewal latency         1.50 s (0.25 s where nothing was in the way)",
        "seconds without a valid key  0.0",
        "sockets left                 not counted on this system",
        "kept    limits hold  3 at once",
        "All 1 promises were kept.",
    ):
        assert line in text


def test_the_summary_says_what_was_broken() -> None:
    text = summary(Promise("limits hold", "4 at once", ("4 sessions were live",)), Promise("told", "yes"))
    assert "BROKEN  limits hold" in text
    assert "4 sessions were live" in text
    assert text.endswith("1 of 2 promises were broken.")


def test_the_summary_says_when_the_story_did_not_end() -> None:
    assert summary(Promise("told", "yes"), finished=False).endswith("did not come to its end within 90 s.")
