"""What the rules of renewal and recovery do: fetch, suspend, swap, resume; or fail and try again."""

from __future__ import annotations

from msgspec.structs import replace

from voicepilot.errors import Fault, FaultDomain
from voicepilot.events import ErrorType, RenewalCompleted, RenewalFailed, RenewalStarted
from voicepilot.lifecycle import deadlines
from voicepilot.lifecycle.actions import retry_time, setback, try_later
from voicepilot.lifecycle.effects import AnswerDials, AnswerRenewal, Publish, ReleaseKey, RunHook, RunPlan
from voicepilot.lifecycle.inputs import Hook, Input, KeyMinted, KeyRejected, MintFailed, RenewRequested
from voicepilot.lifecycle.session import ConnectionStatus, Farewell, RenewalResult, Round, Session, Trigger
from voicepilot.lifecycle.steps import (
    Outcome,
    current_key,
    current_round,
    error,
    lease,
    leave,
    mint,
    no_renewal,
    wrapped,
)


def renew_on_time(session: Session, _: Input, now: float) -> Outcome:
    """The key's time is nearly up, or it was refused when it had just come."""
    return _begin_round(session, Trigger.REJECTED if current_key(session).rejected else Trigger.TIMER, now)


def renew_on_request(session: Session, given: RenewRequested, now: float) -> Outcome:
    """Somebody waits for it; after a failure its first attempt comes as soon as another may."""
    at = deadlines.soonest_attempt(session, now)
    if at <= now:
        return _begin_round(session, given.trigger, now)
    session = replace(session, renew_at=None, retry_at=at, round=Round(given.trigger, now))
    return session, (_started(session, now),)


def renew_to_recover(session: Session, _: Input, now: float) -> Outcome:
    """The key has lapsed and the last round failed; try another."""
    return _begin_round(session, Trigger.RECOVERY, now)


def _begin_round(session: Session, trigger: Trigger, now: float) -> Outcome:
    session = replace(session, renew_at=None, round=Round(trigger, now))
    session, minted = mint(session, now)
    return session, (_started(session, now), *minted)


def _started(session: Session, now: float) -> Publish:
    return Publish(RenewalStarted(session=session, at=now, trigger=current_round(session).trigger))


def hold_new_key(session: Session, given: KeyMinted, now: float) -> Outcome:
    """Keep the fetched key beside the current one until the application has suspended."""
    return _with_incoming(session, given, now), (_renewal_hook(session, Hook.SUSPENDING),)


def adopt_at_once(session: Session, given: KeyMinted, now: float) -> Outcome:
    """Nothing can wait with the old key: use the new one now, and call the hooks after."""
    session, released = _swap(_with_incoming(session, given, now), now)
    return session, (*released, _renewal_hook(session, Hook.SUSPENDING))


def adopt_for_dial(session: Session, given: KeyMinted, now: float) -> Outcome:
    """Only the connection to be dialled waits for this key: use it at once, and call no hooks."""
    session, released = _swap(_with_incoming(session, given, now), now)
    session, completed = complete_renewal(session, given, now)
    return session, (*released, *completed)


def _with_incoming(session: Session, given: KeyMinted, now: float) -> Session:
    return replace(session, round=replace(current_round(session), ticket=None, incoming=lease(given, now)))


def swap(session: Session, _: Input, now: float) -> Outcome:
    """Make the fetched key the current one, now that the application has suspended."""
    session, released = _swap(session, now)
    return session, (*released, _renewal_hook(session, Hook.RESUMED))


def swap_early(session: Session, _: Input, now: float) -> Outcome:
    """The new key is needed while the application is still suspending: do not wait for it."""
    return _swap(session, now)


def resume_after_swap(session: Session, _: Input, __: float) -> Outcome:
    """The application has suspended, and the swap was made before."""
    return session, (_renewal_hook(session, Hook.RESUMED),)


def _swap(session: Session, now: float) -> Outcome:
    renewal, old, stats = current_round(session), current_key(session), session.statistics
    if renewal.incoming is None:
        raise LookupError("no fetched key to swap to")
    key = renewal.incoming
    latency = (now - renewal.began_at) * 1000
    count = stats.renewal_count + 1
    average = stats.average_renewal_latency_ms + (latency - stats.average_renewal_latency_ms) / count
    session = replace(
        session,
        key=key,
        expire_at=key.expires_at,
        round=replace(renewal, incoming=None, swapped_at=now),
        statistics=replace(stats, renewal_count=count, average_renewal_latency_ms=average),
    )
    return session, (ReleaseKey(old.ticket), AnswerDials())


def _renewal_hook(session: Session, hook: Hook) -> RunHook:
    return RunHook(hook, current_round(session).trigger.value, session.config.hook_timeout_seconds)


def complete_renewal(session: Session, _: Input, now: float) -> Outcome:
    """The swap is made and the application has resumed."""
    renewal, key = current_round(session), current_key(session)
    result = RenewalResult(
        session_id=session.session_id,
        success=True,
        latency_ms=((renewal.swapped_at or now) - renewal.began_at) * 1000,
        attempts=renewal.attempt,
        expires_at=key.expires_at,
    )
    session = replace(
        session,
        round=None,
        failures=0,
        failed_rounds=0,
        setback=None,
        degraded=session.connection is ConnectionStatus.FAILED,
        last_error=None,
        expire_at=key.expires_at,  # armed anew, in case it passed while hooks were slow
        renew_at=deadlines.renewal_time(key, session.config, session.session_id),
    )
    return session, (Publish(RenewalCompleted(session=session, at=now, result=result)), AnswerRenewal(result))


def retry_later(session: Session, given: MintFailed, now: float) -> Outcome:
    """Arm the round's next attempt; a connection that waits for the key may rather dial again later."""
    session, _ = try_later(session, given, now)
    session = replace(session, round=replace(current_round(session), dials=False))
    return session, (AnswerDials(_wrapped(given.fault, now)),)


def fail_round(session: Session, given: MintFailed, now: float) -> Outcome:
    """The round's attempts are used up; the next round comes as the next attempt would have."""
    renew_at = retry_time(session, given, now)
    session, failed = _round_failed(session, given.fault, now)
    session = replace(session, renew_at=renew_at, round=None, failures=session.failures + int(given.counts))
    return replace(session, setback=setback(session, given, now)), failed


def join_round(session: Session, given: RenewRequested, now: float) -> Outcome:
    """Somebody else waits for the key of the round under way: bring its next attempt forward.

    A round that was for a connection alone calls the hooks once the application waits for it too.
    """
    current = current_round(session)
    dials = current.is_for_dial or given.trigger is Trigger.CONNECTION
    trigger = given.trigger if current.trigger is Trigger.CONNECTION else current.trigger
    return hasten(replace(session, round=replace(current, trigger=trigger, dials=dials)), given, now)


def hasten(session: Session, _: Input, now: float) -> Outcome:
    """Help has come, or somebody waits: bring the next attempt forward, to the first backoff at the earliest."""
    soon = deadlines.soonest_attempt(session, now)
    if session.retry_at is not None:
        return replace(session, retry_at=min(session.retry_at, soon)), ()
    if session.failed_rounds and session.renew_at is not None:
        return replace(session, renew_at=min(session.renew_at, soon)), ()
    return session, ()


def fail_for_good(session: Session, given: MintFailed, now: float) -> Outcome:
    """No further attempt can succeed, so the session cannot go on."""
    session, failed = _round_failed(session, given.fault, now)
    fault = session.last_error or given.fault
    unauthenticated = error(session, ErrorType.AUTHENTICATION, fault, now)
    session, left = leave(replace(session, round=None), now, Farewell("renewal-failed", fault))
    return session, (*failed, unauthenticated, *left)


def _round_failed(session: Session, fault: Fault, now: float) -> Outcome:
    renewal, stats = current_round(session), session.statistics
    fault = _wrapped(fault, now)
    result = RenewalResult(
        session_id=session.session_id,
        success=False,
        latency_ms=(now - renewal.began_at) * 1000,
        attempts=renewal.attempt,
        expires_at=current_key(session).expires_at,
        error=fault,
    )
    session = replace(
        session,
        last_error=fault,
        degraded=True,
        failed_rounds=session.failed_rounds + 1,
        statistics=replace(stats, failed_renewal_count=stats.failed_renewal_count + 1),
    )
    told = Publish(RenewalFailed(session=session, at=now, result=result))
    plan = RunPlan(session.tickets, renewal.attempt, first=False, fault=fault)
    return session, (told, error(session, ErrorType.RENEWAL, fault, now), AnswerRenewal(result), plan)


def _wrapped(fault: Fault, now: float) -> Fault:
    return wrapped(fault, "RENEWAL_FAILED", "Failed to renew session credentials", now)


def refuse_renewal(session: Session, _: Input, now: float) -> Outcome:
    """Answer a renewal that makes no sense now, without touching anything."""
    return session, (AnswerRenewal(no_renewal(session, now, f"the session is {session.phase}")),)


def lapse(session: Session, _: Input, now: float) -> Outcome:
    """The key expired before the next one came. Connections already open live on; new ones must wait."""
    why = session.last_error
    fault = Fault(
        code="KEY_EXPIRED",
        message="the key expired before the next one could be fetched" + (f": {why.message}" if why else ""),
        remediation=(why.remediation if why else "Check that the provider is reachable.")
        + " New connections wait until a key arrives; open ones go on.",
        retryable=True,
        domain=FaultDomain.AUTH,
        cause=why.code if why else None,
        at=now,
    )
    session = replace(session, expire_at=None, degraded=True, last_error=fault)
    return session, (error(session, ErrorType.AUTHENTICATION, fault, now),)


def renew_rejected(session: Session, given: KeyRejected, now: float) -> Outcome:
    """The provider refused the current key: replace it now."""
    session, told = note_rejection(session, given, now)
    session, begun = _begin_round(session, Trigger.REJECTED, now)
    return session, (*told, *begun)


def note_rejection(session: Session, given: KeyRejected, now: float) -> Outcome:
    """The provider refused the current key, and its successor is already being fetched."""
    fault = replace(given.fault, at=now)
    session = replace(session, key=replace(current_key(session), rejected=True), last_error=fault)
    return session, (error(session, ErrorType.AUTHENTICATION, fault, now),)
