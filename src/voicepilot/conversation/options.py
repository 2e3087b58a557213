"""How a conversation keeps itself alive: margins, limits and queues, with defaults and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from voicepilot.errors import ConfigurationError
from voicepilot.lifecycle.bounds import Bounds, check_known, check_number

BOUNDS: Mapping[str, Bounds] = {
    "handover_margin_seconds": Bounds(0, 3_600, "seconds"),
    "handover_deadline_seconds": Bounds(0, 3_600, "seconds"),
    "max_connection_seconds": Bounds(0.05, 86_400, "seconds", optional=True),
    "open_timeout_seconds": Bounds(0.1, 600, "seconds"),
    "max_outage_seconds": Bounds(0, 86_400, "seconds"),
    "restore_timeout_seconds": Bounds(0.1, 600, "seconds"),
    "drain_seconds": Bounds(0, 600, "seconds"),
    "heartbeat_seconds": Bounds(0.05, 3_600, "seconds"),
    "retry_backoff_seconds": Bounds(0.01, 60, "seconds"),
    "max_queued_audio_seconds": Bounds(0, 3_600, "seconds"),
    "max_queued_bytes": Bounds(1_024, 1_073_741_824, "bytes", whole=True),
    "max_kept_audio_seconds": Bounds(0, 3_600, "seconds"),
    "replay_token_budget": Bounds(1, 10_000_000, "tokens", whole=True, optional=True),
    "max_event_backlog": Bounds(1, 10_000_000, "events", whole=True),
}
"""What a numeric field accepts, both ends included."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "on_interrupted_turn": ("retry", "report"),
    "keep_audio": ("until-transcribed", "always", "never"),
}


class ConversationConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one conversation. Raises `ConfigurationError` naming the field that cannot be used."""

    handover_margin_seconds: float = 120
    """Prepare the next connection this long before the provider cuts this one, but never before half its life."""

    handover_deadline_seconds: float = 20
    """Move this long before the cut even if nobody paused."""

    max_connection_seconds: float | None = None
    """How long one connection may last; None: as long as the provider says (`session.expires_at`)."""

    open_timeout_seconds: float = 30
    """How long `connect` tries to open the first connection."""

    max_outage_seconds: float = 300
    """How long a lost connection is tried to be replaced before the conversation is given up."""

    restore_timeout_seconds: float = 10
    """How long one attempt to dial, configure and replay may take; a replay that is still being taken, longer."""

    drain_seconds: float = 5
    """How long a connection that was moved away from is still heard, for transcripts that are under way."""

    heartbeat_seconds: float = 4.5
    """A connection that is silent so long is asked with a ping, and given up when it is silent as long again."""

    retry_backoff_seconds: float = 0.25
    """The wait before the second dial; it doubles with each failure, up to 8 s, with jitter."""

    on_interrupted_turn: Literal["retry", "report"] = "retry"
    """Whether an answer that was cut in the middle is asked for again, or only reported."""

    max_queued_audio_seconds: float = 60
    """How much of the user's audio waits while there is no connection; the oldest goes first. Text always waits."""

    max_queued_bytes: int = 16_777_216
    """How many bytes of input wait, audio in base64."""

    keep_audio: Literal["until-transcribed", "always", "never"] = "until-transcribed"
    """Whether the user's committed audio is kept, to be said again to the next connection."""

    max_kept_audio_seconds: float = 120
    """How much of it is kept."""

    replay_token_budget: int | None = None
    """About how many tokens of conversation the next connection is given; the oldest turns go first. None: all."""

    max_event_backlog: int = 10_000
    """How many events wait for a slow reader before the connection is no longer read."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check(name, getattr(self, name))

    def changed(self, changes: Mapping[str, Any]) -> ConversationConfig:
        """A copy with `changes`; all of them are accepted, or `ConfigurationError` is raised and nothing is."""
        check_known("conversation", changes, self.__struct_fields__)
        return msgspec.structs.replace(self, **changes)


def _check(name: str, value: object) -> None:
    if name in BOUNDS:
        check_number(name, value, BOUNDS[name])
    elif value not in CHOICES[name]:
        raise ConfigurationError(f"{name}: must be {' or '.join(CHOICES[name])}, got {value!r}", field=name)
