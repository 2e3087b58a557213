from __future__ import annotations

from typing import Any

import pytest

from voicepilot.conversation.soundness import NEEDED, is_sound
from voicepilot.conversation.talking import NOTED

Json = dict[str, Any]

SOUND: list[Json] = [
    {"type": "session.created", "session": {}},
    {"type": "session.updated", "session": {}},
    {"type": "conversation.item.added", "item": {"id": "a"}},
    {"type": "conversation.item.created", "item": {"id": "a"}},
    {"type": "conversation.item.done", "item": {"id": "a"}},
    {"type": "conversation.item.retrieved", "item": {"id": "a"}},
    {"type": "conversation.item.truncated", "item_id": "a"},
    {"type": "conversation.item.deleted", "item_id": "a"},
    {"type": "input_audio_buffer.committed", "item_id": "a"},
    {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 1},
    {"type": "input_audio_buffer.timeout_triggered", "audio_end_ms": 1.5},
    {"type": "response.created", "response": {"id": "r"}},
    {"type": "response.done", "response": {}},
    {"type": "response.output_audio.delta", "delta": "AAAA"},
    {"type": "response.audio.delta", "delta": "AAAA"},
    {"type": "error", "error": {}},
]


@pytest.mark.parametrize("event", SOUND, ids=lambda event: event["type"])
def test_what_the_core_needs_is_enough(event: Json) -> None:
    assert is_sound(event)


@pytest.mark.parametrize("event", SOUND, ids=lambda event: event["type"])
@pytest.mark.parametrize("wrong", [None, True, [1], {"id": 7}], ids=str)
def test_and_is_needed(event: Json, wrong: object) -> None:
    (name,) = set(event) - {"type"}
    assert not is_sound({"type": event["type"]})
    if not (isinstance(wrong, dict) and isinstance(event[name], dict) and not event[name]):
        assert not is_sound({**event, name: wrong})


def test_events_of_which_nothing_is_needed_are_sound() -> None:
    assert is_sound({"type": "response.output_text.delta"})
    assert is_sound({"type": "of.another.age"})


def test_every_event_that_is_learned_from_is_checked_or_needs_nothing() -> None:
    assert set(NOTED) - set(NEEDED) == {"input_audio_buffer.speech_started", "input_audio_buffer.cleared"}


def test_every_check_is_tested() -> None:
    assert {event["type"] for event in SOUND} == set(NEEDED)
