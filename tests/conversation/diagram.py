"""Draws the table of a conversation for docs/conversation-table.md. `python -m tests.conversation.diagram`."""

from __future__ import annotations

from pathlib import Path

from tests.drawing import arrows, drawn, renewed, row

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


def label(rule: Rule) -> str:
    """What leads along an arrow: a guard, where the rule waits for nothing else."""
    if isinstance(rule.on, Look):
        return rule.when.__name__.replace("_", " ") if rule.when else ""
    return said(rule.on)


def generated() -> list[str]:
    """The generated part of the page."""
    ways = ["    [*] --> new", *arrows(RULES, Phase, label), "    over --> [*]"]
    return drawn(ways, [row(rule, Phase, said) for rule in RULES])


def with_table(page: str) -> str:
    """`page` with its generated part made anew."""
    return renewed(page, BEGIN, END, generated())


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
