"""What a recovery executor tells, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from voicepilot.errors import Fault
from voicepilot.ports import OperationContext
from voicepilot.recovery.breaker_state import Circuit
from voicepilot.subscription import Subscription, is_async


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan achieved."""

    worked: bool = False
    step: str | None = None  # the step that worked
    fallback: str | None = None  # the mode that was entered because none did
    tried: tuple[str, ...] = ()  # the steps that were run, in order


class Result(StrEnum):
    """How an operation ended."""

    SUCCEEDED = "succeeded"
    RECOVERED = "recovered"  # it failed, and then its plan worked
    FAILED = "failed"
    REFUSED = "refused"  # nothing was attempted: the breaker was open
    CANCELLED = "cancelled"  # nobody wanted it any more


class AttemptFailed(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt failed; another may follow. For telemetry: it is not yet an error that concerns a user."""

    context: OperationContext
    attempt: int
    elapsed: float  # seconds since the operation began; of this attempt, where the caller schedules them
    budget: float | None  # seconds the operation may take; None where the caller schedules the attempts
    fault: Fault


class AttemptRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The breaker did not let an attempt through. It costs none."""

    context: OperationContext
    endpoint: str
    retry_in: float  # seconds
    cause: str | None  # the code of the fault that opened the circuit


class RetryScheduled(msgspec.Struct, frozen=True, kw_only=True):
    """Attempt number `attempt` will be made after `delay` seconds."""

    context: OperationContext
    attempt: int
    delay: float
    fault: Fault


class OperationOver(msgspec.Struct, frozen=True, kw_only=True):
    """An operation has ended. Told exactly once for each."""

    context: OperationContext
    result: Result
    attempts: int
    elapsed: float  # seconds
    fault: Fault | None = None
    recovery: Recovery | None = None


class ErrorReported(msgspec.Struct, frozen=True, kw_only=True):
    """An error that was not repaired, so that a user must know. `fault.remediation` says what he can do."""

    context: OperationContext
    fault: Fault
    recovery: Recovery
    notify: bool  # False: the plan wants no notice, or this session's user was told of this code a moment ago


class CircuitMoved(msgspec.Struct, frozen=True, kw_only=True):
    """The breaker of an endpoint opened, began to probe, or closed."""

    endpoint: str
    was: Circuit
    now: Circuit
    cause: str | None  # the code of the fault behind it
    open_for: float = 0.0  # seconds


News = AttemptFailed | AttemptRefused | RetryScheduled | OperationOver | ErrorReported | CircuitMoved
N = TypeVar("N", AttemptFailed, AttemptRefused, RetryScheduled, OperationOver, ErrorReported, CircuitMoved)


class Newsroom:
    """Who wants to hear what. A handler that raises is logged and disturbs nobody."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        # Filed under the type it takes, which the type system cannot follow through a dict.
        self._handlers: dict[object, tuple[type[News], Callable[[Any], object]]] = {}

    def subscribe(self, kind: type[N], handler: Callable[[N], object]) -> Subscription:
        """Call `handler` with all news of that kind. Raises TypeError for an async one: nothing here awaits it."""
        if is_async(handler):
            raise TypeError("a recovery observer is a plain function; start async work from it yourself")
        ticket = object()
        self._handlers[ticket] = (kind, handler)
        return Subscription(lambda: self._handlers.pop(ticket, None))

    def publish(self, news: News) -> None:
        """Tell those who are subscribed; one that unsubscribes meanwhile hears nothing more."""
        for ticket, (kind, handler) in list(self._handlers.items()):
            if isinstance(news, kind) and ticket in self._handlers:
                try:
                    handler(news)
                except Exception:
                    self._logger.exception("a recovery observer of %s raised", kind.__name__)

    def clear(self) -> None:
        """Forget all subscribers."""
        self._handlers.clear()
