"""Tables, bars and colours. rich is imported here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from voicepilot.cli.screen import Row

BAR = 8
"""Characters of a key's bar."""

PHASES = {
    "active": "green",
    "renewing": "cyan",
    "starting": "cyan",
    "recovering": "bold red",
    "paused": "yellow",
    "ending": "magenta",
    "ended": "dim",
    "failed": "red",
}
TONES = {"plain": "", "good": "green", "bad": "red", "dim": "dim", "chapter": "bold"}


def bar(left: float, life: float, width: int = BAR) -> str:
    """What is left of `life`, as a bar; something is shown as long as there is something."""
    share = min(1.0, max(0.0, left / life)) if life > 0 else 0.0
    full = int(share * width + 0.5)
    if share > 0:
        full = max(1, full)
    return "█" * full + "░" * (width - full)


def key_text(row: Row) -> Text:
    """The key's bar and seconds, green while it is young."""
    if row.left is None:
        return Text("no key", style="dim")
    style = "red" if row.left < row.life / 4 else "yellow" if row.left <= row.life / 2 else "green"
    return Text(f"{bar(row.left, row.life)} {row.left:3.0f} s", style=style)


def session_table(rows: Iterable[Row]) -> Table:
    """The live table."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, expand=True, pad_edge=False)
    table.add_column("session", no_wrap=True)
    table.add_column("phase", no_wrap=True, min_width=10)
    table.add_column("key", no_wrap=True, min_width=BAR + 6)
    table.add_column("next event", no_wrap=True, min_width=16)
    table.add_column("renewals", justify="right", no_wrap=True)
    table.add_column("last event", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        phase = Text(row.phase, style=PHASES.get(row.phase, ""))
        if row.degraded:
            phase.append(" !", style="bold red")
        table.add_row(row.who, phase, key_text(row), row.next_event, str(row.renewals), row.last)
    return table


def told(at: str, who: str, text: str, tone: str) -> Table:
    """A line of the story in a terminal; what does not fit goes on under itself."""
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(no_wrap=True, style="dim")
    line.add_column(no_wrap=True, style="bold", min_width=8)
    line.add_column(style=TONES.get(tone, ""))
    line.add_row(Text(at), Text(who), Text(text))
    return line


def toned(text: str, tone: str) -> Text:
    """A line in its colour."""
    return Text(text, style=TONES.get(tone, ""))


def terminal() -> Console:
    """The terminal we write to."""
    return Console(highlight=False)


def live(console: Console) -> Live:
    """A place at the bottom of the terminal that is drawn when it is told to."""
    return Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[float], None]]:
    """A bar that is moved by telling it which part is done, from 0 to 1; it goes when it is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal(), transient=True) as drawn:
        task = drawn.add_task(title, total=1.0)
        yield lambda done: drawn.update(task, completed=done)
