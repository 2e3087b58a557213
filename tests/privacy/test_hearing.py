"""The transcript store is fed from a conversation's events, as the provider sends them."""

from __future__ import annotations

import pytest
from tests.privacy.cast import a_world

from voicepilot.privacy import TranscriptStore


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        (
            {"type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "transcript": "Hello"},
            [("user", "Hello")],
        ),
        ({"type": "response.output_audio_transcript.done", "item_id": "a", "transcript": "Hi"}, [("assistant", "Hi")]),
        ({"type": "response.output_text.done", "item_id": "a", "text": "Hi"}, [("assistant", "Hi")]),
        ({"type": "response.output_text.delta", "item_id": "a", "delta": "H"}, []),
        ({"type": "response.output_text.done", "text": "whose?"}, []),
        ({"type": "session.updated"}, []),
        ({}, []),
    ],
)
async def test_finished_words_are_kept_under_their_speaker(event: dict[str, str], kept: list[tuple[str, str]]) -> None:
    async with a_world() as world:
        store = TranscriptStore(world.controller, clock=world.clock)
        store.hear("s", event)
        assert [(turn.role, turn.text) for turn in store.turns("s")] == kept


async def test_they_are_redacted_replaced_and_forgotten_by_item() -> None:
    async with a_world() as world:
        store = TranscriptStore(world.controller, clock=world.clock)
        done = {"type": "response.output_text.done", "item_id": "a"}
        store.hear("s", {**done, "text": "write to me@example.org"})
        assert [turn.text for turn in store.turns("s")] == ["write to [email]"]
        store.hear("s", {**done, "text": "never mind"})
        assert [turn.text for turn in store.turns("s")] == ["never mind"]
        store.hear("other", {"type": "conversation.item.deleted", "item_id": "a"})
        assert len(store.turns("s")) == 1
        store.hear("s", {"type": "conversation.item.deleted", "item_id": "a"})
        assert store.turns("s") == ()
