"""Where the manager meets a recovery executor: each attempt passes it, and degraded mode is shown to the host."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from voicepilot.errors import AttemptRefusedError
from voicepilot.lifecycle.effects import MintKey
from voicepilot.lifecycle.session import Session
from voicepilot.ports import Host, OperationContext, RecoveryExecutor

T = TypeVar("T")

DEGRADED_KEY = "voicepilot.session.degraded"
"""The host context key that is true while a session runs in degraded mode."""


class RecoveryLink:
    """The executor of one manager, if it has one, and who is in degraded mode."""

    def __init__(self, logger: logging.Logger) -> None:
        self.executor: RecoveryExecutor | None = None
        self.plan: object | None = None
        self.host: Host | None = None
        self._logger = logger
        self._degraded: set[str] = set()

    async def attempt(self, operation: Callable[[], Awaitable[T]], session: Session, order: MintKey) -> T:
        """Make one attempt, through the executor where there is one. The session's deadlines bring the next."""
        if self.executor is None:
            return await operation()
        name = "start" if order.first else "renew"
        context = OperationContext(
            operation=name,
            session_id=session.session_id,
            code="SESSION_CREDENTIAL_ACQUISITION_FAILED" if order.first else "SESSION_RENEWAL_FAILED",
            message=f"could not {name} the session's credentials",
            remediation="Check the provider's credentials and the network.",
            correlation_id=f"{session.session_id}/{order.ticket}",
            attempt=order.attempt,
            attempts_scheduled_by_caller=True,
            plan=self.plan,
        )
        return await self.executor.execute(operation, context)

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
            plan=self.plan,
        )
        return partial(self.executor.execute, operation, context)

    @staticmethod
    def verdict(error: BaseException) -> tuple[float | None, bool]:
        """When the next attempt is due in seconds, if the executor said so, and whether this one counts."""
        if isinstance(error, AttemptRefusedError):
            return error.retry_in, False
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
