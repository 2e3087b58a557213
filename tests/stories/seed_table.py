"""Makes the tables of docs/seed.md from the lists of rows and the marks of the stories.

Run `python -m tests.stories.seed_table` after a change; `test_seed_table.py` fails while the page is stale.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

from tests.stories.promises import PROMISES
from tests.stories.rows import SEED

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "seed.md"
SOURCE = HERE.parents[1] / "src" / "voicepilot"


def stories() -> dict[str, list[str]]:
    """The stories of each row, as `file.py::test`, read from the marks without running anything."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for test, rows in _marked(ast.parse(path.read_text())):
            for row in rows:
                found.setdefault(row, []).append(f"{path.name}::{test}")
    return found


def _marked(module: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.seed":
                    yield node.name, [text for argument in mark.args for text in _texts(argument)]


def _texts(node: ast.expr) -> list[str]:
    return [found.value for found in ast.walk(node) if isinstance(found, ast.Constant) and isinstance(found.value, str)]


def exists(code: str) -> bool:
    """Whether `module:Name.attribute`, below `voicepilot`, is there; a field counts by its annotation."""
    module, _, path = code.partition(":")
    found: object = importlib.import_module(f"voicepilot.{module}")
    for name in path.split("."):
        if not hasattr(found, name) and name not in getattr(found, "__annotations__", {}):
            return False
        found = getattr(found, name, None)
    return True


def seed_table() -> str:
    """The rows of the requirement."""
    told = stories()
    lines = [f"| {row.name} | {row.text} | {_code(row.code)} | {_links(told.get(row.name, []))} |" for row in SEED]
    return "\n".join(["| row | what it asks for | where it is | its stories |", "|---|---|---|---|", *lines])


def promise_table() -> str:
    """The promises of the product page."""
    told = stories()
    lines = [f"| {promise.name} | {promise.text} | {_links(told.get(promise.name, []))} |" for promise in PROMISES]
    return "\n".join(["| promise | in short | its stories |", "|---|---|---|", *lines])


def _code(code: str) -> str:
    module, _, name = code.partition(":")
    path = f"src/voicepilot/{module.replace('.', '/')}"
    file = f"{path}.py" if (SOURCE.parents[1] / f"{path}.py").exists() else f"{path}/__init__.py"
    return f"[`{name}`](../{file})"


def _links(tests: list[str]) -> str:
    by_file: dict[str, list[str]] = {}
    for test in tests:
        file, _, name = test.partition("::")
        by_file.setdefault(file, []).append(f"`{name}`")
    return "; ".join(f"[{file}](../tests/stories/{file}): {', '.join(names)}" for file, names in by_file.items())


def filled(page: str) -> str:
    """The page with its tables as they should be."""
    for name, table in (("rows", seed_table()), ("promises", promise_table())):
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, _, rest = page.partition(start)
        page = f"{head}{start}{table}\n{end}{rest.partition(end)[2]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
