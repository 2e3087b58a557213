"""Azure's preview protocol, to and from the GA conversation."""

from __future__ import annotations

from typing import Any

from voicepilot.emulator.preview import PreviewConversation, flat_session, nested
from voicepilot.emulator.session import merged, new_session


def test_a_flat_session_says_what_the_nested_one_says() -> None:
    flat = {
        "modalities": ["text", "audio"],
        "voice": "verse",
        "speed": 1.2,
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": None,
        "temperature": 0.7,
        "max_response_output_tokens": 100,
        "instructions": "Be brief",
    }
    session = merged(new_session("sess_1"), {"type": "realtime", **nested(flat)})
    assert session["output_modalities"] == ["audio"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24_000},
        "voice": "verse",
        "speed": 1.2,
    }
    again = flat_session(session)
    assert again["modalities"] == ["audio", "text"]
    assert (again["input_audio_format"], again["output_audio_format"]) == ("g711_ulaw", "pcm16")
    assert again["max_response_output_tokens"] == 100


def test_a_spoken_turn_has_the_previews_names(new_talk: Any) -> None:
    talk = new_talk(protocol=PreviewConversation, azure=True)
    talk.send("session.update", session={"input_audio_transcription": {"model": "whisper-1"}})
    kinds = {event["type"] for event in talk.hear(1.0, loud=True) + talk.hear(0.3, loud=False)}
    assert kinds >= {
        "conversation.item.created",
        "conversation.item.input_audio_transcription.completed",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.delta",
        "response.audio_transcript.done",
        "response.done",
    }
    assert (
        not {kind for kind in kinds if "output_audio" in kind or kind.endswith(("item.added", "item.done"))}
        - {"response.output_item.added"}
        - {"response.output_item.done"}
    )


def test_a_history_is_replayed_in_the_previews_words(new_talk: Any) -> None:
    talk = new_talk(protocol=PreviewConversation)
    item = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello"}]}
    (created,) = talk.send("conversation.item.create", item=item)
    assert created["item"]["content"] == [{"type": "text", "text": "Hello"}]
    assert created["item"]["object"] == "realtime.item"
