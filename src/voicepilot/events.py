"""What observers see. An event holds the session as it was; diagnostics are derived from that when read."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from voicepilot.errors import Fault
from voicepilot.lifecycle.diagnostics import SessionDiagnostics, diagnose
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import (
    ConnectionPhase,
    ConnectionStatus,
    RenewalResult,
    Session,
    SessionInfo,
    Statistics,
    Trigger,
    info,
)
from voicepilot.lifecycle.usage import Usage
from voicepilot.ports import PurgeReceipt


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Something that happened to a session, at a moment."""

    type: ClassVar[str]
    session: Session
    at: float  # seconds since the epoch, on the manager's clock

    @property
    def session_id(self) -> str:
        """Whom it happened to."""
        return self.session.session_id

    @property
    def session_info(self) -> SessionInfo:
        """The session as it was."""
        return info(self.session)

    @property
    def diagnostics(self) -> SessionDiagnostics:
        """The session's diagnostics as of that moment."""
        return diagnose(self.session, self.at)

    @property
    def timestamp(self) -> datetime:
        """The moment, for people."""
        return datetime.fromtimestamp(self.at, UTC)


class SessionStarted(Event, frozen=True, gc=False, kw_only=True):
    """The session is active."""

    type = "session-started"


class SessionEnded(Event, frozen=True, gc=False, kw_only=True):
    """A session that had started is over: ended or failed, purged, and about to be forgotten."""

    type = "session-ended"
    reason: str
    receipt: PurgeReceipt

    @property
    def statistics(self) -> Statistics:
        """The final counts."""
        return self.session.statistics


class RenewalStarted(Event, frozen=True, gc=False, kw_only=True):
    """The next key is being fetched."""

    type = "renewal-started"
    trigger: Trigger


class RenewalCompleted(Event, frozen=True, gc=False, kw_only=True):
    """The session holds its next key."""

    type = "renewal-completed"
    result: RenewalResult


class RenewalFailed(Event, frozen=True, gc=False, kw_only=True):
    """A round is over without a key. Rounds go on while there is hope."""

    type = "renewal-failed"
    result: RenewalResult


SessionRenewed = RenewalStarted | RenewalCompleted | RenewalFailed
"""What on_session_renewed delivers."""


class ErrorType(StrEnum):
    """Which kind of trouble a `SessionErrorEvent` tells of."""

    AUTHENTICATION = "authentication-error"  # no key could be had, it lapsed, or the provider refused it
    RENEWAL = "renewal-error"  # a round failed
    TIMEOUT = "timeout-error"  # inactivity or a limit
    CONNECTION = "connection-error"  # the transport


class SessionErrorEvent(Event, frozen=True, gc=False, kw_only=True):
    """Something went wrong; `error.remediation` says what a person can do."""

    kind: ErrorType
    error: Fault

    @property
    def type(self) -> str:  # type: ignore[override]  # the one event with several types
        """One of the four `…-error` strings."""
        return self.kind.value


class StateChanged(Event, frozen=True, gc=False, kw_only=True):
    """The session moved to another phase. Published exactly once for each move."""

    type = "state-changed"
    previous_state: Phase
    new_state: Phase
    reason: str


class DegradedChanged(Event, frozen=True, gc=False, kw_only=True):
    """The session runs worse than it should, or well again."""

    type = "degraded-changed"

    @property
    def degraded(self) -> bool:
        """Whether it is degraded from now on."""
        return self.session.degraded


class ConnectionChanged(Event, frozen=True, kw_only=True):
    """A managed connection does something else: it opens, moves, falls, comes back, or is closed for good."""

    type = "connection-changed"
    previous_phase: ConnectionPhase
    new_phase: ConnectionPhase
    status: ConnectionStatus
    fault: Fault | None = None  # why, where something went wrong


class UsageCounted(Event, frozen=True, kw_only=True):
    """The provider said what was used; `usage` is all that the session has used."""

    type = "usage-counted"
    added: Usage

    @property
    def usage(self) -> Usage:
        """What the session has used so far, this included."""
        return self.session.usage


class LimitApproaching(Event, frozen=True, kw_only=True):
    """A limit of the session's config is nearly reached, and then it is ended. Told once for each limit."""

    type = "limit-approaching"
    limit: str  # the option's name
    used: float
    allowed: float


__all__ = [
    "ConnectionChanged",
    "DegradedChanged",
    "ErrorType",
    "Event",
    "LimitApproaching",
    "RenewalCompleted",
    "RenewalFailed",
    "RenewalStarted",
    "SessionEnded",
    "SessionErrorEvent",
    "SessionRenewed",
    "SessionStarted",
    "StateChanged",
    "UsageCounted",
]
