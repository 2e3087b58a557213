"""The parent of every task: one TaskGroup from initialize to dispose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

STUBBORN = 1.0
"""Seconds a cancelled task is given before it is reported as refusing to stop."""


class Supervisor:
    """Runs tasks, and waits for all of them when it is stopped. Its children must not raise."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._children: WeakSet[asyncio.Task[None]] = WeakSet()  # the group keeps them alive, and does not list them
        self._gave_up = False  # something refuses to stop, and nobody waits for it again

    async def start(self, last: Callable[[], Awaitable[None]]) -> None:
        """Begin; `last` runs when stop() is called, before what is left is cancelled."""
        if self._task is None:  # or somebody was cancelled while he waited for the start
            # The one create_task outside a TaskGroup: it owns the group, and stop() waits for it.
            self._task = asyncio.create_task(self._live(last), name="voicepilot-supervisor")
        await self._started.wait()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a child."""
        if self._group is None:
            work.close()
            raise RuntimeError("the supervisor is not running")
        child = self._group.create_task(work, name=name)
        self._children.add(child)
        return child

    def request_stop(self) -> None:
        """Ask for the end without waiting for it."""
        self._stopping.set()

    @property
    def is_begun(self) -> bool:
        """Whether there is something to stop."""
        return self._task is not None

    async def stop(self) -> None:
        """Ask for the end and wait for it; a cancelled waiter does not stop the stopping."""
        self.request_stop()
        if self._task is None or self._gave_up:
            return
        while not self._task.done():
            await asyncio.wait({self._task}, timeout=STUBBORN)
            stubborn = [child.get_name() for child in self._children if child.cancelling() > 1]
            if stubborn and not self._task.done():
                self._gave_up = True
                self._logger.error("tasks refuse to be cancelled and are left behind: %s", ", ".join(stubborn))
                return

    async def _live(self, last: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as self._group:
            self._started.set()
            try:
                try:
                    await self._stopping.wait()
                finally:  # also when the loop is shut down without a dispose
                    await last()
            finally:
                for _ in range(2):
                    for child in tuple(self._children):
                        child.cancel()
                    if self._children:
                        await asyncio.wait(self._children, timeout=STUBBORN)
        self._group = None


class StrayError(Exception):
    """Code of others let something escape that is no Exception, such as a CancelledError of its own affairs."""


class others_code:  # noqa: N801 - reads as a context manager
    """`with others_code():` makes whatever escapes from it an Exception, unless it is that we were cancelled."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, stray: BaseException | None, __: object) -> None:
        if stray is None or isinstance(stray, (Exception, KeyboardInterrupt, SystemExit, GeneratorExit)):
            return
        task = asyncio.current_task()
        if isinstance(stray, asyncio.CancelledError) and task and task.cancelling() > 0:
            return
        raise StrayError(f"{type(stray).__name__} escaped") from stray


class Inside:
    """Marks code that runs inside a hook or handler of `owner`, also in tasks that it starts meanwhile."""

    def __init__(self, owner: Supervisor, outer: Inside | None) -> None:
        self.owner = owner
        self.outer = outer
        self.active = True


_inside: ContextVar[Inside | None] = ContextVar("voicepilot_inside", default=None)


def is_inside(owner: Supervisor) -> bool:
    """Whether the caller is a hook or handler of `owner` that has not returned, so that waiting would never end."""
    mark = _inside.get()
    while mark is not None and not (mark.active and mark.owner is owner):
        mark = mark.outer
    return mark is not None


class marked_inside:  # noqa: N801 - reads as a context manager
    """`with marked_inside(owner):` around a call to a hook or handler."""

    def __init__(self, owner: Supervisor) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        outer = _inside.get()
        while outer is not None and not outer.active:
            outer = outer.outer
        self._mark = Inside(self._owner, outer)
        self._token = _inside.set(self._mark)

    def __exit__(self, *_: object) -> None:
        self._mark.active = False
        _inside.reset(self._token)
