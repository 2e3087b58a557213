"""When to renew, retry, beat and time out: arithmetic on `now`, nothing else."""

from __future__ import annotations

import hashlib

from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.session import Lease, Session

BACKOFF_CAP = 30.0
"""Seconds; no wait between attempts is longer, unless the provider asked for it."""

MINT_LIMIT = 10.0
"""Seconds one attempt may take."""

MINT_LIMIT_FLOOR = 2.0
"""Seconds every attempt is given, however close the expiry is."""


def share(session_id: str, number: int) -> float:
    """A number from 0 to 1 that looks random and is always the same for the same session and number.

    Not a checksum such as CRC-32: it is linear, so that all sessions' next numbers would be theirs of now, moved alike.
    """
    digest = hashlib.blake2b(f"{session_id}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def renewal_time(key: Lease, config: SessionConfig, session_id: str) -> float:
    """When to fetch the key after `key`.

    The spread only makes it earlier; half the key's life is the earliest, so that no margin makes a hot loop. A key
    that was refused is of no use.
    """
    if key.rejected:
        return key.issued_at
    spread = config.renewal_spread_seconds
    if spread:
        spread *= share(session_id, key.ticket)
    half = key.issued_at + (key.expires_at - key.issued_at) / 2
    return max(half, key.expires_at - config.renewal_margin_seconds - spread)


def next_attempt(session: Session, now: float, *, asked: float | None) -> float:
    """When to try again after `session.failures` failures in a row.

    Exponential from `retry_backoff_ms` with equal jitter. While the current key is still good, a wait is at most half
    of what is left of it (but not shorter than the first backoff), so that an outage that ends before the key does
    costs nothing. What the provider asked for (`asked`, seconds) is always obeyed.
    """
    base = session.config.retry_backoff_ms / 1000
    full: float = min(BACKOFF_CAP, base * 2.0 ** min(session.failures - 1, 20))
    wait = full * (0.5 + share(session.session_id, session.tickets) / 2)
    left = patience(session, now)
    if left is not None:
        wait = min(wait, max(base, left))
    return now + max(wait, asked or 0.0)


def patience(session: Session, now: float) -> float | None:
    """How long an attempt can be put off while the current key is good: half of what is left of it. Else None."""
    if session.key is None or not session.has_good_key(now):
        return None
    return (session.key.expires_at - now) / 2


def asked_left(session: Session, now: float) -> float:
    """Seconds for which the provider still asks not to be asked, since the last failure."""
    return 0.0 if session.setback is None else max(0.0, session.setback.asked_until - now)


def soonest_attempt(session: Session, now: float) -> float:
    """When an attempt that somebody waits for is due: the first backoff after the last failure, and as asked for."""
    if session.setback is None:
        return now
    return max(now, session.setback.at + session.config.retry_backoff_ms / 1000, session.setback.asked_until)


def mint_limit(session: Session, now: float) -> float:
    """How long one attempt may take: while a key is good, half of what is left, so that one hang cannot cost it."""
    left = patience(session, now)
    return MINT_LIMIT if left is None else min(MINT_LIMIT, max(MINT_LIMIT_FLOOR, left))


def idle_time(session: Session) -> float | None:
    """When inactivity ends the session, seen from its last activity."""
    if not session.config.enable_inactivity_timeout:
        return None
    return session.last_activity + session.config.inactivity_timeout_minutes * 60


def first_beat(config: SessionConfig, now: float) -> float | None:
    """When the heartbeat comes, counted from `now`."""
    return now + config.heartbeat_interval_seconds if config.enable_heartbeat else None


def next_beat(session: Session, now: float) -> float | None:
    """When the next heartbeat comes: on the same beat, missing those that were slept through."""
    if not session.config.enable_heartbeat or session.beat_at is None:
        return first_beat(session.config, now)
    interval = session.config.heartbeat_interval_seconds
    missed = max(0, int((now - session.beat_at) // interval))
    return session.beat_at + (missed + 1) * interval


def idle_left(left: float | None, old: SessionConfig, new: SessionConfig) -> float | None:
    """Seconds until inactivity after a change of config: silence so far counts, unless the time-out was off."""
    if not new.enable_inactivity_timeout:
        return None
    limit = new.inactivity_timeout_minutes * 60
    if left is None:
        return limit
    return max(0.0, left + limit - old.inactivity_timeout_minutes * 60)


def beat_left(left: float | None, old: SessionConfig, new: SessionConfig) -> float | None:
    """Seconds until the next heartbeat after a change of config: a new interval counts from the change."""
    if not new.enable_heartbeat:
        return None
    if left is None or new.heartbeat_interval_seconds != old.heartbeat_interval_seconds:
        return new.heartbeat_interval_seconds
    return left
