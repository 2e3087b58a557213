"""What the parts of a conversation share: the time it is, the ids, what is sent, and what is still to do."""

from __future__ import annotations

from typing import Protocol

import msgspec

from voicepilot.emulator.agenda import Agenda
from voicepilot.emulator.checks import Json
from voicepilot.emulator.effects import Effect, Send
from voicepilot.emulator.faults import Fault
from voicepilot.emulator.ids import Ids


class FaultSource(Protocol):
    """The part of the list of faults that a conversation asks."""

    def take(self, place: str, *kinds: str) -> Fault | None:
        """The fault due at this place now."""

    def delay(self, what: str) -> float:
        """Seconds of latency."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is settled when a session is opened."""

    life: float = 3600.0  # seconds until session_expired, on the clock that `now` comes from
    azure: bool = False
    call: bool = False  # a WebRTC call: audio goes by media, and its buffer has events
    pace: float = 0.0  # seconds that pass for each second of answered audio
    scale: float = 1.0  # emulated seconds in each second of ours


class Stage:
    """Shared by a conversation and its responses."""

    def __init__(self, terms: Terms, ids: Ids, faults: FaultSource, now: float) -> None:
        self.terms = terms
        self.ids = ids
        self.faults = faults
        self.now = now
        self.agenda = Agenda()
        self.out: list[Effect] = []

    def begin(self, now: float) -> list[Effect]:
        """Collect what the next call has to say."""
        self.now = now
        self.out = []
        return self.out

    def make(self, prefix: str) -> str:
        """An id made now."""
        return self.ids.make(prefix, self.now)

    def event(self, kind: str, **fields: object) -> Send:
        """A server event, with its `event_id`."""
        return self.stamped({"type": kind, **fields})

    def stamped(self, event: Json) -> Send:
        """An event with its `event_id`; those of WebRTC's audio buffer look different (realtime-wire.md C3)."""
        kind = event.pop("type")
        webrtc = kind.startswith("output_audio_buffer.")
        event_id = f"event_{self.ids.token(16).lower()}" if webrtc else self.make("event_")
        return Send({"type": kind, "event_id": event_id, **event})

    def send(self, kind: str, **fields: object) -> None:
        """Send an event now."""
        self.out.append(self.event(kind, **fields))

    def seconds(self, emulated: float) -> float:
        """Emulated seconds on the clock `now` comes from."""
        return emulated / self.terms.scale
