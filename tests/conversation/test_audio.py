from __future__ import annotations

from typing import Any

import pytest

from voicepilot.conversation.audio import Side, audio_of, form_of, rate_of

Json = dict[str, Any]


def ga(**heard: Any) -> Json:
    return {"type": "realtime", "audio": {"input": heard}}


@pytest.mark.parametrize(
    ("session", "rate"),
    [
        (ga(), 48_000),
        (ga(format={"type": "audio/pcm"}), 48_000),
        (ga(format={"type": "audio/pcm", "rate": 24_000}), 48_000),
        (ga(format={"type": "audio/pcm", "rate": 16_000}), 32_000),
        (ga(format={"type": "audio/pcm", "rate": 0}), 48_000),
        (ga(format={"type": "audio/pcm", "rate": "24k"}), 48_000),
        (ga(format={"type": "audio/pcmu"}), 8_000),
        (ga(format={"type": "audio/pcma"}), 8_000),
        (ga(format=None), 48_000),
        ({"input_audio_format": "pcm16"}, 48_000),
        ({"input_audio_format": "g711_ulaw"}, 8_000),
        ({"output_audio_format": "g711_ulaw"}, 48_000),
        ({}, 48_000),
        ({"audio": None}, 48_000),
        ({"audio": {"input": None}}, 48_000),
    ],
)
def test_bytes_in_a_second_of_audio(session: Json, rate: int) -> None:
    assert rate_of(audio_of(session, "input")) == rate


@pytest.mark.parametrize(
    ("session", "side", "form"),
    [
        (ga(format={"type": "audio/pcmu"}), "input", "audio/pcmu"),
        (ga(format={"type": "audio/pcmu"}), "output", ""),
        ({"audio": {"output": {"format": {"type": "audio/pcma"}}}}, "output", "audio/pcma"),
        ({"input_audio_format": "pcm16", "output_audio_format": "g711_alaw"}, "input", "pcm16"),
        ({"input_audio_format": "pcm16", "output_audio_format": "g711_alaw"}, "output", "g711_alaw"),
        ({}, "output", ""),
        (ga(format={"rate": 24_000}), "input", ""),
    ],
)
def test_the_format_of_each_side_is_found_in_both_dialects(session: Json, side: Side, form: str) -> None:
    assert form_of(audio_of(session, side)) == form


@pytest.mark.parametrize(
    ("session", "found"),
    [
        (ga(turn_detection=None), None),
        (ga(turn_detection={"type": "server_vad"}), {"type": "server_vad"}),
        ({"turn_detection": {"type": "server_vad"}}, {"type": "server_vad"}),
        ({"audio": None}, None),
        ({}, None),
    ],
)
def test_turn_detection_is_found_in_both_dialects(session: Json, found: Json | None) -> None:
    assert audio_of(session, "input").get("turn_detection") == found
