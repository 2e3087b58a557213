"""docs/keys.md says what is so: its examples are read, and no setting is missing from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from voicepilot.config import Settings
from voicepilot.config.settings import FIELDS
from voicepilot.credentials import DEFAULT_MODEL
from voicepilot.credentials.credential import ENTRA_SCOPE
from voicepilot.credentials.profiles import OPENAI_BASE_URL, PREVIEW_API_VERSION, RETIRING

PAGE = (Path(__file__).parents[2] / "docs" / "keys.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_settings_example_can_be_loaded(tmp_path: Path) -> None:
    (example,) = blocks("toml")
    path = tmp_path / "voicepilot.toml"
    path.write_text(example)
    settings = Settings.load(config_file=path, profile="azure")
    assert settings.sessions.max_concurrent_sessions == 10


def test_the_python_example_is_python() -> None:
    (example,) = blocks("python")
    inside = "\n".join(f"    {line}" for line in example.splitlines())
    compile(f"async def example():\n{inside}", "docs/keys.md", "exec")


@pytest.mark.parametrize("field", FIELDS["provider"])
def test_every_provider_setting_is_described(field: str) -> None:
    assert f"| `{field}` |" in PAGE


@pytest.mark.parametrize(
    "fact", [DEFAULT_MODEL, ENTRA_SCOPE, OPENAI_BASE_URL, PREVIEW_API_VERSION, *RETIRING, *RETIRING.values()]
)
def test_defaults_are_as_described(fact: str) -> None:
    assert fact in PAGE
