"""What build_manager puts together: here the transcripts, which settings redact and a controller purges."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicepilot import PrivacyController, SessionManager, TranscriptStore
from voicepilot.build import build_manager
from voicepilot.testing import FakePurger

RULES = {"redaction_rules": [{"pattern": "ORD-[0-9]{6}", "label": "order-number"}]}
SAID = {"type": "response.output_text.done", "item_id": "a", "text": "ORD-123456 for me@example.org"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.chdir(tmp_path)


def keeper(manager: SessionManager) -> object:
    return manager._performer.transcripts.keeper


async def test_the_settings_rules_redact_what_is_said() -> None:
    async with build_manager(privacy=RULES) as manager:
        store = keeper(manager)
        assert isinstance(store, TranscriptStore)
        store.hear("s", SAID)
        assert [turn.text for turn in store.turns("s")] == ["[order-number] for [email]"]
        assert isinstance(manager.privacy_controller, PrivacyController)
        assert [held.session_id for held in manager.privacy_controller.held()] == ["s"]


async def test_a_controller_of_ones_own_gets_the_transcripts_if_it_can_purge_them() -> None:
    async with PrivacyController() as controller, build_manager(privacy_controller=controller) as manager:
        store = keeper(manager)
        assert isinstance(store, TranscriptStore)
        store.hear("s", SAID)
        assert len(controller.held("s")) == 1


async def test_a_purger_that_nothing_can_register_with_gets_none() -> None:
    async with build_manager(privacy_controller=FakePurger()) as manager:
        assert keeper(manager) is None
