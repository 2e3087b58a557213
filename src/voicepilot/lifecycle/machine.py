"""Takes a session one step through the table, and says when it must be woken."""

from __future__ import annotations

from msgspec.structs import replace

from voicepilot.events import DegradedChanged, StateChanged
from voicepilot.lifecycle import deadlines
from voicepilot.lifecycle.effects import Effects, Publish
from voicepilot.lifecycle.inputs import DeadlinePassed, Input
from voicepilot.lifecycle.phases import RUNNING
from voicepilot.lifecycle.rules import ROWS, Rule, what
from voicepilot.lifecycle.session import DEADLINES, Deadline, Frozen, Session, moments, soonest


def step(session: Session, given: Input, now: float) -> tuple[Session, Effects]:
    """What becomes of `session` when `given` happens at `now`, and what is to be done about it."""
    rule = _find(session, given, now)
    if rule is None:
        return session, ()
    before = session
    if rule.to is None or rule.to is before.phase:
        session, effects = rule.do(session, given, now)
    else:
        # The one place where a phase is written, and writing it publishes it.
        session, effects = rule.do(replace(session, phase=rule.to), given, now)
        why = rule.why or (session.farewell.reason if session.farewell else "")
        moved = StateChanged(session=session, at=now, previous_state=before.phase, new_state=rule.to, reason=why)
        effects = (Publish(moved), *effects)
    if session.degraded != before.degraded:
        effects = (*effects, Publish(DegradedChanged(session=session, at=now)))
    return session, effects


def wake_at(session: Session) -> float | None:
    """When the soonest deadline is due, or None when the session waits for no moment."""
    return soonest(moments(session))


def wake(session: Session, now: float) -> tuple[Session, Effects]:
    """Let every deadline that is due by `now` pass, soonest first."""
    done: Effects = ()
    while (due := _due(session, now)) is not None:
        passed = getattr(session, due.value)
        session, effects = step(session, DeadlinePassed(due), now)
        done += effects
        if getattr(session, due.value) == passed:  # nothing moved it, so it must not come again
            session = replace(session, **{due.value: None})
    return session, done


def note_activity(session: Session, at: float, resets: int) -> Session:
    """Count the activity since the last step: inactivity is counted from `at`."""
    if session.phase not in RUNNING:
        return session
    stats = session.statistics
    stats = replace(stats, inactivity_resets=stats.inactivity_resets + resets)
    session = replace(session, last_activity=max(at, session.last_activity), statistics=stats)
    if session.frozen:
        return replace(session, frozen=Frozen(idle=_full_idle(session), beat=session.frozen.beat))
    return replace(session, idle_at=deadlines.idle_time(session))


def _full_idle(session: Session) -> float | None:
    at = deadlines.idle_time(session)
    return None if at is None else at - session.last_activity


def _find(session: Session, given: Input, now: float) -> Rule | None:
    for rule in ROWS.get((session.phase, what(given)), ()):
        if rule.when is None or rule.when(session, given, now):
            return rule
    return None


def _due(session: Session, now: float) -> Deadline | None:
    when = moments(session)
    first = soonest(when)
    return DEADLINES[when.index(first)] if first is not None and first <= now else None
