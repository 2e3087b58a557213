from __future__ import annotations

from typing import Any

import pytest

from voicepilot.conversation.usage import usage_of
from voicepilot.ports import Usage


def test_tokens_are_counted_by_kind() -> None:
    read = {"text_tokens": 1, "audio_tokens": 2, "image_tokens": 3, "cached_tokens": 4}
    made = {"text_tokens": 5, "audio_tokens": 6}
    usage = {"input_tokens": 6, "output_tokens": 11, "input_token_details": read, "output_token_details": made}
    assert usage_of({"usage": usage}) == Usage(
        input_tokens=6,
        output_tokens=11,
        input_text_tokens=1,
        input_audio_tokens=2,
        input_image_tokens=3,
        input_cached_tokens=4,
        output_text_tokens=5,
        output_audio_tokens=6,
    )


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"usage": None},
        {"usage": "much"},
        {"usage": {"input_tokens": None, "input_token_details": None}},
        {"usage": {"input_tokens": -1, "output_tokens": "7", "output_token_details": [1]}},
    ],
)
def test_what_the_provider_does_not_say_is_nothing(response: dict[str, Any]) -> None:
    assert usage_of(response) == Usage()
