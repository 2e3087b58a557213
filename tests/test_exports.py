"""Names in `voicepilot.__all__` are promised: they exist, are listed in order, and importing them is cheap."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import voicepilot


def test_every_promised_name_exists() -> None:
    assert [name for name in voicepilot.__all__ if not hasattr(voicepilot, name)] == []


def test_the_list_is_sorted_and_says_each_name_once() -> None:
    assert voicepilot.__all__ == sorted(set(voicepilot.__all__))


@pytest.mark.parametrize("name", voicepilot.__all__)
def test_every_promised_class_says_what_it_is_for(name: str) -> None:
    promised = getattr(voicepilot, name)
    if inspect.isclass(promised):
        assert inspect.getdoc(promised)


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Sessionmanager"):
        voicepilot.Sessionmanager  # noqa: B018 - the point of the test


@pytest.mark.sockets
def test_importing_loads_neither_settings_nor_http_nor_pictures() -> None:
    heavy = "{'pydantic', 'aiohttp', 'rich', 'typer', 'yaml'}"
    code = f"import sys, voicepilot; print(sorted({heavy} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_every_promised_name_is_used_where_the_type_checker_looks() -> None:
    used = (Path(__file__).parent / "typing" / "api.py").read_text()
    assert [name for name in voicepilot.__all__ if not re.search(rf"\bvp\.{name}\b", used)] == []
