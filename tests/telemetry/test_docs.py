"""The page and the dashboard say what the code does. `python -m tests.telemetry.test_docs` mends the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from voicepilot.telemetry.logs import FIELDS
from voicepilot.telemetry.metrics import METRICS, Metric
from voicepilot.telemetry.traces import ATTRIBUTES, SPANS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "observability.md"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())

SUFFIXES = {"gauge": [""], "counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
WORDS_OF_PROMQL = {
    "sum",
    "by",
    "rate",
    "histogram_quantile",
    "le",
    "increase",
    "max",
    "clamp_min",
    "without",
    "or",
    "vector",
}


def _rows(table: dict[str, str]) -> str:
    return "\n".join(f"| `{name}` | {meaning} |" for name, meaning in table.items())


def _metric_rows() -> str:
    return "\n".join(
        f"| `{metric.name}` | {metric.kind} | {metric.unit} | {', '.join(f'`{name}`' for name in metric.attributes)} "
        f"| {metric.description} |"
        for metric in METRICS
    )


TABLES = {
    "| field | meaning |\n|---|---|\n": _rows(FIELDS),
    "| span | spans |\n|---|---|\n": _rows(SPANS),
    "| attribute | meaning |\n|---|---|\n": _rows(ATTRIBUTES),
    "| metric | kind | unit | told apart by | meaning |\n|---|---|---|---|---|\n": _metric_rows(),
}


@pytest.mark.parametrize("head", TABLES, ids=lambda head: head.split("|")[1].strip())
def test_the_page_lists_exactly_what_there_is(head: str) -> None:
    _, _, rest = PAGE.read_text().partition(head)
    assert rest.split("\n\n")[0].strip() == TABLES[head]


def prometheus(metric: Metric) -> set[str]:
    """The names that OpenTelemetry's Prometheus exporters give the metric."""
    unit = "_seconds" if metric.unit == "s" else ""
    name = metric.name.replace(".", "_") + unit
    return {name + suffix for suffix in SUFFIXES[metric.kind]}


def expressions() -> list[str]:
    panels = [panel for row in DASHBOARD["panels"] for panel in [row, *row.get("panels", [])]]
    found = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert found
    return found


def used(expression: str) -> set[str]:
    return set(re.findall(r"voicepilot_\w+", expression))


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_on_the_dashboard_exists(expression: str) -> None:
    known = {name: metric for metric in METRICS for name in prometheus(metric)}
    assert used(expression) <= set(known)
    words = set(re.findall(r"\b[a-z_]+\b", re.sub(r'"[^"]*"|\$\w+|voicepilot_\w+|\[[^]]*\]', "", expression)))
    labels = {name for used_name in used(expression) for name in known[used_name].attributes}
    assert words <= WORDS_OF_PROMQL | labels


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for expression in expressions() for name in used(expression)}
    assert [metric.name for metric in METRICS if not shown & prometheus(metric)] == []


def test_the_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert DASHBOARD["schemaVersion"] >= 36
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    assert not re.search(r"https?://", json.dumps(DASHBOARD))


def mend() -> None:
    """Write the tables into the page."""
    page = PAGE.read_text()
    for head, rows in TABLES.items():
        before, _, rest = page.partition(head)
        _, gap, after = rest.partition("\n\n")
        page = before + head + rows + gap + after
    PAGE.write_text(page)


if __name__ == "__main__":
    mend()
