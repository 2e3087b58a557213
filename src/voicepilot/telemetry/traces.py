"""Spans of OpenTelemetry: one for each start, renewal, end, purge and mint.

A session may last for hours, so it is not one trace. Each start, renewal and end is a trace of its own, linked to the
session's start; a renewal after a failed one is linked to that too, and a mint to the failed attempt before it.
Without an SDK in the process the API's spans do nothing, and nothing is computed for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from voicepilot.errors import Fault, fault_of
from voicepilot.events import (
    ConnectionChanged,
    Event,
    LimitApproaching,
    RenewalCompleted,
    RenewalFailed,
    RenewalStarted,
    SessionEnded,
    SessionErrorEvent,
    SessionStarted,
    StateChanged,
)
from voicepilot.ports import KeyRequest
from voicepilot.telemetry.labels import shown_labels
from voicepilot.telemetry.mints import MintEnded
from voicepilot.telemetry.redact import Redactor

START = "voicepilot.session.start"
RENEWAL = "voicepilot.session.renewal"
END = "voicepilot.session.end"
PURGE = "voicepilot.session.purge"
MINT = "voicepilot.key.mint"

SPANS = {
    START: "from the slot being reserved to the session being active, or given up",
    RENEWAL: "one round: from renewal-started to renewal-completed or renewal-failed",
    END: "from the decision to end the session to its being over",
    PURGE: "the purge of the session's data, inside its end",
    MINT: "one request for a key, inside its start or renewal",
}
"""Every span, and what it spans."""

ATTRIBUTES = {
    "voicepilot.session.id": "whose it is",
    "voicepilot.label.<name>": "each label given at start",
    "voicepilot.trigger": "renewal: why the round began",
    "voicepilot.attempts": "renewal: how many attempts it took",
    "voicepilot.attempt": "mint: which attempt of its round",
    "voicepilot.reason": "end, purge, and what was cut short: why",
    "voicepilot.purge.cleared": "purge: how many data were cleared",
    "voicepilot.purge.failed": "purge: how many were left behind",
    "voicepilot.error.code": "what failed: the code of the error event",
    "voicepilot.connection.phase": "on the event connection-changed: what the managed connection does from now on",
    "voicepilot.connection.previous": "on the event connection-changed: what it did before",
    "voicepilot.limit": "on the event limit-approaching: which option of the session",
    "voicepilot.link": "on a link: session-start, previous-round or previous-attempt",
    "error.type": "the code of the cause, such as RATE_LIMITED",
    "http.response.status_code": "the provider's answer, where there was one",
}
"""Every attribute of a span or link."""


class _Traced:
    """A session's open spans, and what later ones are linked to."""

    __slots__ = ("attempt", "began", "labels", "open", "previous")

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self.open: dict[str, Span] = {}  # by name
        self.began: SpanContext | None = None  # of the start
        self.previous: SpanContext | None = None  # of the failed round before
        self.attempt: SpanContext | None = None  # of the failed mint before, in this round

    def links(self) -> list[Link]:
        """What the next start, renewal or end follows."""
        known = {"session-start": self.began, "previous-round": self.previous}
        return [_link(context, kind) for kind, context in known.items() if context]

    def note(self, event: Event, about: Mapping[str, str | int]) -> None:
        """Put the event on every span that is open."""
        for span in self.open.values():
            span.add_event(event.type, about, _nanoseconds(event.at))

    def finish(self, name: str, at: float) -> None:
        """End the span if it is open."""
        span = self.open.pop(name, None)
        if span:
            span.end(_nanoseconds(at))

    def finish_all(self, at: float) -> None:
        """End every span that is open."""
        for name in tuple(self.open):
            self.finish(name, at)


class Traces:
    """Makes spans of events and mints. `now` is the manager's clock, so that both stand on one line of time."""

    def __init__(self, tracer: Tracer, redactor: Redactor, now: Callable[[], float]) -> None:
        self._tracer = tracer
        self._redactor = redactor
        self._now = now
        self._sessions: dict[str, _Traced] = {}  # only those of which something is recorded

    def __call__(self, event: Event) -> None:
        """Begin or end the spans that this event is about."""
        match event:
            case StateChanged(new_state="starting"):
                self._begin(event, START)
            case RenewalStarted():
                self._begin(event, RENEWAL, {"voicepilot.trigger": event.trigger.value})
            case StateChanged(new_state="ending"):
                self._begin(event, END, {"voicepilot.reason": self._reason(event)})
        traced = self._sessions.get(event.session_id)
        if traced is not None:
            self._go_on(traced, event)

    def _go_on(self, traced: _Traced, event: Event) -> None:
        match event:
            case SessionStarted():
                traced.finish(START, event.at)
            case RenewalCompleted() | RenewalFailed():
                _end_round(traced, event)
            case StateChanged(new_state="ending"):
                self._cut_short(traced, event)
            case SessionErrorEvent():
                traced.note(event, _about(event.error))
            case ConnectionChanged():
                traced.note(event, _about_connection(event))
            case LimitApproaching():
                traced.note(event, {"voicepilot.limit": str(event.limit)})
            case SessionEnded():
                self._purged(traced, event)
                self._over(traced, event)
            case StateChanged(new_state="ended" | "failed") if event.session.started_at is None:
                self._over(traced, event)  # of a session that had started, session-ended is the last word

    def close(self) -> None:
        """End what is open: nobody will."""
        for traced in self._sessions.values():
            traced.finish_all(self._now())
        self._sessions.clear()

    def mint(self, request: KeyRequest) -> MintEnded:
        """Begin a mint's span; it is the current one until it ends, so that the HTTP request is traced inside."""
        traced = self._sessions.get(request.session_id)
        span = self._begin_mint(request, traced)
        token = attach(trace.set_span_in_context(span))

        def ended(error: BaseException | None) -> None:
            detach(token)
            if isinstance(error, Exception):
                _fail(span, fault_of(error))
                if traced:
                    traced.attempt = span.get_span_context()
            elif error is not None:
                span.set_attribute("voicepilot.reason", "cancelled")
            span.end(_nanoseconds(self._now()))

        return ended

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _begin(self, event: Event, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        traced = self._sessions.get(event.session_id)
        # A start belongs to the request that asked for it. The rest happens on timers, in whatever context they have.
        context = None if name == START else Context()
        links = traced.links() if traced else []
        span = self._tracer.start_span(name, context, links=links, start_time=_nanoseconds(event.at))
        if not span.is_recording():
            return
        if traced is None:
            labels = _named(shown_labels(event.session.wish.labels, self._redactor))
            traced = self._sessions[event.session_id] = _Traced(labels)
        span.set_attributes({"voicepilot.session.id": event.session_id, **traced.labels, **(attributes or {})})
        traced.open[name], traced.attempt = span, None
        if name == START:
            traced.began = span.get_span_context()

    def _begin_mint(self, request: KeyRequest, traced: _Traced | None) -> Span:
        around = (traced.open.get(RENEWAL) or traced.open.get(START)) if traced else None
        links = [_link(traced.attempt, "previous-attempt")] if traced and traced.attempt else []
        context = trace.set_span_in_context(around, Context()) if around else Context()
        begin = _nanoseconds(self._now())
        span = self._tracer.start_span(MINT, context, SpanKind.CLIENT, links=links, start_time=begin)
        if span.is_recording():
            labels = traced.labels if traced else _named(shown_labels(request.labels, self._redactor))
            span.set_attributes({"voicepilot.session.id": request.session_id, "voicepilot.attempt": request.attempt})
            span.set_attributes(labels)
        return span

    def _reason(self, event: Event) -> str:
        return self._redactor.text(event.session.farewell.reason) if event.session.farewell else ""

    def _cut_short(self, traced: _Traced, event: StateChanged) -> None:
        """The session is ending: a start comes to nothing, and a renewal unless its failure is why."""
        fault = event.session.farewell.fault if event.session.farewell else None
        for name, span in traced.open.items():
            if fault and name != RENEWAL:
                _fail(span, fault)
        for name in (START,) if fault else (START, RENEWAL):
            if name in traced.open:
                traced.open[name].set_attribute("voicepilot.reason", self._reason(event))
            traced.finish(name, event.at)

    def _purged(self, traced: _Traced, event: SessionEnded) -> None:
        end = traced.open.get(END)
        if end is None:
            return
        receipt, context = event.receipt, trace.set_span_in_context(end, Context())
        began = _nanoseconds(event.at - receipt.duration)
        span = self._tracer.start_span(PURGE, context, start_time=began, attributes=traced.labels)
        span.set_attribute("voicepilot.session.id", event.session_id)
        span.set_attribute("voicepilot.reason", self._redactor.text(receipt.reason))
        span.set_attribute("voicepilot.purge.cleared", receipt.cleared)
        span.set_attribute("voicepilot.purge.failed", receipt.failed)
        if not receipt.complete:
            span.set_attribute("error.type", "PURGE_INCOMPLETE")
            span.set_status(Status(StatusCode.ERROR, "PURGE_INCOMPLETE"))
        span.end(_nanoseconds(event.at))

    def _over(self, traced: _Traced, event: Event) -> None:
        traced.finish_all(event.at)
        del self._sessions[event.session_id]


def _end_round(traced: _Traced, event: RenewalCompleted | RenewalFailed) -> None:
    span, traced.previous = traced.open.get(RENEWAL), None
    if span is None:
        return
    span.set_attribute("voicepilot.attempts", event.result.attempts)
    if event.result.error:
        _fail(span, event.result.error)
        traced.previous = span.get_span_context()
    traced.finish(RENEWAL, event.at)


def _about(fault: Fault) -> dict[str, str | int]:
    """What a span says of a fault: codes, never the message."""
    told: dict[str, str | int] = {"voicepilot.error.code": fault.code, "error.type": fault.cause or fault.code}
    if fault.status is not None:
        told["http.response.status_code"] = fault.status
    return told


def _about_connection(event: ConnectionChanged) -> dict[str, str | int]:
    told: dict[str, str | int] = _about(event.fault) if event.fault else {}
    told["voicepilot.connection.previous"] = event.previous_phase.value
    told["voicepilot.connection.phase"] = event.new_phase.value
    return told


def _fail(span: Span, fault: Fault) -> None:
    span.set_attributes(_about(fault))
    span.set_status(Status(StatusCode.ERROR, fault.cause or fault.code))


def _link(context: SpanContext, kind: str) -> Link:
    return Link(context, {"voicepilot.link": kind})


def _named(labels: Mapping[str, str]) -> dict[str, str]:
    return {f"voicepilot.label.{name}": value for name, value in labels.items()}


def _nanoseconds(at: float) -> int:
    return int(at * 1e9)
