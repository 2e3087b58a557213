"""What to do when trying again did not help: steps in order until one works, then a fallback mode."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from voicepilot.errors import ConfigurationError
from voicepilot.recovery.news import Recovery

STEP_LIMIT = 10.0
"""Seconds that a step, a compensation or a fallback may take."""

Act = Callable[[str], Awaitable[object]]
"""Takes the id of the session that failed. A step's answer is whether it worked."""


class RecoveryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One remedy."""

    name: str
    run: Act
    compensate: Act | None = None  # undoes what a step that failed or raised did half
    limit: float = STEP_LIMIT  # seconds; a step that takes longer has failed


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """How to go on worse than before, when no step worked."""

    mode: str
    enter: Act


class RecoveryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is run, once, when an operation has failed for good. Raises `ConfigurationError` naming a wrong field."""

    steps: tuple[RecoveryStep, ...] = ()
    fallback: Fallback | None = None
    notify_user: bool = True
    """Whether an error that the plan did not repair asks for a user's attention."""

    suppression: float = 60.0
    """Seconds in which a session's user is not told again of the same code."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.suppression) and self.suppression >= 0):
            raise ConfigurationError(
                f"RecoveryPlan.suppression: must be 0 seconds or more, got {self.suppression!r}", field="suppression"
            )


async def run_plan(plan: RecoveryPlan, session_id: str, logger: logging.Logger) -> Recovery:
    """Run the steps for the session until one works; when none does, enter the fallback mode. Raises nothing."""
    tried: list[str] = []
    with recovering():
        for step in plan.steps:
            tried.append(step.name)
            if await run_step(step, session_id, logger):
                return Recovery(worked=True, step=step.name, tried=tuple(tried))
        entered = plan.fallback is not None and await _enter(plan.fallback, session_id, logger)
    mode = plan.fallback.mode if plan.fallback and entered else None
    return Recovery(fallback=mode, tried=tuple(tried))


async def run_step(step: RecoveryStep, session_id: str, logger: logging.Logger) -> bool:
    """Run one step and say whether it worked; if it did not, or raised, or took too long, compensate it."""
    try:
        worked = bool(await _limited(step.run, session_id, step.limit))
    except Exception:
        logger.warning("recovery step %s raised for session %s", step.name, session_id, exc_info=True)
        worked = False
    if worked or step.compensate is None:
        return worked
    try:
        await _limited(step.compensate, session_id, step.limit)
    except Exception:
        logger.warning("recovery step %s left something behind for session %s", step.name, session_id, exc_info=True)
    return False


async def _enter(fallback: Fallback, session_id: str, logger: logging.Logger) -> bool:
    try:
        await _limited(fallback.enter, session_id, STEP_LIMIT)
    except Exception:
        logger.warning("fallback mode %s failed for session %s", fallback.mode, session_id, exc_info=True)
        return False
    return True


async def _limited(act: Act, session_id: str, limit: float) -> object:
    try:
        async with asyncio.timeout(limit):
            return await act(session_id)
    except asyncio.CancelledError as stray:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("a CancelledError escaped that was not for us") from stray


# --- the guard ----------------------------------------------------------------------------------------------------


class _Mark:
    """That a plan is running. Tasks started meanwhile inherit it; when the plan is over it means nothing any more."""

    def __init__(self, outer: _Mark | None) -> None:
        self.outer = outer
        self.active = True


_mark: ContextVar[_Mark | None] = ContextVar("voicepilot_recovering", default=None)


def is_recovering() -> bool:
    """Whether the caller runs on behalf of a plan, so that another plan would be recovery re-entering itself."""
    mark = _mark.get()
    while mark is not None and not mark.active:
        mark = mark.outer
    return mark is not None


@contextmanager
def recovering() -> Iterator[None]:
    """Marks what runs inside as part of a recovery."""
    mark = _Mark(_mark.get() if is_recovering() else None)
    token = _mark.set(mark)
    try:
        yield
    finally:
        mark.active = False
        _mark.reset(token)
