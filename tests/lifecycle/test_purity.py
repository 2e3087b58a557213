"""Nothing in the core can block, read a clock, draw a random number, or talk to anybody."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import voicepilot.lifecycle

ALLOWED = {
    "__future__",
    "collections.abc",
    "datetime",  # events show their moment as a datetime; see test_the_clock_is_never_read
    "difflib",
    "enum",
    "math",
    "msgspec",
    "msgspec.structs",
    "typing",
    "hashlib",
}
OURS = ("voicepilot.lifecycle", "voicepilot.errors", "voicepilot.events", "voicepilot.ports")
CORE = sorted(Path(voicepilot.lifecycle.__file__).parent.glob("*.py"))
EVENTS = Path(voicepilot.lifecycle.__file__).parent.parent / "events.py"
FORBIDDEN_NAMES = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}


@pytest.mark.parametrize("module", [*CORE, EVENTS], ids=lambda path: path.stem)
def test_only_pure_modules_are_imported(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name in ALLOWED or name.startswith(OURS) or name == "voicepilot.lifecycle", f"{module.name}: {name}"


@pytest.mark.parametrize("module", [*CORE, EVENTS], ids=lambda path: path.stem)
def test_nothing_waits_or_talks(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Global)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_NAMES, f"{module.name}:{node.lineno}"


@pytest.mark.parametrize("module", [*CORE, EVENTS], ids=lambda path: path.stem)
def test_the_clock_is_never_read(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"utcnow", "today", "monotonic", "perf_counter"}, f"{module.name}:{node.lineno}"
            reads_now = node.attr == "now" and isinstance(node.value, ast.Name) and node.value.id == "datetime"
            assert not reads_now, f"{module.name}:{node.lineno}"
