"""docs/privacy.md says what is so: its first example runs, the others compile, its tables are the code's."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from voicepilot.privacy import PurgeReason, PurgeTarget, RetentionPolicy, errand, ledger, redact, transcripts
from voicepilot.privacy.retention import BOUNDS
from voicepilot.privacy.words import DataClass
from voicepilot.testing import FakeKeyService

PAGE = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python[^\n]*\n(.*?)```", PAGE, re.DOTALL)


def as_function(example: str) -> str:
    return "async def example():\n" + textwrap.indent(example, "    ") + "\n    return locals()\n"


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_compiles(example: str) -> None:
    compile(as_function(example), "docs/privacy.md", "exec")


async def test_the_first_example_does_what_it_says() -> None:
    end = "    await manager.end_session"
    example = EXAMPLES[0].replace(end, f"    seen = transcripts.turns(session.session_id)\n{end}")
    space: dict[str, Any] = {"key_service": FakeKeyService()}
    exec(as_function(example), space)  # noqa: S102 - our own page
    after = await space["example"]()
    assert [turn.text for turn in after["seen"]] == ["My card is [card]"]
    assert (len(after["transcripts"]), after["controller"].is_initialized) == (0, False)


def test_the_windows_and_bounds_are_those_of_the_code() -> None:
    rows = re.findall(r"\| `([\w-]+)` \| (\d+) (s|h) \| `(\w+)` \| 0 to ([\d,]+) \|", PAGE)
    policy = RetentionPolicy()
    assert [(DataClass(name), getattr(policy, field), BOUNDS[field]) for name, _, _, field, _ in rows] == [
        (kind, float(count) * (3600 if unit == "h" else 1), (0, int(most.replace(",", ""))))
        for kind, (_, count, unit, _, most) in zip(DataClass, rows, strict=True)
    ]


def test_every_word_is_listed() -> None:
    for word in (*PurgeReason, *PurgeTarget, *DataClass):
        assert f"`{word}`" in PAGE
    for label, _ in redact.BUILT_IN:
        assert f"| `{label}` |" in PAGE


@pytest.mark.parametrize(
    "number",
    [
        f"{errand.LIMIT:g} s together",
        f"1, 2, 4 … {ledger.LONGEST_RETRY:g} s",
        f"more than {redact.LONGEST_TEXT:,} characters",
        f"longer than {redact.LONGEST_PATTERN:,} characters",
        f"At most {transcripts.MAX_TURNS:,} turns and {transcripts.MAX_BYTES >> 20} MiB",
    ],
)
def test_the_numbers_are_those_of_the_code(number: str) -> None:
    assert number in PAGE
