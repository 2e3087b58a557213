"""What we know about each session from outside: when it spoke, who held its timers, which key it hands out."""

from __future__ import annotations

import math

from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.phases import Phase
from voicepilot.sim.provider import Issued


class Account:
    """One session, as whoever stands beside it would write it down. Times are seconds since the world began."""

    __slots__ = (
        "asked",
        "asked_at",
        "began_round",
        "by_hand",
        "caller",
        "completed",
        "config",
        "degraded",
        "due",
        "ended",
        "failed_rounds",
        "held",
        "held_for",
        "held_since",
        "issued",
        "lease",
        "leaving_at",
        "margin",
        "not_before",
        "phase",
        "rounds_failed_now",
        "slow_at",
        "spoke_at",
        "started_at",
        "steady",
        "ticket",
        "told_at",
        "value",
        "warned",
    )

    def __init__(self, caller: str, config: SessionConfig) -> None:
        self.caller = caller
        self.config = config
        self.phase = Phase.IDLE
        self.told_at = 0.0  # the latest event
        self.started_at: float | None = None
        self.leaving_at: float | None = None
        self.ended = False
        self.degraded = False
        self.completed = 0  # renewals
        self.failed_rounds = 0
        self.rounds_failed_now = 0  # since the last renewal
        self.warned = False  # that a limit is near
        self.spoke_at = 0.0
        self.held = 0  # by how many
        self.held_since = 0.0
        self.held_for = 0.0  # since it last spoke
        self.steady = True  # neither held, reconfigured nor woken from sleep: heartbeats can be counted
        self.value: str | None = None  # of the key it hands out
        self.issued: Issued | None = None  # the truth about it
        self.ticket = 0  # of that key
        self.lease = (0.0, 0.0)  # from when until when it is believed to be good
        self.due: float | None = None  # when its renewal must begin at the latest
        self.margin = config.renewal_margin_seconds  # the smallest while the key was held
        self.began_round = 0.0
        self.asked = 0  # requests in this round
        self.asked_at: float | None = None
        self.slow_at = -math.inf  # when it asked for what took longer than the last attempt before a lapse may
        self.not_before = 0.0  # what Retry-After said
        self.by_hand = False  # somebody wanted a key out of turn

    def speaks(self, now: float) -> None:
        """Activity: inactivity is counted from now."""
        self.spoke_at, self.held_since, self.held_for = now, now, 0.0

    def hold(self, now: float) -> None:
        """Somebody lets inactivity stand still."""
        self.steady = False
        if not self.held:
            self.held_since = now
        self.held += 1

    def let_go(self, now: float) -> None:
        """Somebody lets it run again."""
        if self.held:
            self.held -= 1
            if not self.held:
                self.held_for += now - self.held_since

    def idle_at(self, now: float) -> float | None:
        """When inactivity must end it, if nothing is said; None while that cannot be."""
        if self.started_at is None or not self.config.enable_inactivity_timeout:
            return None
        held = self.held_for + (now - self.held_since if self.held else 0.0)
        return self.spoke_at + held + self.config.inactivity_timeout_minutes * 60

    def latest_renewal(self) -> float:
        """When the renewal of its key must begin, by the config in force."""
        issued, expires = self.lease
        return max(issued + (expires - issued) / 2, expires - self.config.renewal_margin_seconds)
