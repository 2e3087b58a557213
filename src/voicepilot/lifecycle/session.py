"""What we know about one session: frozen, serialisable, and never a key's value."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from voicepilot.errors import Fault
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.phases import LIVE, Phase
from voicepilot.lifecycle.usage import NOTHING_USED, Usage


class Deadline(StrEnum):
    """The moments a session waits for. Each is a field of `Session`, None when it is not armed."""

    START = "start_by"  # give up starting
    RENEW = "renew_at"  # begin the next renewal round
    RETRY = "retry_at"  # make the next attempt of the round under way
    EXPIRY = "expire_at"  # the current key lapses
    IDLE = "idle_at"  # inactivity
    HEARTBEAT = "beat_at"
    WARNING = "warn_at"  # tell that max_duration_seconds is nearly up
    LIMIT = "limit_at"  # a limit is reached


class ConnectionStatus(StrEnum):
    """What the transport last reported about the realtime connection."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILED = "failed"


class ConnectionPhase(StrEnum):
    """What a managed connection is doing. A transport of the application's own does not say."""

    NONE = "none"  # nobody has connected yet
    CONNECTING = "connecting"  # a connection is being opened: the first, or another after a fall
    RESTORING = "restoring"  # connected again, replaying the conversation
    LIVE = "live"
    MOVING = "moving"  # live, and the next connection is being prepared
    WAITING = "waiting"  # there is no connection; the next attempt is due later
    CLOSED = "closed"  # the conversation is over

    @property
    def is_open(self) -> bool:
        """Whether a connection carries the conversation."""
        return self is ConnectionPhase.LIVE or self is ConnectionPhase.MOVING


class Trigger(StrEnum):
    """Why a round began. For renewals the value is what `on_session_suspending` is told, if it is told."""

    START = "start"
    TIMER = "automatic-renewal"
    MANUAL = "manual-renewal"
    CONNECTION = "connection-renewal"
    REJECTED = "key-rejected"
    RECOVERY = "recovery"


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A key we hold, by the ticket it was fetched with; the vault alone has its value. Times on our clock."""

    ticket: int
    issued_at: float
    expires_at: float
    remote_session_id: str | None = None
    rejected: bool = False  # the provider refused it before it expired


class Round(msgspec.Struct, frozen=True, gc=False):
    """One start or renewal under way: its attempts, then the swap."""

    trigger: Trigger
    began_at: float
    attempt: int = 1
    ticket: int | None = None  # the mint in flight
    incoming: Lease | None = None  # the fetched key, until the swap
    swapped_at: float | None = None
    dials: bool = False  # a managed connection waits for the key, too

    @property
    def is_for_dial(self) -> bool:
        """Whether a managed connection waits for the key, alone or too: somebody is on the line."""
        return self.dials or self.trigger is Trigger.CONNECTION


class Setback(msgspec.Struct, frozen=True, gc=False):
    """The last attempt that gave no key, until one does."""

    at: float
    asked_until: float  # by Retry-After; `at` where the provider asked for nothing


class Frozen(msgspec.Struct, frozen=True, gc=False):
    """Time left on the deadlines that stand still while somebody holds them."""

    idle: float | None
    beat: float | None


class Statistics(msgspec.Struct, frozen=True, gc=False):
    """Counts over the session's life."""

    renewal_count: int = 0
    failed_renewal_count: int = 0
    heartbeat_count: int = 0
    inactivity_resets: int = 0
    total_duration_ms: float = 0.0  # set when the session is over
    average_renewal_latency_ms: float = 0.0  # from renewal-started to the swap, over successes


class Farewell(msgspec.Struct, frozen=True, gc=False):
    """Why a session is ending, and how it will be over."""

    reason: str
    fault: Fault | None = None  # set when it will be `failed`


class Wish(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What start_session was asked for, and every mint asks the provider for."""

    model: str | None = None
    session: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    labels: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])


NO_WARNINGS: frozenset[str] = frozenset()
"""Shared by every session of which no limit approaches."""


class Session(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The whole truth about one session. All times are seconds on the manager's clock."""

    session_id: str
    created_at: float
    last_activity: float
    config: SessionConfig
    wish: Wish = Wish()
    phase: Phase = Phase.IDLE
    started_at: float | None = None  # when it became active
    key: Lease | None = None
    round: Round | None = None
    tickets: int = 0  # handed out so far; the next mint gets the next number
    failures: int = 0  # failed attempts in a row
    failed_rounds: int = 0  # failed rounds in a row
    setback: Setback | None = None
    degraded: bool = False
    connection: ConnectionStatus = ConnectionStatus.UNKNOWN
    connection_phase: ConnectionPhase = ConnectionPhase.NONE
    usage: Usage = NOTHING_USED
    warned: frozenset[str] = NO_WARNINGS  # of which limits it was told that they approach
    last_error: Fault | None = None
    holds: frozenset[str] = frozenset()  # who keeps inactivity and heartbeat standing still
    frozen: Frozen | None = None
    farewell: Farewell | None = None
    statistics: Statistics = Statistics()
    start_by: float | None = None
    renew_at: float | None = None
    retry_at: float | None = None
    expire_at: float | None = None
    idle_at: float | None = None
    beat_at: float | None = None
    warn_at: float | None = None
    limit_at: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether the session is not over yet."""
        return self.phase in LIVE

    def has_good_key(self, now: float) -> bool:
        """Whether a connection could be opened with the current key."""
        return self.key is not None and not self.key.rejected and self.key.expires_at > now


def moments(session: Session) -> tuple[float | None, ...]:
    """When each deadline of the session is due, in the order of `Deadline`."""
    return (
        session.start_by,
        session.renew_at,
        session.retry_at,
        session.expire_at,
        session.idle_at,
        session.beat_at,
        session.warn_at,
        session.limit_at,
    )


def soonest(when: tuple[float | None, ...]) -> float | None:
    """The first of the moments, or None when there is none."""
    first: float | None = None
    for at in when:
        if at is not None and (first is None or at < first):
            first = at
    return first


DEADLINES = tuple(Deadline)
"""Whose moments `moments` gives."""


class SessionInfo(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A session as it was when asked: what callers, hooks and handlers get. Times are seconds since the epoch."""

    session_id: str
    state: Phase
    created_at: float
    started_at: float | None
    last_activity: float
    expires_at: float | None  # when the current key lapses
    remote_session_id: str | None
    model: str | None
    labels: Mapping[str, str]
    config: SessionConfig
    connection_status: ConnectionStatus
    connection_phase: ConnectionPhase = ConnectionPhase.NONE
    degraded: bool
    usage: Usage = NOTHING_USED
    statistics: Statistics
    last_error: Fault | None


class RenewalResult(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How a renewal went. A failed one is an answer, not an exception."""

    session_id: str
    success: bool
    latency_ms: float = 0.0  # from renewal-started to the swap, or to giving up
    attempts: int = 0
    expires_at: float | None = None  # of the key now held
    error: Fault | None = None


def info(session: Session) -> SessionInfo:
    """What others may see of `session`."""
    key = session.key
    return SessionInfo(
        session_id=session.session_id,
        state=session.phase,
        created_at=session.created_at,
        started_at=session.started_at,
        last_activity=session.last_activity,
        expires_at=key.expires_at if key else None,
        remote_session_id=key.remote_session_id if key else None,
        model=session.wish.model,
        labels=dict(session.wish.labels),
        config=session.config,
        connection_status=session.connection,
        connection_phase=session.connection_phase,
        degraded=session.degraded,
        usage=session.usage,
        statistics=session.statistics,
        last_error=session.last_error,
    )
