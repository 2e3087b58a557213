"""Nothing in the core of a conversation can block, read a clock, draw a random number, or talk to anybody."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import voicepilot.conversation.machine

FOLDER = Path(voicepilot.conversation.machine.__file__).parent
SHELL = {"connection", "driver", "sockets", "lines", "ports", "resources"}
"""The modules around the core, which may wait: everything else is pure."""

CORE = sorted(path for path in FOLDER.glob("*.py") if path.stem not in SHELL)
ALLOWED = {
    "__future__",
    "base64",
    "binascii",
    "collections",
    "collections.abc",
    "copy",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "http",  # the names of status codes
    "itertools",
    "math",
    "msgspec",
    "re",
    "types",
    "typing",
    "unicodedata",
    "zlib",
}
OURS = (
    "voicepilot.errors",
    "voicepilot.ports",
    "voicepilot.lifecycle.bounds",
    "voicepilot.network.faults",
    "voicepilot.network.reply",
    "voicepilot.network.secrets",
)
FORBIDDEN_NAMES = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}


def imported(module: Path) -> list[str]:
    """What it imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inner = node.module == "voicepilot.conversation"
            names += [f"{node.module}.{alias.name}" for alias in node.names] if inner else [node.module or ""]
    return names


@pytest.mark.parametrize("module", CORE, ids=lambda path: path.stem)
def test_only_pure_modules_are_imported(module: Path) -> None:
    for name in imported(module):
        ours = name.startswith("voicepilot.conversation.") and name.rsplit(".", 1)[1] not in SHELL
        assert ours or name in ALLOWED or name.startswith(OURS), name


@pytest.mark.parametrize("module", CORE, ids=lambda path: path.stem)
def test_nothing_waits_or_talks(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Global)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_NAMES, node.lineno


def test_the_machine_is_part_of_what_is_looked_at() -> None:
    stems = {path.stem for path in CORE}
    assert {
        "machine",
        "rules",
        "guards",
        "moving",
        "restoring",
        "talking",
        "journal",
        "link",
        "state",
        "mirror",
    } <= stems


def test_the_same_inputs_give_the_same_orders() -> None:
    from tests.conversation.test_moving import TestHandover  # noqa: PLC0415 - only what it plays is of use

    first, second = (TestHandover().late() for _ in range(2))
    assert first.all == second.all
