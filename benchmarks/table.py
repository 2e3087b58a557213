"""A row of the table, how it is shown, and how a module of rows is run alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from benchmarks.measure import Pair, Spread

UNITS = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. A figure in `s` is shown in the unit of time that reads best."""

    what: str
    ours: float
    unit: str
    beside: float | None = None
    beside_what: str = "–"
    ratio: Spread | None = None
    target: str = "reported"
    reached: bool | None = None


Rows = Sequence[Row]


def compared(what: str, found: Pair, beside_what: str, *, at_most: float | None = None, unit: str = "s") -> Row:
    """The row of a pair, reached when the median ratio is at most `at_most`; reported only, without it."""
    return Row(
        what=what,
        ours=found.ours.middle,
        unit=unit,
        beside=found.beside.middle,
        beside_what=beside_what,
        ratio=found.ratio,
        target="reported" if at_most is None else f"at most {at_most:g} ×",
        reached=None if at_most is None else found.ratio.middle <= at_most,
    )


def run(rows: Callable[[], Coroutine[Any, Any, Rows]]) -> None:
    """Measure the rows of one module and print them: as a table, or with --json as one line."""
    measured = asyncio.run(rows())
    if "--json" in sys.argv[1:]:
        print(msgspec.json.encode(measured).decode())
    else:
        print(as_table(measured))


HEAD = ("what", "ours", "beside", "ratio (quartiles)", "to reach", "reached")


def as_table(rows: Rows) -> str:
    """The rows in Markdown, which also reads well in a terminal."""
    lines = [HEAD, *(_cells(row) for row in rows)]
    wide = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    lines.insert(1, tuple("-" * width for width in wide))
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, wide, strict=True))} |" for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    beside = row.beside_what if row.beside is None else f"{quantity(row.beside, row.unit)}: {row.beside_what}"
    ratio = "–" if row.ratio is None else f"{row.ratio.middle:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
    reached = {None: "–", True: "yes", False: "NO"}[row.reached]
    return row.what, quantity(row.ours, row.unit), beside, ratio, row.target, reached


def quantity(value: float, unit: str) -> str:
    """Three digits that count, and the unit."""
    if unit == "s":
        unit = next((unit for unit, scale in UNITS.items() if value * scale >= 1), "ns")
        value *= UNITS[unit]
    if value >= 100:
        return f"{value:,.0f} {unit}"
    return f"{value:.{1 if value >= 10 else 2}f} {unit}"
