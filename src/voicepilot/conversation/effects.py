"""What the core of a conversation orders, in the imperative. The shell carries it out in order."""

from __future__ import annotations

from typing import Any

import msgspec

from voicepilot.conversation.happenings import Happening
from voicepilot.errors import Fault
from voicepilot.ports import ConnectionPhase, ConnectionStatus, Usage


class Dial(msgspec.Struct, frozen=True):
    """Open a connection with a key that no connection was opened with. Answered by Dialled or DialFailed."""

    link: int
    limit: float  # seconds


class Send(msgspec.Struct, frozen=True):
    """Send an event."""

    link: int
    event: dict[str, Any]


class Ping(msgspec.Struct, frozen=True):
    """Ask whether somebody is there."""

    link: int


class HangUp(msgspec.Struct, frozen=True):
    """Close a connection; nothing it says is of interest any more."""

    link: int


class Yield(msgspec.Struct, frozen=True, gc=False):
    """Give this to whoever reads the conversation."""

    event: dict[str, Any] | Happening


class Report(msgspec.Struct, frozen=True):
    """Tell the manager how the connection is."""

    phase: ConnectionPhase
    status: ConnectionStatus
    fault: Fault | None = None


class Suspend(msgspec.Struct, frozen=True):
    """Call the application's suspending hook. Answered by Suspended where `answer` is wanted."""

    reason: str
    answer: bool


class Resume(msgspec.Struct, frozen=True):
    """Call the application's resumed hook."""


class NoteActivity(msgspec.Struct, frozen=True):
    """Somebody spoke or typed."""


class Count(msgspec.Struct, frozen=True):
    """This much more was used."""

    usage: Usage


class ForgetUtterance(msgspec.Struct, frozen=True):
    """Words that will be said again must not stay in the transcript."""

    item_id: str


class Summarise(msgspec.Struct, frozen=True):
    """These items were too many for the budget; a summary of them may stand in their place next time."""

    items: tuple[dict[str, Any], ...]


class Finish(msgspec.Struct, frozen=True):
    """It is over; with a fault where it could not be kept alive."""

    reason: str
    fault: Fault | None = None


Effect = (
    Dial
    | Send
    | Ping
    | HangUp
    | Yield
    | Report
    | Suspend
    | Resume
    | NoteActivity
    | Count
    | ForgetUtterance
    | Summarise
    | Finish
)
