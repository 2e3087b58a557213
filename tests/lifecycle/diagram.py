"""Draws the rules table as a mermaid diagram and lists, for docs/lifecycle.md. `python -m tests.lifecycle.diagram`."""

from __future__ import annotations

from pathlib import Path

from tests.drawing import arrows, drawn, renewed, row
from voicepilot.lifecycle.inputs import Hook
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.rules import RULES, What
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


def generated() -> list[str]:
    """The generated part of the page."""
    ways = arrows(RULES, Phase, lambda rule: said(rule.on))
    ways = ["    [*] --> idle", *ways, "    ended --> [*]", "    failed --> [*]"]
    return drawn(ways, [row(rule, Phase, said) for rule in RULES])


def with_table(page: str) -> str:
    """`page` with its generated part made anew."""
    return renewed(page, BEGIN, END, generated())


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
