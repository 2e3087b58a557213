"""Every defect of the original is tested, or listed with a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.regressions.defects import DEFECTS, NOT_OURS

HERE = Path(__file__).parent


def marked(source: str) -> Iterator[int]:
    """The numbers in the `@pytest.mark.defect(…)` decorators of the tests in `source`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.defect":
                    yield from (ast.literal_eval(argument) for argument in decorator.args)


TESTED = {number for path in HERE.glob("test_*.py") for number in marked(path.read_text(encoding="utf-8"))}
KNOWN = {number for numbers in DEFECTS.values() for number in numbers}


def test_no_defect_is_forgotten() -> None:
    assert KNOWN - TESTED - set(NOT_OURS) == set()


def test_none_is_both_tested_and_said_not_to_apply() -> None:
    assert TESTED & set(NOT_OURS) == set()
    assert set(NOT_OURS) <= KNOWN
    assert all(NOT_OURS.values())
