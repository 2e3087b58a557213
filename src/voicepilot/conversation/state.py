"""All that the core knows about one conversation.

It changes in place: a conversation hears fifty audio frames in a second, and its mirror holds hundreds of items. What
happens is still a function of the inputs alone; there is no clock, no chance and no I/O in it.
"""

from __future__ import annotations

import copy
import zlib
from enum import StrEnum
from typing import Any

from voicepilot.conversation.effects import Effect
from voicepilot.conversation.inputs import Deadline
from voicepilot.conversation.journal import Journal
from voicepilot.conversation.link import Link
from voicepilot.conversation.mirror import Mirror
from voicepilot.conversation.options import ConversationConfig
from voicepilot.errors import Fault
from voicepilot.ports import Usage

Json = dict[str, Any]


class Phase(StrEnum):
    """Where a conversation is."""

    NEW = "new"
    CONNECTING = "connecting"  # no connection carries it; one is being dialled and restored
    WAITING = "waiting"  # no connection carries it; the next dial is due later
    LIVE = "live"
    PREPARING = "preparing"  # live, and the next connection is being dialled and restored
    SUSPENDING = "suspending"  # the application is told that it moves; input waits
    SETTLING = "settling"  # what the old connection has not committed is taken back; input waits
    OVER = "over"


class Turn:
    """Who is speaking, on the connection that carries the conversation."""

    __slots__ = ("asked", "cancelled", "owed_until", "speaking")

    def __init__(self) -> None:
        self.speaking = False  # between speech_started and committed
        self.owed_until: float | None = None  # the server will answer by itself, or never
        self.asked: dict[str, Json | None] = {}  # the answers under way, and the event that asked for each
        self.cancelled: set[str] = set()  # the answers that the client wants no more of

    def is_over(self, now: float) -> bool:
        """Whether nobody speaks and nobody is about to."""
        return not self.speaking and not self.asked and (self.owed_until is None or self.owed_until <= now)


class State:
    """One conversation."""

    __slots__ = (
        "active",
        "answered_at",
        "attempts",
        "cleared",
        "config",
        "connected",
        "cut_at",
        "drains",
        "faulted",
        "flaps",
        "forced",
        "forgotten",
        "give_up_at",
        "incoming",
        "is_last",
        "journal",
        "listened",
        "lost_at",
        "mirror",
        "move_at",
        "must_move",
        "name",
        "numbers",
        "out",
        "phase",
        "prepare_at",
        "reask",
        "reasked",
        "retry_at",
        "serial",
        "session",
        "spoken",
        "stirred_at",
        "summarising",
        "turn",
        "turn_waits",
        "used",
        "version",
        "waits",
    )

    def __init__(self, config: ConversationConfig, session: Json, name: str) -> None:
        self.config = config
        self.session = copy.deepcopy(session)  # the options every connection is configured with
        self.name = name  # distinguishes the ids we give; short, letters and digits
        self.phase = Phase.NEW
        self.journal = Journal(config.max_queued_audio_seconds, config.max_queued_bytes)
        self.mirror = Mirror(keep_audio=config.keep_audio, max_audio_seconds=config.max_kept_audio_seconds)
        self.turn = Turn()
        self.waits = False  # something waits for the end of an answer
        self.turn_waits = False  # … that closes a turn of the user's audio
        self.summarising: tuple[str, ...] = ()  # the items of which a summary was asked for last
        self.version = 0  # counts what may have changed the mirror
        self.used = Usage()  # on all its connections, as far as it was counted
        self.forgotten = 0.0  # seconds of the user's audio that went with the last connection
        self.listened = 0.0  # seconds of the user's audio that were not counted yet
        self.spoken = 0.0  # and of the assistant's
        self.stirred_at = 0.0  # when it was last noted that somebody speaks or types
        self.out: list[Effect] = []
        self.numbers = 0  # connections dialled so far
        self.serial = 0  # ids given so far
        self.connected = 0  # connections that carried it
        self.active: Link | None = None
        self.incoming: Link | None = None
        self.drains: list[Link] = []
        self.reask: list[Json] = []  # answers asked for again, or to be, that have not begun
        self.cleared = False  # the old connection has taken note that its uncommitted audio is ours again
        self.must_move = False  # the cut is near: move whoever speaks
        self.forced = False  # the end of an answer was not awaited
        self.answered_at = 0.0  # when an answer was asked for last, or something of one was heard
        self.reasked = 0  # answers asked for again since one was heard to its end
        self.flaps = 0  # connections in a row that fell before they were of any use
        self.is_last = False  # the dial under way is the last, for the outage has lasted too long
        self.faulted: Fault | None = None  # why the last dial or connection failed
        self.lost_at: float | None = None  # when the connection fell
        self.attempts = 0  # dials since then
        self.give_up_at: float | None = None
        self.retry_at: float | None = None
        self.prepare_at: float | None = None
        self.move_at: float | None = None
        self.cut_at: float | None = None

    def links(self) -> list[Link]:
        """The connections there are."""
        return [link for link in (self.active, self.incoming, *self.drains) if link is not None]

    def is_typed(self) -> bool:
        """Whether a session's options must say what type of session it is: not in Azure's preview (A3)."""
        return self.active is None or not self.active.session or "type" in self.active.session

    def event_id(self) -> str:
        """An id for an event of ours, or an item."""
        self.serial += 1
        return f"vp_{self.name}_{self.serial}"

    def due_at(self) -> float | None:
        """When something must happen next."""
        times = [at for name in Deadline if (at := getattr(self, name.value)) is not None]
        times += [link.due_at(self.config.heartbeat_seconds) for link in self.links()]
        return min(times, default=None)

    def pause_before_dial(self) -> float:
        """Seconds until the next dial: doubling, up to 8, and three quarters to all of it."""
        longest: float = min(self.config.retry_backoff_seconds * 2.0 ** min(self.attempts - 1, 20), LONGEST_PAUSE)
        share = zlib.crc32(f"{self.name}/{self.attempts}".encode()) / 0xFFFF_FFFF
        return longest * (0.75 + share / 4)


LONGEST_PAUSE = 8.0
"""Seconds between two dials at most."""
