"""Connects a manager to logs, traces and metrics: one call, one handle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from opentelemetry import metrics, trace

from voicepilot.events import Event
from voicepilot.ports import Disposable
from voicepilot.telemetry.labels import MetricLabels
from voicepilot.telemetry.logs import EventLog
from voicepilot.telemetry.metrics import Metrics
from voicepilot.telemetry.mints import WatchedKeyService
from voicepilot.telemetry.redact import Redactor
from voicepilot.telemetry.traces import Traces

SCOPE = "voicepilot"
"""The name of the tracer and the meter."""


Subscribe = Callable[[Callable[[Any], None]], Disposable]  # Any: each takes its own kind of event


class Observable(Protocol):
    """What tells of sessions: a SessionManager."""

    def on_session_started(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102
    def on_session_ended(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102
    def on_session_renewed(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102
    def on_session_error(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102
    def on_session_state_changed(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102
    def on_session_degraded(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102
    def on_connection_changed(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102
    def on_session_usage(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102
    def on_limit_approaching(self, handler: Callable[[Any], None]) -> Disposable: ...  # noqa: D102


class Telemetry:
    """The handle on a manager's instrumentation: `dispose()` ends it, and so does leaving a `with` block."""

    def __init__(
        self,
        manager: Observable,
        key_service: WatchedKeyService | None,
        log: EventLog,
        traces: Traces,
        metrics: Metrics,
    ) -> None:
        subscribe: tuple[Subscribe, ...] = (
            manager.on_session_started,
            manager.on_session_ended,
            manager.on_session_renewed,
            manager.on_session_error,
            manager.on_session_state_changed,
            manager.on_session_degraded,
            manager.on_connection_changed,
            manager.on_session_usage,
            manager.on_limit_approaching,
        )
        # Each by itself, so that one that raises does not keep the event from the others.
        sinks: tuple[Callable[[Event], None], ...] = (log, traces, metrics)
        self._cancels = [on(sink).dispose for sink in sinks for on in subscribe]
        if key_service is not None:
            self._cancels += [key_service.watch(traces.mint), key_service.watch(metrics.mint)]
        self._cancels += [traces.close, metrics.close]
        self._traces, self._metrics = traces, metrics

    def dispose(self) -> None:
        """Stop observing. Spans that are open end; live sessions are no longer counted. Idempotent."""
        cancels, self._cancels = self._cancels, []
        for cancel in cancels:
            cancel()

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()


def instrument(
    manager: Observable,
    key_service: WatchedKeyService | None = None,
    *,
    labels: Iterable[str] = (),
    label_values: int = 20,
    secrets: Iterable[str] = (),
    logger: logging.Logger | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    now: Callable[[], float] = time.time,
) -> Telemetry:
    """Log, trace and measure what `manager` does, until the handle is disposed.

    Call it before the first session starts. `key_service` is the one that was given to the manager, watched, and shows
    the mints. Labels given at start are on every record and span; on metrics only those named in `labels`, each with
    its first `label_values` values, the rest as `other`. `secrets` are values of yours to hide. Without providers the
    process's own are used, and without an OpenTelemetry SDK nothing is recorded. `now` is the manager's clock, where
    it has one of its own.
    """
    redactor = Redactor(secrets)
    tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
    meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
    return Telemetry(
        manager,
        key_service,
        EventLog(logger or logging.getLogger("voicepilot.events"), redactor),
        Traces(tracer, redactor, now),
        Metrics(meter, MetricLabels(labels, label_values, redactor)),
    )
