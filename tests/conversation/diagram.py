"""Draws the table of a conversation for docs/conversation-table.md. `python -m tests.conversation.diagram`."""

from __future__ import annotations

from pathlib import Path

from voicepilot.conversation.inputs import Deadline
from voicepilot.conversation.rules import RULES, Look, Rule, What
from voicepilot.conversation.state import Phase

PAGE = Path(__file__).parents[2] / "docs" / "conversation-table.md"
BEGIN, END = (
    "<!-- generated from conversation/rules.py: begin -->",
    "<!-- generated from conversation/rules.py: end -->",
)


def said(what: What) -> str:
    """What a row waits for, in a word or two."""
    if isinstance(what, Look):
        return "\u2013"  # a dash, longer than a hyphen
    if isinstance(what, Deadline):
        return f"{what.name.lower()} is due"
    if isinstance(what, tuple):
        return f"{what[0].__name__} ({what[1].value})"
    return what.__name__


def arrows() -> list[str]:
    """One arrow for each pair of phases, with everything that leads from one to the other."""
    ways: dict[tuple[Phase, Phase], list[str]] = {}
    for rule in RULES:
        for phase in Phase:
            if phase in rule.phases and rule.to is not None and rule.to is not phase:
                label = _guard(rule) if isinstance(rule.on, Look) else said(rule.on)
                ways.setdefault((phase, rule.to), []).append(label)
    lines = [f"    {a} --> {b}: {', '.join(dict.fromkeys(labels))}" for (a, b), labels in ways.items()]
    return ["    [*] --> new", *lines, "    over --> [*]"]


def _guard(rule: Rule) -> str:
    return rule.when.__name__.replace("_", " ") if rule.when else ""


def row(rule: Rule) -> str:
    """A row of the table, for people."""
    phases = ", ".join(phase for phase in Phase if phase in rule.phases)
    guard = (rule.when.__doc__ or "").splitlines()[0].rstrip(".") if rule.when else ""
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
