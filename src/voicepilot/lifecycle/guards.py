"""The conditions in the rules table: (session, input, now) -> bool."""

from __future__ import annotations

from voicepilot.lifecycle.actions import retry_time
from voicepilot.lifecycle.inputs import Input, KeyMinted, MintFailed, RenewRequested
from voicepilot.lifecycle.session import Session, Trigger
from voicepilot.lifecycle.upkeep import USER


def is_ours(session: Session, given: KeyMinted | MintFailed, _: float) -> bool:
    """It answers the mint in flight, and not an earlier one."""
    return session.round is not None and session.round.ticket == given.ticket


def may_retry(session: Session, given: MintFailed, now: float) -> bool:
    """Another attempt of this round can help and is allowed."""
    if session.round is None or session.round.ticket != given.ticket or not given.fault.retryable:
        return False
    if given.counts and session.round.attempt > session.config.max_retry_attempts:
        return False
    return session.start_by is None or retry_time(session, given, now) < session.start_by


def hopeless(session: Session, given: MintFailed, now: float) -> bool:
    """No attempt can help, and no open connection carries the call on without a key."""
    # A key only gates the opening of connections: a call that is open outlives it.
    return is_ours(session, given, now) and not given.fault.retryable and not session.connection_phase.is_open


def with_new_key(session: Session, _: Input, __: float) -> bool:
    """A fetched key waits for the swap."""
    return session.round is not None and session.round.incoming is not None


def for_dial(session: Session, given: KeyMinted, now: float) -> bool:
    """The key is for a managed connection: the application hears of that one itself, and not of its key."""
    return is_ours(session, given, now) and session.round is not None and session.round.trigger is Trigger.CONNECTION


def for_dial_while_paused(session: Session, given: KeyMinted, now: float) -> bool:
    """The key is for a managed connection, and the application asked for a pause and has not resumed."""
    return for_dial(session, given, now) and USER in session.holds


def dial_waits(session: Session, given: KeyMinted, now: float) -> bool:
    """A managed connection, which is down, waits for the key too, and cannot wait for hooks."""
    return is_ours(session, given, now) and session.round is not None and session.round.dials


def dial_with_new_key(session: Session, given: RenewRequested, now: float) -> bool:
    """A managed connection, which is down, waits for the key that is held back for the hooks."""
    return given.trigger is Trigger.CONNECTION and with_new_key(session, given, now)


def between_rounds(session: Session, _: Input, __: float) -> bool:
    """The last round is over and the next has not begun."""
    return session.round is None


def paused_by_user(session: Session, given: Input, now: float) -> bool:
    """The application asked for a pause and has not resumed; and if a mint failed, it was ours."""
    if isinstance(given, MintFailed) and not is_ours(session, given, now):
        return False
    return USER in session.holds


def will_be_failed(session: Session, _: Input, __: float) -> bool:
    """The session ends because it could not go on."""
    return session.farewell is not None and session.farewell.fault is not None
