"""Token figures: not the provider's tokenizer, but figures of the right shape that grow as they should."""

from __future__ import annotations

import math

from voicepilot.emulator.checks import Json


def text_tokens(text: str) -> int:
    """About four characters to a token."""
    return math.ceil(len(text) / 4)


def audio_in_tokens(seconds: float) -> int:
    """A tenth of a second of user audio is one token (the provider's published rate)."""
    return math.ceil(seconds * 10)


def audio_out_tokens(seconds: float) -> int:
    """A twentieth of a second of assistant audio is one token."""
    return math.ceil(seconds * 20)


def usage_of(given: tuple[int, int], made: tuple[int, int]) -> Json:
    """The `usage` of a response from its (text, audio) tokens in and out."""
    return {
        "total_tokens": sum(given) + sum(made),
        "input_tokens": sum(given),
        "output_tokens": sum(made),
        "input_token_details": {
            "text_tokens": given[0],
            "audio_tokens": given[1],
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": made[0], "audio_tokens": made[1]},
    }
