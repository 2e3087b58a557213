"""A session's lane: what it waits for in order, done by one task that lives while there is any."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable

from voicepilot.lifecycle.inputs import Input
from voicepilot.runtime.registry import Entry, Job, Lane
from voicepilot.runtime.supervisor import Supervisor, others_code


class Lanes:
    """The lanes of one manager's sessions. Each job's answer is given to `apply` before the next job begins."""

    def __init__(self, supervisor: Supervisor, apply: Callable[[Entry, Input], None], logger: logging.Logger) -> None:
        self._supervisor = supervisor
        self._apply = apply
        self._logger = logger

    def order(self, entry: Entry, job: Job) -> None:
        """Do `job` when those ordered before it are done."""
        lane = entry.lane = entry.lane or Lane()
        lane.queue.append(job)
        self._go_on(entry, lane)

    def stop(self, entry: Entry) -> None:
        """Cancel what runs and forget what waits."""
        lane, entry.lane = entry.lane, None
        if lane is not None:
            lane.queue.clear()
            lane.let_go()

    def _go_on(self, entry: Entry, lane: Lane) -> None:
        if lane.task is not None:
            return
        if lane.queue:
            lane.task = self._supervisor.spawn(self._work(entry, lane), "voicepilot-lane")
        elif entry.lane is lane:
            entry.lane = None

    async def _work(self, entry: Entry, lane: Lane) -> None:
        mine = asyncio.current_task()
        assert mine is not None  # noqa: S101 - tells the type checker that this is a task
        while lane.task is mine and lane.queue and not mine.cancelling():  # a job may leave its task cancelled
            await self._do(entry, lane, lane.queue.popleft(), mine)
        if lane.task is mine:
            lane.task = None
            self._go_on(entry, lane)

    async def _do(self, entry: Entry, lane: Lane, job: Job, mine: asyncio.Task[None]) -> None:
        mine.set_name(f"voicepilot-{job.name}")
        lane.job = job
        # Whoever does the job may swallow its cancellation, so that the limit cannot be inside the task.
        lane.timer = asyncio.get_running_loop().call_later(job.limit, self._overdue, entry, lane, job)
        outcome = job.otherwise
        try:
            with others_code():
                outcome = job.start()
                if inspect.isawaitable(outcome):
                    outcome = await outcome
        except Exception:
            outcome = job.otherwise
            self._logger.warning("%s failed for session %s", job.name, entry.session.session_id, exc_info=True)
        if lane.job is job:  # else it was stopped or ran out of time, and nobody waits for it
            lane.timer.cancel()
            lane.job = None
            self._apply(entry, job.answer(outcome))

    def _overdue(self, entry: Entry, lane: Lane, job: Job) -> None:
        lane.let_go()
        session_id = entry.session.session_id
        self._logger.warning("%s took over %g s for session %s and was cancelled", job.name, job.limit, session_id)
        self._apply(entry, job.answer(job.otherwise))
        self._go_on(entry, lane)
