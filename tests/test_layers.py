"""Imports point one way. A package may import what its row lists, and its own modules."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import voicepilot

ROOT = Path(voicepilot.__file__).parent

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "subscription": set(),
    "clock": set(),
    "lifecycle": {"errors", "events", "ports"},
    "events": {"errors", "lifecycle", "ports"},
    "ports": {"errors", "lifecycle"},
    "runtime": {"clock", "subscription", "errors", "events", "lifecycle", "ports"},
    "network": {"errors"},
    "credentials": {"clock", "subscription", "errors", "events", "network", "ports"},
    "conversation": {"subscription", "errors", "events", "lifecycle", "network", "ports"},
    "config": {"subscription", "errors", "events", "lifecycle", "ports"},
    "recovery": {"subscription", "errors", "events", "ports"},
    "privacy": {"clock", "subscription", "errors", "events", "ports"},
    "emulator": {"errors"},
    "testing": {
        "subscription",
        "errors",
        "events",
        "lifecycle",
        "ports",
        "runtime",
        "emulator",
        "network",
        "conversation",
    },
    "sim": {"credentials", "errors", "events", "lifecycle", "network", "ports", "recovery", "runtime", "testing"},
    "telemetry": {"subscription", "errors", "events", "ports"},
    "build": {"config", "credentials", "errors", "ports", "privacy", "recovery", "runtime", "telemetry"},
}
# The core's data, and the events and ports that carry it, know each other; here is exactly how far.
EXACT: dict[str, set[str]] = {
    "ports": {"voicepilot.lifecycle.config", "voicepilot.lifecycle.session", "voicepilot.lifecycle.usage"},
    "events": {
        "voicepilot.lifecycle.diagnostics",
        "voicepilot.lifecycle.phases",
        "voicepilot.lifecycle.session",
        "voicepilot.lifecycle.usage",
    },
}
# Settings have the fields, defaults and bounds of others' options, so that these are written once: their data, no more.
OPTIONS: dict[str, set[str]] = {
    "config": {
        "voicepilot.conversation.options",
        "voicepilot.emulator.options",
        "voicepilot.privacy.redact",
        "voicepilot.privacy.retention",
        "voicepilot.recovery.breaker_options",
        "voicepilot.recovery.policy",
    },
}
# from_settings and connect are the places where the runtime reaches for what it only loads when asked.
LAZY = {("runtime.manager", "build"), ("runtime.manager", "conversation"), ("runtime.switchboard", "conversation")}
PUTS_TOGETHER = {"cli", "__init__"}


def _place(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {_place(path): path for path in sorted(ROOT.rglob("*.py"))}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "voicepilot" else set()
            found.add(node.module)
    return {name for name in found if name.startswith("voicepilot.")}


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] not in PUTS_TOGETHER])
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    layer = module.split(".", maxsplit=1)[0]
    for imported in _imports(MODULES[module]):
        target = imported.split(".")[1]
        if target == layer or (module, target) in LAZY or imported in OPTIONS.get(layer, ()):
            continue
        assert target in ALLOWED[layer], f"{module} imports {imported}"
        if layer in EXACT and target == "lifecycle":
            assert any(imported.startswith(exact) for exact in EXACT[layer]), f"{module} imports {imported}"


def _is_group(value: ast.expr) -> bool:
    """Whether `value` is named as the project names its TaskGroups."""
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return name.lstrip("_") in {"group", "tasks", "talking"}


def test_a_task_outside_a_task_group_has_another_parent_that_waits() -> None:
    found = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in {"create_task", "ensure_future"}
        and not _is_group(node.value)
    }
    # The supervisor is the parent of all others; dispose() of a privacy controller waits for its errands.
    assert found == {"runtime.supervisor", "privacy.controller"}
