"""The report as one HTML file that needs nothing else: figures, and a timeline drawn as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from voicepilot.sim.faults import Spell, Trouble
from voicepilot.sim.history import COLUMNS, Column
from voicepilot.sim.report import Report, facts
from voicepilot.sim.world import Outcome

WIDTH, LEFT = 960, 80
CHART, GAP, ROW = 120, 40, 16

STYLE = """
:root{--ink:#1c2430;--dim:#66707f;--paper:#fff;--line:#dde2e9;--good:#2f855a;--bad:#c53030;--blue:#2b6cb0;--band:#f6ad55}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#98a2b3;--paper:#14181f;--line:#2c3440;--good:#48bb78;
--bad:#fc8181;--blue:#63b3ed;--band:#975a16}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1060px;margin:2rem auto;
padding:0 1rem}h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{color:var(--dim);margin:.2rem 0}
table{border-collapse:collapse}td,th{text-align:left;padding:.15rem 1.2rem .15rem 0;vertical-align:top}
th{font-weight:500;color:var(--dim)}code{background:var(--line);padding:.1rem .3rem;border-radius:3px}
.bad{color:var(--bad)}.good{color:var(--good)}svg{width:100%;height:auto}svg text{font:11px system-ui;fill:var(--dim)}
"""


def page(outcomes: Sequence[Outcome], reports: Sequence[Report], titles: Sequence[str]) -> str:
    """The whole page."""
    parts = "".join(section for each in zip(outcomes, reports, titles, strict=True) for section in _section(*each))
    first = reports[0]
    what = f"{first.sessions} sessions, {first.hours:g} hours, seed {first.seed}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(first.scenario)}</title>'
        f"<style>{STYLE}</style><h1>{escape(first.scenario)}</h1><p>{escape(what)}</p>"
        f"<p>{escape(outcomes[0].plan.scenario.description)}</p>{parts}</html>\n"
    )


def _section(outcome: Outcome, report: Report, title: str) -> Iterator[str]:
    if title:
        yield f"<h2>{escape(title)}</h2>"
    yield timeline(outcome)
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(said)}</td></tr>" for name, said in facts(report))
    yield f"<table>{rows}</table>"
    if report.broken:
        found = "".join(
            f"<tr><td>{escape(each.invariant)}</td><td>{each.at:.1f} s</td><td>{escape(each.session)}</td>"
            f"<td>{escape(each.detail)}</td></tr>"
            for each in report.broken
        )
        yield f'<p class="bad">Broken:</p><table>{found}</table>'
    else:
        yield '<p class="good">Every invariant held.</p>'
    yield f"<p>Replay: <code>{escape(report.replay)}</code>, digest <code>{report.digest}</code></p>"


# --- the timeline -------------------------------------------------------------------------------------------------


def timeline(outcome: Outcome) -> str:
    """Requests above, sessions without a key below them, then what was wrong; what was wrong shows behind all."""
    columns, seconds, spells = outcome.history.columns, outcome.plan.seconds, outcome.spells
    asked = [(column.keys, column.refused) for column in columns]
    lacking = [(0, column.without_key) for column in columns]
    minutes = seconds / COLUMNS / 60
    bottom = 2 * CHART + GAP + 18
    kinds = sorted({spell.trouble for spell in spells})
    height = bottom + 24 + ROW * len(kinds) + 24
    return (
        f'<svg viewBox="0 0 {LEFT + WIDTH} {height}" role="img" aria-label="timeline">'
        + "".join(_band(spell, seconds, 18, bottom - 18, 0.25) for spell in spells)
        + _chart(asked, 0, f"requests per {minutes:.3g} minutes: with a key, and without")
        + _chart(lacking, CHART + GAP, f"sessions without a valid key; {_live(columns)} live at the most")
        + "".join(_row(kind, spells, seconds, bottom + 24 + ROW * n) for n, kind in enumerate(kinds))
        + "".join(_hours(outcome.plan.hours, height))
        + "</svg>"
    )


def _row(kind: Trouble, spells: Sequence[Spell], seconds: float, top: int) -> str:
    drawn = "".join(_band(spell, seconds, top, ROW - 4, 1.0) for spell in spells if spell.trouble is kind)
    return f'<text x="{LEFT - 8}" y="{top + ROW - 6}" text-anchor="end">{escape(kind.value)}</text>{drawn}'


def _live(columns: Sequence[Column]) -> int:
    return max(column.live for column in columns)


def _band(spell: Spell, seconds: float, top: int, tall: int, opacity: float) -> str:
    x, ends = LEFT + WIDTH * spell.begins / seconds, LEFT + WIDTH * min(1.0, spell.ends / seconds)
    said = f"{spell.trouble.value}, {spell.ends - spell.begins:.0f} s from {spell.begins / 60:.1f} min"
    return (
        f'<rect x="{x:.1f}" y="{top}" width="{max(1.0, ends - x):.1f}" height="{tall}" fill="var(--band)" '
        f'opacity="{opacity}"><title>{escape(said)}</title></rect>'
    )


def _chart(values: Sequence[tuple[int, int]], top: int, title: str) -> str:
    most = max(1, *(good + bad for good, bad in values))
    step, bottom = WIDTH / len(values), top + 18 + CHART
    bars = []
    for number, (good, bad) in enumerate(values):
        x, y = LEFT + number * step, float(bottom)
        for count, colour in ((good, "--good"), (bad, "--bad")):
            if count:
                tall = CHART * count / most
                y -= tall
                bars.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{step * 0.9:.1f}" height="{tall:.1f}" fill="var({colour})"/>'
                )
    return (
        f'<text x="{LEFT}" y="{top + 12}">{escape(title)}</text><text x="{LEFT - 8}" y="{top + 28}" '
        f'text-anchor="end">{most}</text><line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{bottom}" y2="{bottom}" '
        f'stroke="var(--line)"/>{"".join(bars)}'
    )


def _hours(hours: float, height: int) -> Iterator[str]:
    ticks = 8
    for number in range(ticks + 1):
        x, hour = LEFT + WIDTH * number / ticks, hours * number / ticks
        anchor = "start" if number == 0 else "end" if number == ticks else "middle"
        yield f'<text x="{x:.0f}" y="{height - 8}" text-anchor="{anchor}">{hour:.3g} h</text>'
