"""The parent of every task: one TaskGroup from initialize to dispose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

STUBBORN = 1.0
"""Seconds a cancelled task is given before it is reported as refusing to stop."""


class Supervisor:
    """Runs tasks, and waits for all of them when it is stopped. Its children must not raise."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._children: set[asyncio.Task[None]] = set()

    async def start(self, last: Callable[[], Awaitable[None]]) -> None:
        """Begin; `last` runs when stop() is called, before what is left is cancelled."""
        started = asyncio.Event()
        # The one create_task outside a TaskGroup: it owns the group, and stop() waits for it.
        self._task = asyncio.create_task(self._live(started, last), name="voicepilot-supervisor")
        await started.wait()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a child."""
        if self._group is None:
            work.close()
            raise RuntimeError("the supervisor is not running")
        child = self._group.create_task(work, name=name)
        self._children.add(child)
        child.add_done_callback(self._children.discard)
        return child

    def request_stop(self) -> None:
        """Ask for the end without waiting for it."""
        self._stopping.set()

    async def stop(self) -> None:
        """Ask for the end and wait for it; a cancelled waiter does not stop the stopping."""
        self.request_stop()
        if self._task is None:
            return
        while not self._task.done():
            await asyncio.wait({self._task}, timeout=STUBBORN)
            stubborn = [child.get_name() for child in self._children if child.cancelling() > 1]
            if stubborn and not self._task.done():
                self._logger.error("tasks refuse to be cancelled and are left behind: %s", ", ".join(stubborn))
                return

    async def _live(self, started: asyncio.Event, last: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as self._group:
            started.set()
            try:
                await self._stopping.wait()
                await last()
            finally:
                for _ in range(2):
                    for child in tuple(self._children):
                        child.cancel()
                    if self._children:
                        await asyncio.wait(self._children, timeout=STUBBORN)
        self._group = None


class Inside:
    """Marks code that runs inside a hook or handler of ours, also in tasks that it starts meanwhile."""

    def __init__(self) -> None:
        self.active = True


_inside: ContextVar[Inside | None] = ContextVar("voicepilot_inside", default=None)


def is_inside() -> bool:
    """Whether the caller is a hook or handler that has not returned yet, so that waiting for it would never end."""
    mark = _inside.get()
    return mark is not None and mark.active


class marked_inside:  # noqa: N801 - reads as a context manager
    """`with marked_inside():` around a call to a hook or handler."""

    def __enter__(self) -> None:
        self._mark = Inside()
        self._token = _inside.set(self._mark)

    def __exit__(self, *_: object) -> None:
        self._mark.active = False
        _inside.reset(self._token)
