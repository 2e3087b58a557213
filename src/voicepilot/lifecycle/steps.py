"""What several actions do: order a mint, leave for the end, tell of a fault."""

from __future__ import annotations

from msgspec.structs import replace

from voicepilot.errors import Fault
from voicepilot.events import ConnectionChanged, ErrorType, SessionErrorEvent
from voicepilot.lifecycle import deadlines
from voicepilot.lifecycle.effects import (
    AnswerRenewal,
    CloseConnection,
    Effects,
    MintKey,
    Publish,
    ReleaseKey,
    RunHook,
    StopWork,
)
from voicepilot.lifecycle.inputs import Hook, KeyMinted
from voicepilot.lifecycle.session import ConnectionPhase, Farewell, Lease, RenewalResult, Round, Session

Outcome = tuple[Session, Effects]

NOT_ACTIVE = "SESSION_NOT_ACTIVE"
"""The code of the fault where a session cannot be renewed, because it is starting or over."""

ENDING_HOOK_LIMIT = 1.0
CLOSE_LIMIT = 0.4
PURGE_LIMIT = 0.5
"""Seconds; together under the 2 s that an end may take, whatever hangs."""


def mint(session: Session, now: float) -> Outcome:
    """Order the next attempt of the round under way."""
    ticket, current = session.tickets + 1, replace(current_round(session), ticket=session.tickets + 1)
    session = replace(session, tickets=ticket, retry_at=None, round=current)
    limit, patience = deadlines.mint_limit(session, now), deadlines.patience(session, now)
    if current.is_for_dial:
        patience = 0.0
    first = session.started_at is None
    return session, (MintKey(ticket, current.attempt, first=first, limit=limit, patience=patience),)


def lease(given: KeyMinted, now: float) -> Lease:
    """The key that arrived, as a lease that begins now."""
    return Lease(given.ticket, now, now + given.expires_in, given.remote_session_id)


def leave(session: Session, now: float, farewell: Farewell, *told: Publish) -> Outcome:
    """Everything that makes a session stop, whatever the reason."""
    current = session.round
    released = (ReleaseKey(current.incoming.ticket),) if current and current.incoming else ()
    session = replace(
        session,
        farewell=farewell,
        round=None,
        holds=frozenset(),
        frozen=None,
        start_by=None,
        renew_at=None,
        retry_at=None,
        expire_at=None,
        idle_at=None,
        beat_at=None,
        warn_at=None,
        limit_at=None,
    )
    if session.started_at is None:
        return session, (*told, StopWork(), *released, CloseConnection(CLOSE_LIMIT))
    answer = AnswerRenewal(no_renewal(session, now, "the session is ending"))
    return session, (*told, StopWork(), *released, answer, RunHook(Hook.ENDING, farewell.reason, ENDING_HOOK_LIMIT))


def no_renewal(session: Session, now: float, why: str) -> RenewalResult:
    """The answer to a renewal that cannot be."""
    fault = Fault(
        code=NOT_ACTIVE,
        message=f"cannot renew: {why}",
        remediation="Renew a session that is active, or start a new one.",
        retryable=False,
        at=now,
    )
    return RenewalResult(session_id=session.session_id, success=False, error=fault)


def wrapped(fault: Fault, code: str, prefix: str, now: float) -> Fault:
    """The fault as a failure of ours, with its own code kept as the cause."""
    return replace(fault, code=code, cause=fault.cause or fault.code, message=f"{prefix}: {fault.message}", at=now)


def error(session: Session, kind: ErrorType, fault: Fault, now: float) -> Publish:
    """Tell the observers of a fault."""
    return Publish(SessionErrorEvent(session=session, at=now, kind=kind, error=fault))


def connection_changed(session: Session, before: ConnectionPhase, now: float, fault: Fault | None = None) -> Effects:
    """Tell the observers what the managed connection does from now on, if that is something else than before."""
    after = session.connection_phase
    if after is before:
        return ()
    changed = ConnectionChanged(
        session=session, at=now, previous_phase=before, new_phase=after, status=session.connection, fault=fault
    )
    return (Publish(changed),)


def current_round(session: Session) -> Round:
    """The round under way; the table only asks when there is one."""
    if session.round is None:
        raise LookupError(f"no round is under way while {session.phase}")
    return session.round


def current_key(session: Session) -> Lease:
    """The key held; the table only asks when there is one."""
    if session.key is None:
        raise LookupError(f"no key is held while {session.phase}")
    return session.key


def current_farewell(session: Session) -> Farewell:
    """Why the session is ending; the table only asks when it is."""
    if session.farewell is None:
        raise LookupError(f"nothing was said about why, while {session.phase}")
    return session.farewell
