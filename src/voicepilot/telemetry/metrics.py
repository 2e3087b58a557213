"""Figures by OpenTelemetry: few instruments, and a bounded number of time series however many sessions there are."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter

from voicepilot.errors import fault_of
from voicepilot.events import (
    Event,
    RenewalCompleted,
    RenewalFailed,
    SessionEnded,
    SessionErrorEvent,
    StateChanged,
)
from voicepilot.ports import KeyRequest
from voicepilot.telemetry.labels import Bounded, MetricLabels
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

METRICS = (SESSIONS, RENEWALS, RENEWAL_DURATION, FAILURES, KEY_GAP, MINT_DURATION, PURGE_DURATION)
"""Every metric."""

Attributes = dict[str, str]


class _Counted:
    """What is kept of a live session."""

    __slots__ = ("gap", "labels", "phase")

    def __init__(self, labels: Attributes) -> None:
        self.labels = labels
        self.phase: str | None = None
        self.gap: float | None = None  # counted up to here, while there is no valid key


class Metrics:
    """Makes figures of events and mints."""

    def __init__(self, meter: Meter, labels: MetricLabels) -> None:
        self._labels = labels
        self._codes = Bounded(MOST_CODES)
        self._live: dict[str, _Counted] = {}
        self._sessions: UpDownCounter = meter.create_up_down_counter(*_terms(SESSIONS))
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
        match event:
            case StateChanged():
                self._move(counted, event)
            case RenewalCompleted() | RenewalFailed():
                self._count_round(counted, event)
            case SessionErrorEvent():
                code = self._codes(event.error.cause or event.error.code)
                self._failures.add(1, {"type": event.type, "code": code, **counted.labels})
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
        self._live.clear()

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
