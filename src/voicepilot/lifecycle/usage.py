"""What a session has used of the provider: tokens by kind and seconds of audio, counted over all its connections."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Tokens and seconds of audio. The split by kind may not add up to the totals where the provider is brief."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_text_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    input_cached_tokens: int = 0  # those among the input tokens that the provider had seen before
    output_text_tokens: int = 0
    output_audio_tokens: int = 0
    input_audio_seconds: float = 0.0
    output_audio_seconds: float = 0.0

    @property
    def total_tokens(self) -> int:
        """What `max_total_tokens` limits."""
        return self.input_tokens + self.output_tokens

    @property
    def audio_seconds(self) -> float:
        """What `max_audio_seconds` limits: heard and spoken."""
        return self.input_audio_seconds + self.output_audio_seconds

    def __add__(self, other: Usage) -> Usage:
        names = self.__struct_fields__
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in names})


NOTHING_USED = Usage()
"""Shared by every session that has used nothing yet."""
