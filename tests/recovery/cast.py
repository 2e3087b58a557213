"""What the tests of recovery share: an operation that does as it is told, and somebody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from voicepilot.errors import AuthenticationError, FaultDomain, ProviderUnavailableError
from voicepilot.ports import OperationContext
from voicepilot.recovery import (
    AttemptFailed,
    AttemptRefused,
    CircuitMoved,
    ErrorReported,
    Jitter,
    OperationOver,
    RecoveryExecutor,
    RetryPolicy,
    RetryScheduled,
)
from voicepilot.recovery.news import News

N = TypeVar("N")

DOWN = ProviderUnavailableError("down", status=503)
DENIED = AuthenticationError("denied", status=401)
QUICK = RetryPolicy(initial=1, growth=2, cap=8, attempts=4, budget=60, jitter=Jitter.NONE)  # waits 1, 2, 4


def a_context(operation: str = "test", session_id: str | None = "s1", **given: Any) -> OperationContext:
    settled: dict[str, Any] = {
        "code": "OPERATION_FAILED",
        "message": f"could not {operation}",
        "remediation": "Look into it.",
        "correlation_id": f"{session_id}/{operation}",
        "fault_domain": FaultDomain.SESSION,
        **given,
    }
    return OperationContext(operation=operation, session_id=session_id, **settled)


class Operation:
    """Fails as scripted, then works; remembers when it was called."""

    def __init__(self, *script: Exception | float | Callable[[], None]) -> None:
        self.script = list(script)
        self.calls: list[float] = []

    async def __call__(self) -> str:
        self.calls.append(asyncio.get_running_loop().time())
        told = self.script.pop(0) if self.script else None
        if isinstance(told, Exception):
            raise told
        if isinstance(told, float):
            await asyncio.sleep(told)
        elif callable(told):
            told()
        return "done"

    @property
    def waits(self) -> list[float]:
        """The seconds between the calls."""
        return [round(b - a, 3) for a, b in zip(self.calls, self.calls[1:], strict=False)]


class Listener:
    """Hears everything an executor tells, in order."""

    def __init__(self, executor: RecoveryExecutor) -> None:
        self.news: list[News] = []
        executor.subscribe(AttemptFailed, self.news.append)
        executor.subscribe(AttemptRefused, self.news.append)
        executor.subscribe(RetryScheduled, self.news.append)
        executor.subscribe(OperationOver, self.news.append)
        executor.subscribe(ErrorReported, self.news.append)
        executor.subscribe(CircuitMoved, self.news.append)

    def of(self, kind: type[N]) -> list[N]:
        return [news for news in self.news if isinstance(news, kind)]

    def results(self) -> list[str]:
        return [over.result.value for over in self.of(OperationOver)]
