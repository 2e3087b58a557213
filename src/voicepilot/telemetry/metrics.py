"""Figures by OpenTelemetry: few instruments, and a bounded number of time series however many sessions there are."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

from voicepilot.errors import Fault, fault_of
from voicepilot.events import (
    ConnectionChanged,
    Event,
    LimitApproaching,
    RenewalCompleted,
    RenewalFailed,
    SessionEnded,
    SessionErrorEvent,
    StateChanged,
    UsageCounted,
)
from voicepilot.ports import ConnectionPhase, KeyRequest, Usage
from voicepilot.telemetry.labels import OTHER, Bounded, MetricLabels
from voicepilot.telemetry.mints import MintEnded

MOST_CODES = 60
"""Codes of failures that are told apart; key services may bring their own."""


class Metric(NamedTuple):
    """An instrument: what it counts, in which unit, and what it is told apart by (and by the allowed labels)."""

    name: str
    kind: str  # gauge (up and down), counter or histogram
    unit: str
    attributes: tuple[str, ...]
    description: str
    buckets: tuple[float, ...] = ()  # upper bounds, where it is a histogram


_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_OUTAGE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)

SESSIONS = Metric("voicepilot.sessions", "gauge", "{session}", ("phase",), "live sessions in each phase")
RENEWALS = Metric("voicepilot.renewals", "counter", "{round}", ("outcome",), "renewal rounds that are over")
RENEWAL_DURATION = Metric(
    "voicepilot.renewal.duration",
    "histogram",
    "s",
    ("outcome",),
    "a round, from its start to the swap or the failure",
    _LONG,
)
FAILURES = Metric("voicepilot.failures", "counter", "{failure}", ("type", "code"), "error events, by the cause's code")
KEY_GAP = Metric("voicepilot.key.gap", "counter", "s", (), "time that started sessions were without a valid key")
MINT_DURATION = Metric(
    "voicepilot.key.mint.duration", "histogram", "s", ("outcome", "code"), "one request for a key", _LONG
)
PURGE_DURATION = Metric(
    "voicepilot.purge.duration", "histogram", "s", ("outcome",), "the purge at the end of a session", _SHORT
)

DEGRADED = Metric("voicepilot.sessions.degraded", "gauge", "{session}", (), "live sessions that are degraded")
LIMITS = Metric("voicepilot.limits", "counter", "{session}", ("limit",), "limits of a session that came near")
TOKENS = Metric("voicepilot.tokens", "counter", "{token}", ("direction", "kind"), "tokens used, each counted once")
CACHED = Metric("voicepilot.tokens.cached", "counter", "{token}", (), "input tokens that the provider had seen before")
AUDIO = Metric("voicepilot.audio", "counter", "s", ("direction",), "audio heard and spoken")

CONNECTIONS = Metric("voicepilot.connections", "gauge", "{connection}", (), "managed connections that are open")
HANDOVERS = Metric(
    "voicepilot.connection.handovers", "counter", "{handover}", ("outcome",), "moves to the next connection in time"
)
RECONNECTS = Metric(
    "voicepilot.connection.reconnects",
    "counter",
    "{connection}",
    ("code",),
    "connections that fell and came back, by why they fell",
)
OUTAGE = Metric(
    "voicepilot.connection.outage",
    "histogram",
    "s",
    ("outcome",),
    "a managed connection's outage, from its fall until it is live again or given up",
    _OUTAGE,
)

METRICS = (
    SESSIONS,
    DEGRADED,
    RENEWALS,
    RENEWAL_DURATION,
    FAILURES,
    KEY_GAP,
    MINT_DURATION,
    PURGE_DURATION,
    LIMITS,
    TOKENS,
    CACHED,
    AUDIO,
    CONNECTIONS,
    HANDOVERS,
    RECONNECTS,
    OUTAGE,
)
"""Every metric."""

Attributes = dict[str, str]


class _Counted:
    """What is kept of a live session."""

    __slots__ = ("degraded", "gap", "is_connected", "labels", "phase")

    def __init__(self, labels: Attributes) -> None:
        self.labels = labels
        self.phase: str | None = None
        self.degraded = False
        self.is_connected = False
        self.gap: float | None = None  # counted up to here, while there is no valid key


class _Outage(NamedTuple):
    """A managed connection that fell and is not back."""

    began_at: float
    code: str  # why it fell


class Metrics:
    """Makes figures of events and mints."""

    def __init__(self, meter: Meter, labels: MetricLabels) -> None:
        self._labels = labels
        self._codes = Bounded(MOST_CODES)
        self._live: dict[str, _Counted] = {}
        self._outages: dict[str, _Outage] = {}  # by session, only while there is one
        self._sessions: UpDownCounter = meter.create_up_down_counter(*_terms(SESSIONS))
        self._degraded: UpDownCounter = meter.create_up_down_counter(*_terms(DEGRADED))
        self._limits: Counter = meter.create_counter(*_terms(LIMITS))
        self._tokens: Counter = meter.create_counter(*_terms(TOKENS))
        self._cached: Counter = meter.create_counter(*_terms(CACHED))
        self._audio: Counter = meter.create_counter(*_terms(AUDIO))
        self._connections: UpDownCounter = meter.create_up_down_counter(*_terms(CONNECTIONS))
        self._handovers: Counter = meter.create_counter(*_terms(HANDOVERS))
        self._reconnects: Counter = meter.create_counter(*_terms(RECONNECTS))
        self._outage = _histogram(meter, OUTAGE)
        self._renewals: Counter = meter.create_counter(*_terms(RENEWALS))
        self._failures: Counter = meter.create_counter(*_terms(FAILURES))
        self._key_gap: Counter = meter.create_counter(*_terms(KEY_GAP))
        self._renewal_duration = _histogram(meter, RENEWAL_DURATION)
        self._mint_duration = _histogram(meter, MINT_DURATION)
        self._purge_duration = _histogram(meter, PURGE_DURATION)

    def __call__(self, event: Event) -> None:
        """Count this event."""
        counted = self._live.get(event.session_id)
        if counted is None:
            counted = _Counted(self._labels.of(event.session.wish.labels))
            if event.session.is_live:
                self._live[event.session_id] = counted
        self._count_gap(counted, event)
        self._note_degraded(counted, degraded=event.session.degraded and event.session.is_live)
        self._note_connected(counted, is_connected=event.session.connection_phase.is_open)
        match event:
            case StateChanged():
                self._move(counted, event)
            case RenewalCompleted() | RenewalFailed():
                self._count_round(counted, event)
            case SessionErrorEvent():
                told = {"type": event.type, "code": self._code_of(event.error)}
                self._failures.add(1, told | counted.labels)
            case ConnectionChanged():
                self._count_connection(counted, event)
            case UsageCounted():
                self._count_usage(counted, event.added)
            case LimitApproaching():
                self._limits.add(1, {"limit": str(event.limit), **counted.labels})
            case SessionEnded():
                outcome = "complete" if event.receipt.complete else "incomplete"
                self._purge_duration.record(event.receipt.duration, {"outcome": outcome, **counted.labels})

    def mint(self, request: KeyRequest) -> MintEnded:
        """Time a mint."""
        now = asyncio.get_running_loop().time
        began = now()

        def ended(error: BaseException | None) -> None:
            told = {"outcome": "success"}
            if isinstance(error, Exception):
                told = {"outcome": "failure", "code": self._codes(fault_of(error).code)}
            elif error is not None:
                told = {"outcome": "cancelled"}
            self._mint_duration.record(now() - began, told | self._labels.of(request.labels))

        return ended

    def close(self) -> None:
        """Nobody counts these sessions any more."""
        for counted in self._live.values():
            self._leave_phase(counted)
            self._note_degraded(counted, degraded=False)
            self._note_connected(counted, is_connected=False)
        self._live.clear()
        self._outages.clear()

    def _move(self, counted: _Counted, event: StateChanged) -> None:
        self._leave_phase(counted)
        if event.session.is_live:
            counted.phase = event.new_state.value
            self._sessions.add(1, {"phase": counted.phase, **counted.labels})
        else:
            self._live.pop(event.session_id, None)

    def _leave_phase(self, counted: _Counted) -> None:
        if counted.phase is not None:
            self._sessions.add(-1, {"phase": counted.phase, **counted.labels})
            counted.phase = None

    def _note_degraded(self, counted: _Counted, *, degraded: bool) -> None:
        if degraded is not counted.degraded:
            counted.degraded = degraded
            self._degraded.add(1 if degraded else -1, counted.labels)

    def _note_connected(self, counted: _Counted, *, is_connected: bool) -> None:
        if is_connected is not counted.is_connected:
            counted.is_connected = is_connected
            self._connections.add(1 if is_connected else -1, counted.labels)

    def _count_connection(self, counted: _Counted, event: ConnectionChanged) -> None:
        before, after = event.previous_phase, event.new_phase
        if before is ConnectionPhase.MOVING and after is ConnectionPhase.LIVE:
            outcome = "failure" if event.fault else "success"
            self._handovers.add(1, {"outcome": outcome, **counted.labels})
        if after is ConnectionPhase.CLOSED or after.is_open:
            self._end_outage(counted, event)
        elif before.is_open:
            code = self._code_of(event.fault) if event.fault else OTHER
            self._outages[event.session_id] = _Outage(event.at, code)

    def _end_outage(self, counted: _Counted, event: ConnectionChanged) -> None:
        outage = self._outages.pop(event.session_id, None)
        if outage is None:
            return
        outcome = "success" if event.new_phase.is_open else "failure" if event.fault else "cancelled"
        self._outage.record(max(0.0, event.at - outage.began_at), {"outcome": outcome, **counted.labels})
        if outcome == "success":
            self._reconnects.add(1, {"code": outage.code, **counted.labels})

    def _code_of(self, fault: Fault) -> str:
        return self._codes(fault.cause or fault.code)

    def _count_usage(self, counted: _Counted, added: Usage) -> None:
        for (direction, kind), tokens in _by_kind(added).items():
            if tokens > 0:
                self._tokens.add(tokens, {"direction": direction, "kind": kind, **counted.labels})
        if added.input_cached_tokens:
            self._cached.add(added.input_cached_tokens, counted.labels)
        for direction, seconds in (("input", added.input_audio_seconds), ("output", added.output_audio_seconds)):
            if seconds:
                self._audio.add(seconds, {"direction": direction, **counted.labels})

    def _count_round(self, counted: _Counted, event: RenewalCompleted | RenewalFailed) -> None:
        told = {"outcome": "success" if event.result.success else "failure", **counted.labels}
        self._renewals.add(1, told)
        self._renewal_duration.record(event.result.latency_ms / 1000, told)

    def _count_gap(self, counted: _Counted, event: Event) -> None:
        """Count the time without a valid key up to now, so that a long gap shows while it lasts."""
        since, counted.gap = counted.gap, None
        lapsed = _lapsed(event)
        if lapsed is not None:
            since = lapsed if since is None else since
            counted.gap = until = event.at
        elif event.session.farewell is None and event.session.key is not None:
            until = min(event.at, event.session.key.issued_at)
        else:
            until = event.at
        if since is not None:
            self._key_gap.add(max(0.0, until - since), counted.labels)


def _by_kind(usage: Usage) -> dict[tuple[str, str], int]:
    """Each token once: those of which the provider did not say the kind are `other`."""
    heard = usage.input_text_tokens + usage.input_audio_tokens + usage.input_image_tokens
    said = usage.output_text_tokens + usage.output_audio_tokens
    return {
        ("input", "text"): usage.input_text_tokens,
        ("input", "audio"): usage.input_audio_tokens,
        ("input", "image"): usage.input_image_tokens,
        ("input", "other"): usage.input_tokens - heard,
        ("output", "text"): usage.output_text_tokens,
        ("output", "audio"): usage.output_audio_tokens,
        ("output", "other"): usage.output_tokens - said,
    }


def _lapsed(event: Event) -> float | None:
    """Since when the session has no valid key though it needs one, as far as this event shows."""
    session, key = event.session, event.session.key
    if session.started_at is None or session.farewell is not None or session.has_good_key(event.at):
        return None
    return event.at if key is None or key.rejected else min(event.at, key.expires_at)


def _terms(metric: Metric) -> tuple[str, str, str]:
    return metric.name, metric.unit, metric.description


def _histogram(meter: Meter, metric: Metric) -> Histogram:
    return meter.create_histogram(*_terms(metric), explicit_bucket_boundaries_advisory=metric.buckets)
