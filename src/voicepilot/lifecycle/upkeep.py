"""What the rules of time and upkeep do: beat, pause, change config, note what the transport says."""

from __future__ import annotations

from msgspec.structs import replace

from voicepilot.errors import Fault, FaultDomain
from voicepilot.events import ErrorType
from voicepilot.lifecycle import deadlines
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.health import is_healthy
from voicepilot.lifecycle.inputs import ConfigUpdated, ConnectionReported, HoldReleased, HoldTaken, Input
from voicepilot.lifecycle.leash import look
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import ConnectionStatus, Frozen, Session
from voicepilot.lifecycle.steps import Outcome, connection_changed, error

USER = "user"
"""The holder that pause_session holds for."""


def beat(session: Session, _: Input, now: float) -> Outcome:
    """Look at the session's health: a bad beat degrades, a good beat heals."""
    stats = session.statistics
    session = replace(
        session,
        beat_at=deadlines.next_beat(session, now),
        degraded=session.failed_rounds > 0 or not is_healthy(session, now),
        statistics=replace(stats, heartbeat_count=stats.heartbeat_count + 1),
    )
    return session, ()


def pause(session: Session, _: Input, now: float) -> Outcome:
    """Let inactivity and heartbeat stand still for the user."""
    return _hold(session, USER, now), ()


def resume(session: Session, _: Input, now: float) -> Outcome:
    """Let them run again, unless somebody else still holds them."""
    return _let_go(session, USER, now), ()


def take_hold(session: Session, given: HoldTaken, now: float) -> Outcome:
    """Let inactivity and heartbeat stand still for the holder."""
    return _hold(session, given.holder, now), ()


def release_hold(session: Session, given: HoldReleased, now: float) -> Outcome:
    """Let them run again, unless somebody else still holds them."""
    return _let_go(session, given.holder, now), ()


def _hold(session: Session, holder: str, now: float) -> Session:
    frozen = session.frozen or Frozen(idle=_left(session.idle_at, now), beat=_left(session.beat_at, now))
    return replace(session, holds=session.holds | {holder}, frozen=frozen, idle_at=None, beat_at=None)


def _let_go(session: Session, holder: str, now: float) -> Session:
    holds, frozen = session.holds - {holder}, session.frozen
    if holds or frozen is None:
        return replace(session, holds=holds)
    return replace(
        session, holds=holds, frozen=None, idle_at=_after(now, frozen.idle), beat_at=_after(now, frozen.beat)
    )


def reconfigure(session: Session, given: ConfigUpdated, now: float) -> Outcome:
    """Behave by the new config from now on, and move the deadlines it affects."""
    session = _rescheduled(session, session.config, given.config, now)
    return (session, ()) if session.started_at is None else look(session, given, now)


def _rescheduled(session: Session, old: SessionConfig, new: SessionConfig, now: float) -> Session:
    session = replace(session, config=new)
    if session.start_by is not None:
        session = replace(session, start_by=session.start_by - old.start_timeout_seconds + new.start_timeout_seconds)
    if session.key and session.renew_at is not None and not session.failed_rounds:
        session = replace(session, renew_at=deadlines.renewal_time(session.key, new, session.session_id))
    if new.retry_backoff_ms < old.retry_backoff_ms:
        session = _hastened(session, now)
    if session.started_at is None:
        return session
    frozen = session.frozen or Frozen(idle=_left(session.idle_at, now), beat=_left(session.beat_at, now))
    frozen = Frozen(idle=deadlines.idle_left(frozen.idle, old, new), beat=deadlines.beat_left(frozen.beat, old, new))
    if session.frozen:
        return replace(session, frozen=frozen)
    return replace(session, idle_at=_after(now, frozen.idle), beat_at=_after(now, frozen.beat))


def _hastened(session: Session, now: float) -> Session:
    """Wait for the next attempt no longer than by the new backoff, counted from now; a longer one counts later."""
    at = deadlines.next_attempt(session, now, asked=deadlines.asked_left(session, now))
    if session.retry_at is not None:
        return replace(session, retry_at=min(session.retry_at, at))
    if session.renew_at is not None and session.failed_rounds:
        return replace(session, renew_at=min(session.renew_at, at))
    return session


def note_connection(session: Session, given: ConnectionReported, now: float) -> Outcome:
    """Keep what the transport said; a failure is told, a success clears the transport's own error."""
    before = session.connection_phase
    phase = before if given.phase is None else given.phase
    session = replace(session, connection=given.status, connection_phase=phase)
    if given.status is ConnectionStatus.FAILED:
        fault = replace(given.fault or CONNECTION_FAILED, at=now)
        session = replace(session, last_error=fault, degraded=True)
        told = connection_changed(session, before, now, fault)
        return session, (*told, error(session, ErrorType.CONNECTION, fault, now))
    if session.last_error and session.last_error.domain is FaultDomain.TRANSPORT and not session.failures:
        session = replace(session, last_error=None)
    session = replace(session, degraded=session.failed_rounds > 0 or session.phase is Phase.RECOVERING)
    return session, connection_changed(session, before, now, replace(given.fault, at=now) if given.fault else None)


CONNECTION_FAILED = Fault(
    code="CONNECTION_FAILED",
    message="the transport reported that the realtime connection failed",
    remediation="Reconnect with the current key; check the network between this host and the provider.",
    retryable=True,
    domain=FaultDomain.TRANSPORT,
)


def _left(at: float | None, now: float) -> float | None:
    return None if at is None else max(0.0, at - now)


def _after(now: float, left: float | None) -> float | None:
    return None if left is None else now + left
