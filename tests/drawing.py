"""What the drawings of both tables of rules share: a diagram, the rows, and the place in a page where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any


def arrows(rules: Iterable[Any], phases: Iterable[StrEnum], label: Callable[[Any], str]) -> list[str]:
    """One arrow for each pair of phases, with everything that leads from one to the other."""
    ways: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for rule in rules:
        for phase in phases:
            if phase in rule.phases and rule.to is not None and rule.to is not phase:
                ways.setdefault((phase, rule.to), []).append(label(rule))
    return [f"    {a} --> {b}: {', '.join(dict.fromkeys(labels))}" for (a, b), labels in ways.items()]


def row(rule: Any, phases: Iterable[StrEnum], said: Callable[[Any], str]) -> str:
    """A row of the table, for people."""
    where = ", ".join(phase for phase in phases if phase in rule.phases)
    guard = (rule.when.__doc__ or "").splitlines()[0].rstrip(".") if rule.when else ""
    doc = (rule.do.__doc__ or "").splitlines()[0]
    return f"| {where} | {said(rule.on)} | {guard} | {rule.to or ''} | {doc} |"


def drawn(arrows: Iterable[str], rows: Iterable[str]) -> list[str]:
    """The diagram and the table."""
    head = ["| in | when | and if | then be | and do |", "|---|---|---|---|---|"]
    return ["```mermaid", "stateDiagram-v2", *arrows, "```", "", *head, *rows]


def renewed(page: str, begin: str, end: str, lines: Iterable[str]) -> str:
    """`page` with what stands between the two marks made anew."""
    head, rest = page.split(begin)
    return head + "\n".join([begin, *lines, end]) + rest.split(end)[1]
