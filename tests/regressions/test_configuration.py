"""Section 13 of the original's behaviours: its defects are not ours. 184, 189 and 190 are in test_keys.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicepilot.config import ConfigurationManager, SectionChanged, Settings
from voicepilot.errors import ConfigurationError


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.defect(185)
def test_185_a_window_out_of_bounds_is_not_used() -> None:
    with pytest.raises(ConfigurationError, match="audio_seconds"):
        ConfigurationManager(audio_seconds=3_601)


@pytest.mark.defect(187)
def test_187_a_change_of_only_a_rules_pattern_is_told_and_in_force() -> None:
    rule = '[[privacy.redaction_rules]]\nlabel = "order"\npattern = "{}"\n'
    Path("voicepilot.toml").write_text(rule.format("ORD-[0-9]{6}"))
    manager = ConfigurationManager()
    heard: list[SectionChanged] = []
    manager.on_changed(heard.append)
    Path("voicepilot.toml").write_text(rule.format("ORD-[0-9]{8}"))
    manager.reload()
    assert [(told.section, set(told.changes)) for told in heard] == [("privacy", {"redaction_rules"})]
    assert [rule.pattern for rule in manager.settings.redaction_rules()] == ["ORD-[0-9]{8}"]


@pytest.mark.defect(188)
def test_188_a_failing_handler_neither_rolls_back_nor_hides_the_change(caplog: pytest.LogCaptureFixture) -> None:
    manager = ConfigurationManager()
    heard: list[object] = []

    def failing(_: SectionChanged) -> None:
        raise ValueError("not me")

    manager.on_changed(lambda told: heard.append(("first", told.section, manager.session_config().key_life_seconds)))
    manager.on_changed(failing)
    manager.on_changed(lambda told: heard.append(("last", told.section, manager.session_config().key_life_seconds)))
    Path("voicepilot.toml").write_text("[sessions]\nkey_life_seconds = 60\n")
    manager.reload()
    assert heard == [("first", "sessions", 60), ("last", "sessions", 60)]
    assert manager.session_config().key_life_seconds == 60
    assert "a handler of changes in sessions raised" in caplog.text


@pytest.mark.defect(189)
async def test_189_after_dispose_no_handler_is_in_place() -> None:
    manager = ConfigurationManager()
    heard: list[SectionChanged] = []
    manager.on_changed(heard.append)
    await manager.initialize()
    await manager.dispose()
    manager.replace(Settings.load(key_life_seconds=60))
    assert heard == []
