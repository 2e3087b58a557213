"""docs/seed.md is complete, true and fresh."""

from __future__ import annotations

import ast
import re

from tests.stories.promises import PROMISES
from tests.stories.rows import SEED
from tests.stories.seed_table import HERE, PAGE, exists, filled, stories

NAMES = [*(row.name for row in SEED), *(promise.name for promise in PROMISES)]


def test_every_row_and_promise_has_a_story() -> None:
    told = stories()
    assert [name for name in NAMES if name not in told] == []


def test_no_story_names_a_row_that_there_is_not() -> None:
    assert set(stories()) - set(NAMES) == set()
    assert len(NAMES) == len(set(NAMES))


def test_the_code_that_a_row_names_is_there() -> None:
    assert [row.name for row in SEED if not exists(row.code)] == []


def test_every_test_that_the_page_names_exists() -> None:
    named = {
        (file, name)
        for cell in PAGE.read_text().replace("; ", " | ").split(" | ")
        for file in re.findall(r"^\[(test_\w+\.py)\]", cell)
        for name in re.findall(r"`(\w+)`", cell)
    }
    assert len(named) > 150
    defined = {
        (path.name, node.name)
        for path in HERE.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert named <= defined


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == filled(PAGE.read_text()), "run: python -m tests.stories.seed_table"


def test_the_rows_are_all_those_of_the_requirement() -> None:
    counts = {"OVR": 3, "ARC": 5, "IMP": 6, "USE": 3, "QUA": 5, "API": 22, "EVT": 10, "HOOK": 4, "OPT": 7, "TRB": 4}
    for kind, count in counts.items():
        assert sum(row.name.startswith(f"{kind}-") for row in SEED) == count, kind
