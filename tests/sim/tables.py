"""Writes the tables of docs/simulator.md from the code. `python -m tests.sim.tables`."""

from __future__ import annotations

from pathlib import Path

from voicepilot.sim import INVARIANTS, SCENARIOS

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


def tables() -> dict[str, list[str]]:
    """Each table by its name on the page."""
    return {
        "scenarios": ["| scenario | what kind of day |", "|---|---|"]
        + [f"| `{scenario.name}` | {scenario.description} |" for scenario in SCENARIOS.values()],
        "invariants": ["| invariant | |", "|---|---|"]
        + [f"| `{name}` | {said} |" for name, said in INVARIANTS.items()],
    }


def renewed(page: str) -> str:
    """`page` with its generated parts made anew."""
    for name, rows in tables().items():
        begin, end = f"<!-- generated: {name} begin -->", f"<!-- generated: {name} end -->"
        before, rest = page.split(begin)
        page = before + "\n".join([begin, *rows, end]) + rest.split(end)[1]
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
