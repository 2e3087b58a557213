"""What can happen to a conversation, in the past tense."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from voicepilot.errors import Fault


class Deadline(StrEnum):
    """The moments a conversation waits for; each is a field of its State, None when it is not armed."""

    GIVE_UP = "give_up_at"  # the outage has lasted too long
    RETRY = "retry_at"  # dial again
    PREPARE = "prepare_at"  # dial the next connection, before this one is cut
    MOVE = "move_at"  # move to it even if nobody pauses
    CUT = "cut_at"  # wait no longer for the end of an answer: the connection is about to be cut


class ConnectAsked(msgspec.Struct, frozen=True):
    """Somebody wants the conversation to begin."""


class Dialled(msgspec.Struct, frozen=True):
    """A connection is open."""

    link: int


class DialFailed(msgspec.Struct, frozen=True):
    """It could not be opened, or there was no key for it."""

    link: int
    fault: Fault


class Greeted(msgspec.Struct, frozen=True):
    """`session.created` came; `life` is how many seconds the provider lets the connection live, if it said so."""

    link: int
    event: Mapping[str, Any]
    life: float | None


class Heard(msgspec.Struct, frozen=True, gc=False):
    """Any other server event came."""

    link: int
    event: dict[str, Any]


class Ponged(msgspec.Struct, frozen=True):
    """A ping was answered; or something else than the other side is the reason that it was not (`excused`)."""

    link: int
    excused: bool = False


class Fell(msgspec.Struct, frozen=True):
    """A connection is over, and not because we wanted it to be."""

    link: int
    fault: Fault


class Said(msgspec.Struct, frozen=True):
    """The client sent an event."""

    event: dict[str, Any]


class Suspended(msgspec.Struct, frozen=True):
    """The application knows that the conversation is about to move."""


class CloseAsked(msgspec.Struct, frozen=True):
    """Somebody wants the conversation over."""

    reason: str


class DeadlinePassed(msgspec.Struct, frozen=True):
    """A moment the conversation waited for has come."""

    deadline: Deadline


class Summarised(msgspec.Struct, frozen=True):
    """Somebody put these items into a few words."""

    item_ids: tuple[str, ...]
    text: str


class Silent(msgspec.Struct, frozen=True):
    """Nothing was heard on a connection for a while."""

    link: int


class Unconfirmed(msgspec.Struct, frozen=True):
    """The options of a connection were not confirmed in time."""

    link: int


Input = (
    ConnectAsked
    | Dialled
    | DialFailed
    | Greeted
    | Heard
    | Ponged
    | Fell
    | Said
    | Suspended
    | CloseAsked
    | DeadlinePassed
    | Silent
    | Summarised
    | Unconfirmed
)
