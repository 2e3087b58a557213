"""The phases a session goes through, and which of them are over."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where a session is in its life."""

    IDLE = "idle"  # made, but holding no slot yet
    STARTING = "starting"  # holds a slot, fetches its first key
    ACTIVE = "active"
    RENEWING = "renewing"  # fetches its next key while the current one is good
    RECOVERING = "recovering"  # its key lapsed; keeps its slot and keeps trying
    PAUSED = "paused"  # inactivity and heartbeat stand still
    ENDING = "ending"  # says goodbye: hook, close, forget, purge
    ENDED = "ended"  # over, as asked
    FAILED = "failed"  # over, because it could not go on


OVER = frozenset({Phase.ENDED, Phase.FAILED})
"""Nothing happens to these sessions any more."""

LIVE = frozenset(Phase) - OVER
"""These have a future: they hold a slot, except while idle."""

RUNNING = frozenset({Phase.ACTIVE, Phase.RENEWING, Phase.RECOVERING, Phase.PAUSED})
"""These have been active and are not ending: timers are armed, `session-started` was said."""
