from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def bare_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without settings, in an environment without any."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("VOICEPILOT_", "OPENAI_", "AZURE_")) and name != "VOICEPILOT_FUZZ":
            monkeypatch.delenv(name)
