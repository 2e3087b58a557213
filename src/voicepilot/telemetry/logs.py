"""Structured logs: each event as a record of stdlib logging, and structlog to show all of ours without secrets.

As a library voicepilot is quiet: its records go to the logger `voicepilot`, which has a NullHandler, and show only if
the application has configured logging. `configure_logging()` is for applications that want it done for them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from voicepilot.errors import ConfigurationError, Fault
from voicepilot.events import (
    ConnectionChanged,
    DegradedChanged,
    Event,
    LimitApproaching,
    RenewalCompleted,
    RenewalFailed,
    RenewalStarted,
    SessionEnded,
    SessionErrorEvent,
    StateChanged,
    UsageCounted,
)
from voicepilot.ports import ConnectionPhase
from voicepilot.telemetry.labels import shown_labels
from voicepilot.telemetry.redact import Redactor

ROOT = "voicepilot"
logging.getLogger(ROOT).addHandler(logging.NullHandler())

FIELDS = {
    "kind": "the event's type, such as renewal-failed; shown as the record's `event` by configure_logging",
    "session_id": "whose it is",
    "labels": "the labels given at start, where there are any",
    "phase": "the phase the session is in",
    "previous": "state-changed, connection-changed: the phase before",
    "reason": "state-changed, session-ended: why",
    "degraded": "degraded-changed: whether the session is degraded from now on",
    "connection": "connection-changed: the phase the managed connection is in",
    "connection_status": "connection-changed: how the connection is",
    "remedy": "connection-changed: what a person can do, where something went wrong",
    "limit": "limit-approaching: which option of the session",
    "used": "limit-approaching: how much of it is used",
    "allowed": "limit-approaching: how much there is",
    "tokens": "usage-counted: how many were used, input and output",
    "audio_seconds": "usage-counted: of audio, heard and spoken",
    "trigger": "renewal-started: why the round began",
    "attempts": "renewal-completed, renewal-failed: how many it took",
    "seconds": "renewal-completed, renewal-failed, session-ended: how long it took, or the session lasted",
    "code": "errors, renewal-failed and connection-changed: what failed",
    "cause": "likewise: the code of the fault behind it",
    "status": "likewise: the provider's HTTP status",
    "request_id": "likewise: the provider's name for the request",
    "retryable": "likewise: whether trying again can help",
    "cleared": "session-ended: how many data were purged",
    "left": "session-ended: how many data the purge left behind",
}
"""Every field of an event's record."""

SAID = ("phase", "connection", "cause")
"""Fields whose values are in the record's message, too."""


class EventLog:
    """Logs each event: who, what and why as fields, never content.

    Errors, limits that approach and connections that fall are warnings; phase changes, what was used and a connection
    that is being opened or prepared are debug.
    """

    def __init__(self, logger: logging.Logger, redactor: Redactor) -> None:
        self._logger = logger
        self._redactor = redactor

    def __call__(self, event: Event) -> None:
        """Log this event."""
        level = _level(event)
        if not self._logger.isEnabledFor(level):
            return
        fields = self._redactor(None, "", _fields(event))
        if event.session.wish.labels:
            fields["labels"] = shown_labels(event.session.wish.labels, self._redactor)
        said = [event.type, event.session_id, *(str(fields[name]) for name in SAID if fields.get(name))]
        self._logger.log(level, " ".join(said), extra={name: held for name, held in fields.items() if held is not None})


def _level(event: Event) -> int:
    if isinstance(event, ConnectionChanged):
        return _level_of_connection(event)
    degraded = isinstance(event, DegradedChanged) and event.degraded
    if degraded or isinstance(event, SessionErrorEvent | LimitApproaching):
        return logging.WARNING  # a round that failed is told by an error, too
    return logging.DEBUG if isinstance(event, StateChanged | UsageCounted) else logging.INFO


def _level_of_connection(event: ConnectionChanged) -> int:
    if event.fault is not None:
        return logging.WARNING
    carries_on = event.new_phase in {ConnectionPhase.LIVE, ConnectionPhase.CLOSED}  # opened, handed over, back, or over
    return logging.INFO if carries_on else logging.DEBUG


def _seconds(milliseconds: float) -> float:
    return round(milliseconds / 1000, 3)


def _fields(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": event.type, "session_id": event.session_id, "phase": event.session.phase.value}
    match event:
        case StateChanged():
            fields |= {"previous": event.previous_state.value, "reason": event.reason}
        case DegradedChanged():
            fields |= {"degraded": event.degraded}
        case ConnectionChanged():
            fields |= {"previous": event.previous_phase.value, "connection": event.new_phase.value}
            fields |= {"connection_status": event.status.value}
            fields |= {"remedy": event.fault.remediation} if event.fault else {}
        case LimitApproaching():
            fields |= {"limit": str(event.limit), "used": event.used, "allowed": event.allowed}
        case UsageCounted():
            fields |= {"tokens": event.added.total_tokens, "audio_seconds": event.added.audio_seconds}
        case RenewalStarted():
            fields |= {"trigger": event.trigger.value}
        case RenewalCompleted() | RenewalFailed():
            fields |= {"attempts": event.result.attempts, "seconds": _seconds(event.result.latency_ms)}
        case SessionEnded():
            fields |= {"reason": event.reason, "seconds": _seconds(event.statistics.total_duration_ms)}
            fields |= {"cleared": event.receipt.cleared, "left": event.receipt.failed}
    fault = _fault(event)
    if fault is not None:
        fields |= {name: getattr(fault, name) for name in ("code", "cause", "status", "request_id", "retryable")}
    return fields


def _fault(event: Event) -> Fault | None:
    match event:
        case SessionErrorEvent():
            return event.error
        case RenewalFailed():
            return event.result.error
        case ConnectionChanged():
            return event.fault
    return None


# --- for applications -------------------------------------------------------------------------------------------------


class LoggingHandle:
    """What configure_logging did; `dispose()` takes it back, and so does leaving a `with` block."""

    def __init__(self, handler: logging.Handler, before: tuple[int, bool]) -> None:
        self._handler = handler
        self._before = before

    def dispose(self) -> None:
        """Show nothing more. Idempotent."""
        logger = logging.getLogger(ROOT)
        if self._handler in logger.handlers:
            logger.removeHandler(self._handler)
            logger.setLevel(self._before[0])
            logger.propagate = self._before[1]

    def __enter__(self) -> LoggingHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()


_configured: LoggingHandle | None = None


def configure_logging(
    style: Literal["terminal", "json"] = "terminal",
    *,
    level: int | str = logging.INFO,
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> LoggingHandle:
    """Show voicepilot's records on `stream` (standard error), for people or as a JSON object a line.

    Secrets are hidden by their form and by the name of their field; `secrets` are values of yours to hide as well. It
    concerns the logger `voicepilot` only, which then no longer passes its records on. Calling it again replaces what
    it did before. Raises ConfigurationError for another style or level.
    """
    global _configured  # noqa: PLW0603 - logging is one for the process, and so is this
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(style, handler.stream, Redactor(secrets)))
    if _configured is not None:
        _configured.dispose()
    logger = logging.getLogger(ROOT)
    before = (logger.level, logger.propagate)
    try:
        logger.setLevel(level.upper() if isinstance(level, str) else level)
    except ValueError as error:
        raise ConfigurationError(
            f"level: there is no {level!r}",
            field="level",
            remediation="Use debug, info, warning or error.",
        ) from error
    logger.addHandler(handler)
    logger.propagate = False
    _configured = LoggingHandle(handler, before)
    return _configured


def _formatter(style: str, stream: TextIO, redactor: Redactor) -> logging.Formatter:
    if style not in {"terminal", "json"}:
        raise ConfigurationError(f"style: there is no {style!r}", field="style", remediation="Use terminal or json.")
    show: Processor = (
        structlog.processors.JSONRenderer(default=str)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    chain: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # text, so that it is redacted too
        _without_leavings,
        _named_by_kind,
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=chain,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redactor, show],
    )


def _without_leavings(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """Formatters of other handlers leave these on the record; they are no fields of it."""
    for name in ("message", "asctime"):
        event_dict.pop(name, None)
    return event_dict


def _named_by_kind(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """An event's record is named by its type; the text is for handlers that show nothing else."""
    if "kind" in event_dict:
        event_dict["event"] = event_dict.pop("kind")
    return event_dict
