"""The transcript store is fed from a conversation's events, as the provider sends them."""

from __future__ import annotations

import asyncio

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


def item(role: str, *content: object, kind: str = "added", item_id: object = "i") -> dict[str, object]:
    return {
        "type": f"conversation.item.{kind}",
        "item": {"id": item_id, "type": "message", "role": role, "content": list(content)},
    }


TYPED = {"type": "input_text", "text": "Hello"}


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        (item("user", TYPED), [("user", "Hello")]),
        (item("user", TYPED, kind="done"), [("user", "Hello")]),
        (item("user", TYPED, kind="created"), [("user", "Hello")]),
        (item("user", TYPED, {"type": "input_image"}, TYPED), [("user", "Hello\nHello")]),
        (item("user", {"type": "input_audio", "transcript": None}), []),
        (item("user", {"type": "input_text"}, "nonsense"), []),
        (item("assistant", {"type": "output_text", "text": "Hi"}), []),
        (item("system", TYPED), []),
        (item("user", TYPED, item_id=None), []),
        ({"type": "conversation.item.added", "item": None}, []),
        ({"type": "conversation.item.added", "item": {"id": "i", "role": "user", "content": "Hello"}}, []),
    ],
)
async def test_what_the_user_typed_is_kept(event: dict[str, object], kept: list[tuple[str, str]]) -> None:
    async with a_world() as world:
        store = TranscriptStore(world.controller, clock=world.clock)
        store.hear("s", event)
        assert [(turn.role, turn.text) for turn in store.turns("s")] == kept


async def test_what_was_typed_is_kept_once_redacted_and_in_its_place_however_often_it_is_told() -> None:
    async with a_world() as world:
        store = TranscriptStore(world.controller, clock=world.clock)
        mail = {"type": "input_text", "text": "I am me@example.org"}
        first = store.hear("s", item("user", mail))
        store.hear("s", {"type": "response.output_text.done", "item_id": "a", "text": "Hi"})
        await asyncio.sleep(5)
        assert store.hear("s", item("user", mail, kind="done")) is None
        assert [(turn.role, turn.text) for turn in store.turns("s")] == [("user", "I am [email]"), ("assistant", "Hi")]
        assert store.turns("s")[0] is first
        store.hear("s", {"type": "conversation.item.deleted", "item_id": "i"})
        assert [turn.role for turn in store.turns("s")] == ["assistant"]


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
