"""The limits of a session: what is allowed, how much of it is used, and when it is used up."""

from __future__ import annotations

from enum import StrEnum

from voicepilot.lifecycle.session import Session


class Limit(StrEnum):
    """What a session may be given only so much of. The value is the option's name."""

    DURATION = "max_duration_seconds"
    TOKENS = "max_total_tokens"
    AUDIO = "max_audio_seconds"


def allowed(session: Session, limit: Limit) -> float | None:
    """How much the session may have, or None when there is no limit."""
    most: float | None = getattr(session.config, limit.value)
    return most


def used(session: Session, limit: Limit, now: float) -> float:
    """How much of it the session has had."""
    if limit is Limit.TOKENS:
        return session.usage.total_tokens
    if limit is Limit.AUDIO:
        return session.usage.audio_seconds
    return 0.0 if session.started_at is None else now - session.started_at


def is_near(session: Session, limit: Limit, now: float) -> bool:
    """Whether it is time to warn: so much of what is allowed is used."""
    most = allowed(session, limit)
    if most is None or session.started_at is None:
        return False
    share = most * session.config.limit_warning_fraction
    if limit is Limit.DURATION:
        return now >= session.started_at + share  # as the deadline is reckoned, to the last bit
    return used(session, limit, now) >= share


def is_reached(session: Session, limit: Limit, now: float) -> bool:
    """Whether all that is allowed is used."""
    most = allowed(session, limit)
    if most is None or session.started_at is None:
        return False
    if limit is Limit.DURATION:
        return now >= session.started_at + most
    return used(session, limit, now) >= most


def end_time(session: Session, now: float) -> float | None:
    """When the session must end: at once where tokens or audio are used up, else when its time is."""
    if is_reached(session, Limit.TOKENS, now) or is_reached(session, Limit.AUDIO, now):
        return now
    most = session.config.max_duration_seconds
    return None if most is None or session.started_at is None else session.started_at + most


def warning_time(session: Session, now: float) -> float | None:
    """When to warn that its time is nearly up; None when that is past, or there is no such limit."""
    most = session.config.max_duration_seconds
    if most is None or session.started_at is None or is_near(session, Limit.DURATION, now):
        return None
    return session.started_at + most * session.config.limit_warning_fraction
