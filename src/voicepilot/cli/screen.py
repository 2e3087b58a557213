"""Where the command line writes: colours and a live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

REFRESH = 0.25
"""Seconds between two looks at the live table."""


class Line(NamedTuple):
    """A line of the story, and how it is meant: plain, good, bad or dim."""

    text: str
    tone: str = "plain"


class Row(NamedTuple):
    """A session in the live table."""

    who: str
    phase: str
    left: float | None  # seconds of its key
    life: float  # seconds, when the key was new
    next_event: str
    renewals: int
    last: str
    degraded: bool = False


Rows = Callable[[], Sequence[Row]]


class Screen(Protocol):
    """What commands need of a screen."""

    def tell(self, at: float, who: str, line: Line) -> None:
        """Show a line about somebody (or nobody). Never raises: handlers of events call it."""
        ...

    def write(self, line: Line) -> None:
        """Show a line as it is."""
        ...

    async def follow(self, rows: Rows) -> None:
        """Keep a table of sessions up to date until cancelled, where there is one."""
        ...


def sentence(text: str) -> str:
    """`text`, ending as a sentence does."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def silence() -> None:
    """Write no more: Python flushes what is buffered when it exits, and would complain that it cannot."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stamp(at: float) -> str:
    """The time of day, with tenths."""
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 10) % 10}"


class PlainScreen:
    """Lines for files, pipes and logs."""

    def __init__(self, lost: Callable[[OSError], None]) -> None:
        self._lost = lost  # called when a line cannot be written

    def tell(self, at: float, who: str, line: Line) -> None:
        """A timestamped line."""
        self.write(Line(f"{stamp(at)}  {who:<9}{line.text}", line.tone))

    def write(self, line: Line) -> None:
        """A line as it is."""
        try:
            print(line.text.rstrip(), flush=True)
        except OSError as error:
            self._lost(error)

    async def follow(self, rows: Rows) -> None:
        """Nothing."""


class LiveScreen:
    """A table that stays at the bottom of the terminal, and the story above it."""

    def __init__(self) -> None:
        from voicepilot.cli import render  # noqa: PLC0415 - only in a terminal

        self._render = render
        self._console = render.terminal()

    def tell(self, at: float, who: str, line: Line) -> None:
        """A timestamped line above the table."""
        self._console.print(self._render.told(stamp(at), who, line.text, line.tone))

    def write(self, line: Line) -> None:
        """A line as it is."""
        self._console.print(self._render.toned(line.text, line.tone))

    async def follow(self, rows: Rows) -> None:
        """Draw the table again and again; as it is when cancelled, it stays."""
        with self._render.live(self._console) as live:
            try:
                while True:
                    live.update(self._render.session_table(rows()), refresh=True)
                    await asyncio.sleep(REFRESH)
            finally:
                live.update(self._render.session_table(rows()), refresh=True)


def wants_table() -> bool:
    """Whether standard output is a terminal that can move its cursor, and nobody asked for plain text."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in {"", "dumb"}


def open_screen(lost: Callable[[OSError], None], *, plain: bool = False) -> Screen:
    """The screen that fits. `lost` is called when a line cannot be written, because a pipe is closed or a disk full."""
    return PlainScreen(lost) if plain or not wants_table() else LiveScreen()
