"""A picture of a soak: each figure over time, as an SVG that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from tests.soak.samples import MEASURED, Sample

WIDTH, HEIGHT, MARGIN = 900, 150, 60


def picture(samples: Sequence[Sample], warm_up: float, caption: str) -> str:
    """One row for each figure; the warm-up is grey."""
    rows = [_row(samples, what, warm_up, MARGIN + number * (HEIGHT + 40)) for number, what in enumerate(MEASURED)]
    tall = MARGIN + len(MEASURED) * (HEIGHT + 40)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 2 * MARGIN}" height="{tall}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{MARGIN}" y="24" font-size="14">{escape(caption)}</text>{"".join(rows)}</svg>\n'
    )


def _row(samples: Sequence[Sample], what: str, warm_up: float, top: float) -> str:
    values = [float(getattr(each, what)) for each in samples]
    most, last = max(values) * 1.1 or 1.0, samples[-1].at or 1.0
    points = " ".join(
        f"{MARGIN + each.at / last * WIDTH:.1f},{top + HEIGHT - value / most * HEIGHT:.1f}"
        for each, value in zip(samples, values, strict=True)
    )
    grey = min(1.0, warm_up / last) * WIDTH
    return (
        f'<rect x="{MARGIN}" y="{top}" width="{grey:.1f}" height="{HEIGHT}" fill="#eee"/>'
        f'<rect x="{MARGIN}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
        f'<polyline points="{points}" fill="none" stroke="#06c"/>'
        f'<text x="{MARGIN + 6}" y="{top + 16}">{what}: {values[0]:,.0f} at first, at most {max(values):,.0f}, '
        f'{values[-1]:,.0f} at last</text><text x="{MARGIN}" y="{top + HEIGHT + 14}">0</text>'
        f'<text x="{MARGIN + WIDTH}" y="{top + HEIGHT + 14}" text-anchor="end">{last:,.0f} s</text>'
    )
