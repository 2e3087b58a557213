"""What the rules of the limits do: count what is used, warn when little is left, end when nothing is."""

from __future__ import annotations

from msgspec.structs import replace

from voicepilot.errors import Fault
from voicepilot.events import ErrorType, LimitApproaching, UsageCounted
from voicepilot.lifecycle import limits
from voicepilot.lifecycle.effects import Publish
from voicepilot.lifecycle.inputs import Input, UsageReported
from voicepilot.lifecycle.limits import Limit
from voicepilot.lifecycle.session import NO_WARNINGS, Farewell, Session
from voicepilot.lifecycle.steps import Outcome, error, leave


def count_usage(session: Session, given: UsageReported, now: float) -> Outcome:
    """Add what was used, and look at the limits."""
    session, counted = add_usage(session, given, now)
    session, warned = look(session, given, now)
    return session, (*counted, *warned)


def add_usage(session: Session, given: UsageReported, now: float) -> Outcome:
    """Add what was used; the session is ending already."""
    session = replace(session, usage=session.usage + given.usage)
    return session, (Publish(UsageCounted(session=session, at=now, added=given.usage)),)


def look(session: Session, _: Input, now: float) -> Outcome:
    """Arm the limits as they are, and warn of each that has come near since the last look."""
    near = frozenset(limit for limit in Limit if limits.is_near(session, limit, now)) or NO_WARNINGS
    news = [limit for limit in Limit if limit in near - session.warned]
    session = replace(
        session,
        warned=near,
        warn_at=limits.warning_time(session, now),
        limit_at=limits.end_time(session, now),
    )
    return session, tuple(Publish(_approaching(session, limit, now)) for limit in news)


def _approaching(session: Session, limit: Limit, now: float) -> LimitApproaching:
    most = limits.allowed(session, limit) or 0.0
    used = limits.used(session, limit, now)
    return LimitApproaching(session=session, at=now, limit=limit, used=used, allowed=most)


def end_at_limit(session: Session, _: Input, now: float) -> Outcome:
    """A limit is reached."""
    limit = next((limit for limit in Limit if limits.is_reached(session, limit, now)), Limit.DURATION)
    used, most = limits.used(session, limit, now), limits.allowed(session, limit) or 0.0
    fault = Fault(
        code="LIMIT_REACHED",
        message=f"{limit}: {used:.10g} used of {most:.10g}",
        remediation=f"Start a new session, or raise {limit} when limit-approaching tells of it.",
        retryable=False,
        at=now,
    )
    session = replace(session, last_error=fault)
    told = error(session, ErrorType.TIMEOUT, fault, now)
    return leave(session, now, Farewell("limit-reached"), told)
