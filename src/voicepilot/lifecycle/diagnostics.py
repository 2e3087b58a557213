"""A session's timers, key, connection and last error, as a person or a dashboard wants to see them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from voicepilot.errors import Fault
from voicepilot.lifecycle.phases import OVER, Phase
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, Deadline, Session, moments, soonest


class CredentialStatus(StrEnum):
    """What the session's own key is worth."""

    VALID = "valid"
    EXPIRED = "expired"
    MISSING = "missing"
    INVALID = "invalid"  # the provider refused it before it expired


class TimerStatus(msgspec.Struct, frozen=True):
    """One of a session's three timers."""

    is_active: bool
    scheduled_at: float | None = None  # seconds since the epoch
    remaining: float | None = None  # seconds, never negative; what is left when thawed, while paused
    is_paused: bool = False


class TimerStatuses(msgspec.Struct, frozen=True):
    """All three timers."""

    renewal: TimerStatus
    inactivity: TimerStatus
    heartbeat: TimerStatus


class NextEvent(msgspec.Struct, frozen=True):
    """What the session waits for next."""

    kind: str  # start-timeout, renewal, retry, key-expiry, inactivity, heartbeat, limit-warning or limit
    at: float
    remaining: float  # seconds


class SessionDiagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """Everything support wants to know about one session. From its own state only."""

    session_id: str
    state: Phase
    timers: TimerStatuses
    credential_status: CredentialStatus
    key_seconds_left: float | None
    connection_status: ConnectionStatus
    connection_phase: ConnectionPhase = ConnectionPhase.NONE
    degraded: bool
    last_error: Fault | None
    uptime: float  # seconds since it became active
    next_event: NextEvent | None


EVENT_NAMES = {
    Deadline.START: "start-timeout",
    Deadline.RENEW: "renewal",
    Deadline.RETRY: "retry",
    Deadline.EXPIRY: "key-expiry",
    Deadline.IDLE: "inactivity",
    Deadline.HEARTBEAT: "heartbeat",
    Deadline.WARNING: "limit-warning",
    Deadline.LIMIT: "limit",
}


NAMES = tuple(EVENT_NAMES[deadline] for deadline in Deadline)


def credential_status(session: Session, now: float) -> CredentialStatus:
    """What the session's own key is worth at `now`."""
    key = session.key
    if key is None:
        return CredentialStatus.MISSING
    if key.rejected:
        return CredentialStatus.INVALID
    return CredentialStatus.VALID if key.expires_at > now else CredentialStatus.EXPIRED


def timer_statuses(session: Session, now: float) -> TimerStatuses:
    """The three timers at `now`. A renewal that waits for its next attempt shows that attempt."""
    frozen = session.frozen
    renewal = session.renew_at if session.retry_at is None else session.retry_at
    return TimerStatuses(
        _timer(renewal, now),
        _timer(session.idle_at, now) if frozen is None else _paused(frozen.idle),
        _timer(session.beat_at, now) if frozen is None else _paused(frozen.beat),
    )


def next_event(session: Session, now: float) -> NextEvent | None:
    """The soonest of the session's deadlines."""
    when = moments(session)
    at = soonest(when)
    if at is None:
        return None
    return NextEvent(NAMES[when.index(at)], at, at - now if at > now else 0.0)


def diagnose(session: Session, now: float) -> SessionDiagnostics:
    """The session's diagnostics as of `now`."""
    key = session.key
    return SessionDiagnostics(
        session_id=session.session_id,
        state=session.phase,
        timers=timer_statuses(session, now),
        credential_status=credential_status(session, now),
        key_seconds_left=None if key is None else key.expires_at - now if key.expires_at > now else 0.0,
        connection_status=session.connection,
        connection_phase=session.connection_phase,
        degraded=session.degraded,
        last_error=session.last_error,
        uptime=_uptime(session, now),
        next_event=next_event(session, now),
    )


def _uptime(session: Session, now: float) -> float:
    if session.started_at is None:
        return 0.0
    if session.phase in OVER:
        return session.statistics.total_duration_ms / 1000
    return now - session.started_at


OFF = TimerStatus(is_active=False)


def _timer(at: float | None, now: float) -> TimerStatus:
    if at is None:
        return OFF
    return TimerStatus(True, at, at - now if at > now else 0.0)


def _paused(left: float | None) -> TimerStatus:
    return TimerStatus(is_active=False, remaining=left, is_paused=left is not None)
