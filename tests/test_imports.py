"""What is loaded when, by name: importing must stay cheap, and what only some need is loaded by them."""

from __future__ import annotations

import subprocess
import sys

import pytest

OTHERS = {
    "aiohttp",
    "msgspec",
    "opentelemetry",
    "pydantic",
    "pydantic_settings",
    "rich",
    "structlog",
    "typer",
    "yaml",
    "yarl",
}


def loaded_by(statement: str) -> set[str]:
    """Which of the libraries a statement loads, in an interpreter of its own; and our own modules."""
    code = f"import sys; {statement}; print(*(name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    names = done.stdout.split()
    return {name for name in names if name in OTHERS or name.startswith("voicepilot.") or name == "opentelemetry.sdk"}


def test_import_voicepilot_loads_nothing_but_itself() -> None:
    assert loaded_by("import voicepilot") == set()


@pytest.mark.parametrize(
    ("statement", "libraries"),
    [
        ("from voicepilot import SessionManager", {"msgspec"}),
        ("from voicepilot import SessionManager, EphemeralKeyService", {"msgspec", "aiohttp", "yarl"}),
        ("from voicepilot import PrivacyController, RecoveryExecutor", {"msgspec"}),
    ],
)
def test_a_name_loads_only_the_libraries_it_needs(statement: str, libraries: set[str]) -> None:
    assert loaded_by(statement) & {*OTHERS, "opentelemetry.sdk"} == libraries
