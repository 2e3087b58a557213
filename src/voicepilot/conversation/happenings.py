"""What happens to a conversation besides the provider's events; it comes in the same stream.

Their `type`s begin with `voicepilot.`, so that no event of the protocol can be mistaken for one.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from voicepilot.errors import Fault
from voicepilot.ports import Usage


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, at a moment: seconds since the epoch on the manager's clock."""

    type: ClassVar[str]
    at: float


class Lost(msgspec.Struct, frozen=True):
    """An item that could not be said again, and why."""

    item_id: str
    reason: str


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a new connection was given of the conversation, honestly."""

    replayed: tuple[str, ...] = ()  # ids of the items said again, in order, each acknowledged
    dropped: tuple[str, ...] = ()  # ids of the oldest items that did not fit the token budget or the memory
    lost: tuple[Lost, ...] = ()  # items that cannot be said again
    configured: bool = True  # whether the provider confirmed the session's options in time
    events_resent: int = 0  # client events that were not confirmed before, or that waited
    audio_resent: float = 0.0  # seconds of the user's audio among them
    audio_forgotten: float = 0.0  # seconds that were sent, never committed, and too long ago to be kept


class Handover(Happening, frozen=True, kw_only=True):
    """The conversation moved to a new connection before the provider cut the old one."""

    type = "voicepilot.handover"
    connection: int  # counts the conversation's connections, from 1
    forced: bool  # whether nobody paused in time
    restored: Restored


class Reconnecting(Happening, frozen=True, kw_only=True):
    """The connection fell, and another is being dialled. Comes once for each outage."""

    type = "voicepilot.reconnecting"
    fault: Fault


class ConversationRestored(Happening, frozen=True, kw_only=True):
    """A new connection carries on after a fall."""

    type = "voicepilot.restored"
    connection: int
    attempts: int  # dials, this one included
    outage: float  # seconds
    restored: Restored


Action = Literal["retry", "report", "complete"]
"""What is done about an answer that was cut."""


class TurnInterrupted(Happening, frozen=True, kw_only=True):
    """An answer was cut in the middle, or before it began.

    `retry`: it is asked for again; forget what you showed of `dropped`. `report`: it is not; what was said so far
    stays in the conversation. `complete`: nothing that was begun is missing, only the end was not confirmed.
    """

    type = "voicepilot.turn-interrupted"
    response_id: str | None  # None: it had not begun
    action: Action
    kept: tuple[str, ...] = ()  # ids of its items that stay in the conversation
    dropped: tuple[str, ...] = ()  # ids of its items that do not
    text: str = ""  # what had been said of the dropped or unfinished ones


class InputDropped(Happening, frozen=True, kw_only=True):
    """There was no room for all the audio that waited; this piece of what was appended is lost."""

    type = "voicepilot.input-dropped"
    start: float  # seconds of audio appended before it, since the conversation began
    end: float  # seconds of audio appended up to its end


class LimitWarning(Happening, frozen=True, kw_only=True):
    """The session comes near a limit of its config, at which it is ended."""

    type = "voicepilot.limit-approaching"
    limit: str  # the field of SessionConfig
    used: float
    allowed: float


class ConversationEnded(Happening, frozen=True, kw_only=True):
    """The last thing in the stream: the conversation was closed, or its session is over."""

    type = "voicepilot.ended"
    reason: str
    usage: Usage
