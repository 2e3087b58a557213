"""The remedies on offer, by name: a plan is put together from them, and a person can run one by hand."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from voicepilot.errors import ConfigurationError
from voicepilot.recovery.plan import (
    STEP_LIMIT,
    Act,
    Fallback,
    RecoveryPlan,
    RecoveryStep,
    recovering,
    run_step,
)

T = TypeVar("T")


class RecoveryRegistrar:
    """Steps in the order they were added, and one handler for each fallback mode.

    Adding a name again replaces what it stood for and keeps its place.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("voicepilot")
        self._steps: dict[str, RecoveryStep] = {}
        self._fallbacks: dict[str, Fallback] = {}

    def add_step(
        self,
        name: str,
        run: Callable[[str], Awaitable[bool]],
        *,
        compensate: Act | None = None,
        limit: float = STEP_LIMIT,
    ) -> None:
        """Offer a step: `run(session_id)` says whether it helped; `compensate` undoes one that did not."""
        self._steps[_named(name)] = RecoveryStep(name=name, run=run, compensate=compensate, limit=limit)

    def add_fallback(self, mode: str, run: Callable[[str], Awaitable[None]]) -> None:
        """Offer a fallback mode: `run(session_id)` enters it."""
        self._fallbacks[_named(mode)] = Fallback(mode=mode, enter=run)

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps, in order."""
        return tuple(self._steps)

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """The fallback modes."""
        return tuple(self._fallbacks)

    def plan(
        self, *steps: str, fallback: str | None = None, notify_user: bool = True, suppression: float = 60.0
    ) -> RecoveryPlan:
        """A plan of the named steps, in the order named, then the fallback mode. Suppression is in seconds.

        No step is in a plan unless it is named: some remedies, such as SESSION_FORCE_TERMINATION, end the session.
        Raises `ConfigurationError` for a name that nobody offers.
        """
        return RecoveryPlan(
            steps=tuple(_found(self._steps, name, "recovery step") for name in steps),
            fallback=None if fallback is None else _found(self._fallbacks, fallback, "fallback mode"),
            notify_user=notify_user,
            suppression=suppression,
        )

    async def execute(self, step: str, session_id: str) -> bool:
        """Run one step by hand and say whether it worked; if not, it was compensated, and the log says why.

        Raises `ConfigurationError` for a step that nobody offers.
        """
        found = _found(self._steps, step, "recovery step")
        with recovering():
            return await run_step(found, session_id, self._logger)

    def clear(self) -> None:
        """Offer nothing any more."""
        self._steps.clear()
        self._fallbacks.clear()


def _named(name: str) -> str:
    if not name:
        raise ConfigurationError("name: a recovery step or fallback mode needs one", field="name")
    return name


def _found(offered: Mapping[str, T], name: str, kind: str) -> T:
    if name not in offered:
        known = ", ".join(offered) or "nothing"
        raise ConfigurationError(f"{name}: no such {kind}; offered is {known}", field="step")
    return offered[name]
