"""What the rules of starting and ending do: (session, input, now) -> (session, effects).

The phase is already the rule's when an action runs. Renewal is in `renewing.py`, time and upkeep in `upkeep.py`.
"""

from __future__ import annotations

from msgspec.structs import replace

from voicepilot.errors import Fault, FaultDomain
from voicepilot.events import ErrorType, SessionEnded, SessionStarted
from voicepilot.lifecycle import deadlines, limits
from voicepilot.lifecycle.effects import (
    AnswerEnd,
    AnswerStart,
    CloseConnection,
    Effects,
    Forget,
    Publish,
    Purge,
    ReleaseKey,
    ReleaseSlot,
    ReserveSlot,
    RunHook,
    RunPlan,
)
from voicepilot.lifecycle.inputs import EndRequested, Hook, Input, KeyMinted, MintFailed, Purged, SlotRefused
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, Farewell, Round, Session, Setback, Trigger
from voicepilot.lifecycle.steps import (
    CLOSE_LIMIT,
    PURGE_LIMIT,
    Outcome,
    connection_changed,
    current_farewell,
    current_round,
    error,
    lease,
    leave,
    mint,
    wrapped,
)

NONE, CLOSED = ConnectionPhase.NONE, ConnectionPhase.CLOSED


def ask_slot(session: Session, _: Input, __: float) -> Outcome:
    """Ask for a slot; nothing else happens until there is one."""
    return session, (ReserveSlot(),)


def refuse_start(session: Session, given: SlotRefused, now: float) -> Outcome:
    """There is no slot, so the session is over before it began."""
    fault = replace(given.fault, at=now)
    session = replace(session, last_error=fault, farewell=Farewell("limit-reached", fault))
    return session, (AnswerStart(fault), AnswerEnd(), Forget(session.config.failed_retention_seconds))


def abandon_start(session: Session, given: EndRequested, _: float) -> Outcome:
    """Nobody waits for it any more and it holds nothing."""
    return replace(session, farewell=Farewell(given.reason)), (AnswerStart(ended=True), AnswerEnd(), Forget())


def begin_start(session: Session, _: Input, now: float) -> Outcome:
    """Fetch the first key, within the time a start may take."""
    session = replace(session, start_by=now + session.config.start_timeout_seconds, round=Round(Trigger.START, now))
    return mint(session, now)


def go_live(session: Session, given: KeyMinted, now: float) -> Outcome:
    """Adopt the first key and arm every timer."""
    key = lease(given, now)
    session = replace(
        session,
        key=key,
        round=None,
        failures=0,
        setback=None,
        last_error=None,
        started_at=now,
        last_activity=now,
        start_by=None,
        expire_at=key.expires_at,
        renew_at=deadlines.renewal_time(key, session.config, session.session_id),
        beat_at=deadlines.first_beat(session.config, now),
    )
    session = replace(
        session,
        idle_at=deadlines.idle_time(session),
        warn_at=limits.warning_time(session, now),
        limit_at=limits.end_time(session, now),
    )
    started = Publish(SessionStarted(session=session, at=now))
    return session, (started, RunHook(Hook.READY, "session-ready", session.config.hook_timeout_seconds))


def answer_start(session: Session, _: Input, __: float) -> Outcome:
    """Let start_session return: the application is ready too."""
    return session, (AnswerStart(),)


def fail_start(session: Session, given: MintFailed, now: float) -> Outcome:
    """No key could be had."""
    return _give_up_start(session, given.fault, now)


def time_out_start(session: Session, _: Input, now: float) -> Outcome:
    """The time for a start is used up; the last failure, if there was one, says more than the time-out."""
    fault = session.last_error or Fault(
        code="KEY_REQUEST_TIMEOUT",
        message=f"no key within {session.config.start_timeout_seconds:g} s",
        remediation="Check the network and the base URL; for many starts at once, raise start_timeout_seconds or "
        "max_concurrent_mints.",
        retryable=True,
        domain=FaultDomain.TRANSPORT,
    )
    return _give_up_start(session, fault, now)


def _give_up_start(session: Session, fault: Fault, now: float) -> Outcome:
    fault = wrapped(fault, "SESSION_START_FAILED", "Failed to obtain session credentials", now)
    plan = RunPlan(session.tickets, current_round(session).attempt, first=True, fault=fault)
    session = replace(session, last_error=fault)
    told = error(session, ErrorType.AUTHENTICATION, fault, now)
    session, effects = leave(session, now, Farewell("start-failed", fault), told)
    return session, (plan, *effects)  # it begins while the session is still ending


def mint_again(session: Session, _: Input, now: float) -> Outcome:
    """Make the round's next attempt."""
    return mint(session, now)


def try_later(session: Session, given: MintFailed, now: float) -> Outcome:
    """Arm the round's next attempt."""
    counted, current = int(given.counts), current_round(session)
    session = replace(
        session,
        retry_at=retry_time(session, given, now),
        failures=session.failures + counted,
        round=replace(current, attempt=current.attempt + counted, ticket=None),
        setback=setback(session, given, now),
        last_error=replace(given.fault, at=now),
    )
    return session, ()


def setback(session: Session, given: MintFailed, now: float) -> Setback:
    """What an attempt that somebody waits for has to heed: also what was asked for before."""
    return Setback(now, now + max(given.fault.retry_after or 0.0, deadlines.asked_left(session, now)))


def retry_time(session: Session, given: MintFailed, now: float) -> float:
    """When the attempt after this failure is due."""
    wait, asked = given.retry_in, given.fault.retry_after or 0.0
    if wait is not None and given.counts:
        return now + max(wait, asked)
    if wait is not None:  # refused before it was tried
        patience = deadlines.patience(session, now)
        if patience is not None:  # whoever refuses lets somebody through who cannot wait, but has to be asked
            wait = min(wait, patience)
        # What costs nothing must not be asked for again at once: it would be a hot loop.
        return now + max(wait, session.config.retry_backoff_ms / 1000, asked)
    failed = replace(session, failures=session.failures + 1)
    return deadlines.next_attempt(failed, now, asked=given.fault.retry_after)


def give_back(session: Session, given: KeyMinted, _: float) -> Outcome:
    """A late or duplicate key: nobody may keep it."""
    return session, (ReleaseKey(given.ticket),)


def begin_ending(session: Session, given: EndRequested, now: float) -> Outcome:
    """Stop what runs and say goodbye."""
    return leave(session, now, Farewell(given.reason))


def end_idle(session: Session, _: Input, now: float) -> Outcome:
    """Nothing was heard for too long."""
    fault = Fault(
        code="INACTIVITY_TIMEOUT",
        message=f"no activity for {session.config.inactivity_timeout_minutes:g} minutes",
        remediation="Start a new session when ready to continue.",
        retryable=False,
        at=now,
    )
    session = replace(session, last_error=fault)
    told = error(session, ErrorType.TIMEOUT, fault, now)
    return leave(session, now, Farewell("inactivity-timeout"), told)


def close(session: Session, _: Input, __: float) -> Outcome:
    """The application has had its say."""
    return session, (CloseConnection(CLOSE_LIMIT),)


def forget_key(session: Session, _: Input, now: float) -> Outcome:
    """The connection is closed: forget the key, make the last sum, and purge."""
    released = (ReleaseKey(session.key.ticket),) if session.key else ()
    lasted = (now - session.started_at) * 1000 if session.started_at is not None else 0.0
    before = session.connection_phase
    session = replace(session, key=None, statistics=replace(session.statistics, total_duration_ms=lasted))
    if before not in {NONE, CLOSED}:
        session = replace(session, connection_phase=CLOSED, connection=ConnectionStatus.UNKNOWN)
    told = connection_changed(session, before, now)
    return session, (*released, *told, Purge(current_farewell(session).reason, PURGE_LIMIT))


def finish(session: Session, given: Purged, now: float) -> Outcome:
    """Over: free the slot, tell everybody, and go from the registry."""
    farewell = current_farewell(session)
    told: Effects = ()
    if session.started_at is not None:
        ended = SessionEnded(session=session, at=now, reason=farewell.reason, receipt=given.receipt)
        told = (Publish(ended),)
    stay = session.config.failed_retention_seconds if farewell.fault else 0.0
    answer = AnswerStart(farewell.fault, ended=farewell.fault is None)
    return session, (ReleaseSlot(), *told, answer, AnswerEnd(), Forget(stay))
