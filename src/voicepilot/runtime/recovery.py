"""Where the manager meets a recovery executor: each attempt passes it, and degraded mode is shown to the host."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from voicepilot.errors import AttemptRefusedError, FaultDomain, KeyServiceError
from voicepilot.lifecycle.effects import MintKey, RunPlan
from voicepilot.lifecycle.session import Session
from voicepilot.ports import Host, OperationContext, RecoveryExecutor, RoundRecovery

T = TypeVar("T")

DEGRADED_KEY = "voicepilot.session.degraded"
"""The host context key that is true while a session runs in degraded mode."""


class RecoveryLink:
    """The executor of one manager, if it has one, and who is in degraded mode."""

    def __init__(self, logger: logging.Logger) -> None:
        self.executor: RecoveryExecutor | None = None
        self.plan: object | None = None
        self.host: Host | None = None
        self.endpoint: str | None = None  # whom keys are asked from; each has a breaker of its own
        self._logger = logger
        self._degraded: set[str] = set()

    async def attempt(self, operation: Callable[[], Awaitable[T]], session: Session, order: MintKey) -> T:
        """Make one attempt, through the executor where there is one. The session's deadlines bring the next."""
        if self.executor is None:
            return await operation()
        return await self.executor.execute(operation, self._context(session, order))

    def _context(self, session: Session, order: MintKey | RunPlan) -> OperationContext:
        name = "start" if order.first else "renew"
        return OperationContext(
            operation=name,
            session_id=session.session_id,
            code="SESSION_CREDENTIAL_ACQUISITION_FAILED" if order.first else "SESSION_RENEWAL_FAILED",
            message=f"could not {name} the session's credentials",
            remediation="Check the provider's credentials and the network.",
            correlation_id=f"{session.session_id}/{order.ticket}",
            attempt=order.attempt,
            patience=order.patience if isinstance(order, MintKey) else None,
            attempts_scheduled_by_caller=True,
            endpoint=self.endpoint,
            plan=self.plan,
        )

    def has_plan(self) -> bool:
        """Whether somebody wants to hear that a round is over without a key."""
        return isinstance(self.executor, RoundRecovery)

    async def run_plan(self, session: Session, order: RunPlan, cause: Exception | None) -> bool:
        """Tell the executor that a round is over without a key; it runs the plan. Whether a step of it worked."""
        executor: object = self.executor  # what it can do is asked, not known by its type
        if isinstance(executor, RoundRecovery):
            fault = order.fault
            error = cause or KeyServiceError(fault.message, code=fault.cause, retryable=fault.retryable)
            return bool(getattr(await executor.gave_up(self._context(session, order), error), "worked", False))
        return False

    def whole(self, name: str, session_id: str, operation: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        """`operation`, run by the executor where there is one; it decides alone whether to try again."""
        if self.executor is None:
            return operation
        context = OperationContext(
            operation=name,
            session_id=session_id,
            code=f"SESSION_{name.upper()}_FAILED",
            message=f"could not {name} the session completely",
            remediation="The session is over all the same; see the log for what was left behind.",
            correlation_id=f"{session_id}/{name}",
            severity="warning",
            endpoint=self.endpoint,
            plan=self.plan,
        )
        return partial(self.executor.execute, operation, context)

    async def connect(self, operation: Callable[[], Awaitable[T]], session_id: str, endpoint: str) -> T:
        """Make one attempt at a connection, through the executor where there is one; whoever connects makes the next.

        The place where connections are opened has a breaker of its own.
        """
        if self.executor is None:
            return await operation()
        context = OperationContext(
            operation="connect",
            session_id=session_id,
            code="SESSION_CONNECTION_FAILED",
            message="could not open the session's connection",
            remediation="Check the network between this host and the provider; the next attempt comes by itself.",
            correlation_id=f"{session_id}/connect",
            fault_domain=FaultDomain.TRANSPORT,
            patience=0.0,  # somebody is on the line
            attempts_scheduled_by_caller=True,
            endpoint=endpoint,
        )
        return await self.executor.execute(operation, context)

    def verdict(self, error: Exception, session: Session, order: MintKey) -> tuple[float | None, bool]:
        """When the next attempt is due in seconds, if the executor said so, and whether this one counts."""
        if isinstance(error, AttemptRefusedError):
            return error.retry_in, False
        executor: object = self.executor
        if isinstance(executor, RoundRecovery):
            return executor.next_due(self._context(session, order), error), True
        return None, True

    def enter_degraded(self, session_id: str) -> None:
        """Show the host that a session runs in degraded mode."""
        self._degraded.add(session_id)
        self._show(degraded=True)

    def note_degraded(self, session: Session) -> None:
        """Clear degraded mode when the last session that was in it is healthy again, or over."""
        if not session.degraded:
            self.leave_degraded(session.session_id)

    def leave_degraded(self, session_id: str) -> None:
        """The session is well or gone."""
        if session_id in self._degraded:
            self._degraded.discard(session_id)
            if not self._degraded:
                self._show(degraded=False)

    def _show(self, *, degraded: bool) -> None:
        if self.host is None:
            return
        try:
            self.host.set_context(DEGRADED_KEY, degraded)
        except Exception:
            self._logger.exception("the host refused %s", DEGRADED_KEY)
