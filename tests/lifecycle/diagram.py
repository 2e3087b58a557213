"""Draws the rules table as a mermaid diagram and lists, for docs/lifecycle.md. `python -m tests.lifecycle.diagram`."""

from __future__ import annotations

from pathlib import Path

from voicepilot.lifecycle.inputs import Hook
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.rules import RULES, Rule, What
from voicepilot.lifecycle.session import Deadline

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
BEGIN, END = "<!-- generated from rules.py: begin -->", "<!-- generated from rules.py: end -->"


def said(what: What) -> str:
    """What a row waits for, in a word."""
    if isinstance(what, Deadline):
        return f"{what.name.lower()} is due"
    if isinstance(what, Hook):
        return f"{what.value} done"
    return what.__name__


def arrows() -> list[str]:
    """One arrow for each pair of phases, with everything that leads from one to the other."""
    ways: dict[tuple[Phase, Phase], list[str]] = {}
    for rule in RULES:
        for phase in Phase:
            if phase in rule.phases and rule.to is not None and rule.to is not phase:
                ways.setdefault((phase, rule.to), []).append(said(rule.on))
    lines = [f"    {a} --> {b}: {', '.join(dict.fromkeys(labels))}" for (a, b), labels in ways.items()]
    return ["    [*] --> idle", *lines, "    ended --> [*]", "    failed --> [*]"]


def row(rule: Rule) -> str:
    """A row of the table, for people."""
    phases = ", ".join(phase for phase in Phase if phase in rule.phases)
    guard = (rule.when.__doc__ or "").rstrip(".") if rule.when else ""
    doc = (rule.do.__doc__ or "").splitlines()[0]
    return f"| {phases} | {said(rule.on)} | {guard} | {rule.to or ''} | {doc} |"


def generated() -> str:
    """The generated part of the page."""
    return "\n".join(
        [
            BEGIN,
            "```mermaid",
            "stateDiagram-v2",
            *arrows(),
            "```",
            "",
            "| in | when | and if | then be | and do |",
            "|---|---|---|---|---|",
            *(row(rule) for rule in RULES),
            END,
        ]
    )


def renewed(page: str) -> str:
    """`page` with its generated part made anew."""
    head, rest = page.split(BEGIN)
    return head + generated() + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
