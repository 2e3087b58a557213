"""Tells subscribers: sync handlers inline, async handlers through one bounded queue per subscription and session."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

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
    SessionStarted,
    StateChanged,
    UsageCounted,
)
from voicepilot.runtime.supervisor import Supervisor, marked_inside, others_code
from voicepilot.subscription import Subscription, is_async

Handler = Callable[[Any], Awaitable[None] | None]

FAMILIES: dict[type[Event], str] = {
    SessionStarted: "started",
    SessionEnded: "ended",
    RenewalStarted: "renewed",
    RenewalCompleted: "renewed",
    RenewalFailed: "renewed",
    SessionErrorEvent: "error",
    StateChanged: "state",
    DegradedChanged: "degraded",
    ConnectionChanged: "connection",
    UsageCounted: "usage",
    LimitApproaching: "limit",
}
"""Which `on_…` subscription delivers an event."""

QUEUE_LIMIT = 1_000
"""Events that may wait for one async handler and session; beyond that the oldest is dropped, and it is said so."""

CALL_LIMIT = 5.0
"""Seconds one call of an async handler may take."""


Queue = deque[tuple[Event, Awaitable[None] | None]]
"""Events that wait for an async handler; with what it gave back, where it was called already."""


class _Subscriber:
    """One handler, and the events that wait for it where it is async."""

    __slots__ = ("handler", "is_async", "queues", "wanted")

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.is_async = is_async(handler)
        self.wanted = True
        self.queues: dict[str, Queue] = {}


class Observers:
    """The subscribers of one manager."""

    def __init__(self, supervisor: Supervisor, logger: logging.Logger) -> None:
        self._supervisor = supervisor
        self._logger = logger
        self._subscribers: dict[str, list[_Subscriber]] = {}
        self._delivering: set[asyncio.Task[None]] = set()

    def subscribe(self, family: str, handler: Handler) -> Subscription:
        """Deliver the events of `family` to `handler` until the handle is disposed."""
        subscriber = _Subscriber(handler)
        self._subscribers.setdefault(family, []).append(subscriber)
        return Subscription(lambda: self._unsubscribe(family, subscriber))

    def _unsubscribe(self, family: str, subscriber: _Subscriber) -> None:
        subscriber.wanted = False
        subscriber.queues.clear()
        if subscriber in (listed := self._subscribers.get(family, [])):
            listed.remove(subscriber)

    def publish(self, family: str, event: Event) -> None:
        """Deliver `event` to whoever subscribed before it was published."""
        for subscriber in tuple(self._subscribers.get(family, ())):
            if not subscriber.wanted:
                continue
            if subscriber.is_async:
                self._enqueue(subscriber, event)
            else:
                self._call_inline(subscriber, event)

    def _call_inline(self, subscriber: _Subscriber, event: Event) -> None:
        try:
            with marked_inside(self._supervisor):
                answer = subscriber.handler(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # also a CancelledError: nothing is awaited here, so it is the handler's own affair
            self._logger.exception("a handler of %s raised; session %s goes on", event.type, event.session_id)
            return
        if inspect.isawaitable(answer):  # a plain function that returned a coroutine turns out to be async
            subscriber.is_async = True
            self._enqueue(subscriber, event, answer)

    def _enqueue(self, subscriber: _Subscriber, event: Event, answer: Awaitable[None] | None = None) -> None:
        queue = subscriber.queues.get(event.session_id)
        if queue is not None:
            if len(queue) >= QUEUE_LIMIT:
                lost, _ = queue.popleft()
                self._logger.warning("a handler is too slow: dropped %s of session %s", lost.type, lost.session_id)
            queue.append((event, answer))
            return
        subscriber.queues[event.session_id] = queue = deque(((event, answer),))
        task = self._supervisor.spawn(self._deliver(subscriber, queue, event.session_id), "voicepilot-handler")
        self._delivering.add(task)
        task.add_done_callback(self._delivering.discard)

    async def _deliver(self, subscriber: _Subscriber, queue: Queue, session_id: str) -> None:
        try:
            while queue and (subscriber.wanted or queue[0][1]):  # what was called already is awaited to its end
                await self._call(subscriber.handler, *queue.popleft())
                await asyncio.sleep(0)  # a handler that never pauses and causes its own events must not keep the loop
        finally:
            if subscriber.queues.get(session_id) is queue:
                del subscriber.queues[session_id]

    async def _call(self, handler: Handler, event: Event, answer: Awaitable[None] | None) -> None:
        limit = asyncio.timeout(CALL_LIMIT)
        try:
            with marked_inside(self._supervisor), others_code():
                async with limit:
                    answer = answer or handler(event)
                    if answer is not None:
                        await answer
        except Exception:
            if limit.expired():
                self._logger.warning("a handler of %s took over %g s and was cancelled", event.type, CALL_LIMIT)
                return
            self._logger.exception("a handler of %s raised; session %s goes on", event.type, event.session_id)

    async def drain(self, limit: float) -> None:
        """Wait until the async handlers have had what was published, at most `limit` seconds."""
        if self._delivering:
            await asyncio.wait(self._delivering, timeout=limit)

    def clear(self) -> None:
        """Forget every subscriber."""
        for family in tuple(self._subscribers):
            for subscriber in tuple(self._subscribers[family]):
                self._unsubscribe(family, subscriber)
        self._subscribers.clear()
