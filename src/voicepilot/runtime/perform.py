"""Carries out what the core orders, and brings back what came of it."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import math
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial

from msgspec import structs

from voicepilot.errors import BadReplyError, KeyTimeoutError, SessionLimitError, fault_of
from voicepilot.events import LimitApproaching
from voicepilot.lifecycle import effects as fx
from voicepilot.lifecycle.inputs import (
    ConnectionClosed,
    HoldReleased,
    HoldTaken,
    Hook,
    HookFinished,
    Input,
    KeyMinted,
    MintFailed,
    PlanWorked,
    Purged,
    SlotRefused,
    SlotReserved,
)
from voicepilot.lifecycle.machine import step, wake
from voicepilot.lifecycle.session import Session, info
from voicepilot.ports import (
    PURGE_REASONS,
    Clock,
    EphemeralKey,
    KeyMinter,
    KeyRequest,
    PurgeOrder,
    Purger,
    PurgeReceipt,
)
from voicepilot.runtime.hooks import EndingSession, HookSet
from voicepilot.runtime.observers import FAMILIES, Observers
from voicepilot.runtime.parting import part
from voicepilot.runtime.recovery import RecoveryLink
from voicepilot.runtime.registry import Entry, Job, Lane, Registry
from voicepilot.runtime.supervisor import StrayError, Supervisor, marked_inside, others_code
from voicepilot.runtime.timers import SessionTimerManager
from voicepilot.runtime.transcripts import TranscriptLink
from voicepilot.runtime.vault import KeyVault

SHORTEST_LIFE = 1.0
"""Seconds a key must have left to be of use; renewing one that has less would be a hot loop."""


class NothingToPurge:
    """The purger of a manager that was given none: it holds no personal data."""

    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        """Say that there was nothing."""
        return PurgeReceipt(session_id=order.session_id, reason=order.reason, target=order.target)


class Performer:
    """Applies inputs to sessions one after the other, and performs the effects."""

    def __init__(self, minter: KeyMinter, timers: SessionTimerManager, clock: Clock, logger: logging.Logger) -> None:
        self.registry = Registry()
        self.vault = KeyVault()
        self.hooks = HookSet()
        self.supervisor = Supervisor(logger)
        self.observers = Observers(self.supervisor, logger)
        self.purger: Purger = NothingToPurge()
        self.transcripts = TranscriptLink(logger)
        self.recovery = RecoveryLink(logger)
        self.recovery.endpoint = getattr(minter, "endpoint", None)
        self.slots = 0  # how many sessions may be live; set when the manager is initialised
        self._minter = minter
        self._timers = timers
        self._clock = clock
        self._logger = logger
        self._inbox: deque[tuple[Entry, Input]] = deque()
        self._busy = False

    # --- inputs -----------------------------------------------------------------------------------------------------

    def apply(self, entry: Entry, given: Input) -> None:
        """Let `given` happen to the session; while another input is being worked on, wait behind it."""
        self._inbox.append((entry, given))
        if not self._busy:
            self._work_off()

    def _work_off(self) -> None:
        self._busy = True
        try:
            while self._inbox:
                entry, given = self._inbox.popleft()
                self._advance(entry, partial(step, entry.fold(), given, self._clock.now()))
        finally:
            self._busy = False

    def note_activity(self, entry: Entry) -> None:
        """Note that somebody spoke or typed; it is folded into the session before the next step."""
        entry.active_at = self._clock.now()
        entry.resets += 1
        self.registry.touch(entry.session.session_id)

    def wake(self, entry: Entry) -> None:
        """Let the due deadlines of the entry pass."""
        now = self._clock.now()
        if entry.forget_at is not None:
            if entry.forget_at <= now:
                self.registry.remove(entry.session.session_id)
            else:  # woken for a deadline it had while it lived
                self._timers.schedule(entry)
            return
        self._busy = True  # what handlers cause meanwhile queues behind
        try:
            self._advance(entry, partial(wake, entry.fold(), now))
        finally:
            self._busy = False
        self._work_off()

    def _advance(self, entry: Entry, taken: Callable[[], tuple[Session, fx.Effects]]) -> None:
        before = entry.session
        entry.session, effects = taken()
        if before.last_activity != entry.session.last_activity:
            self.registry.touch(entry.session.session_id)
        for effect in effects:
            self._perform(entry, effect)
        if before.degraded != entry.session.degraded:
            self.recovery.note_degraded(entry.session)
        self._timers.schedule(entry)

    def close(self) -> None:
        """Forget everything; every session is over."""
        self.observers.clear()
        self.hooks.clear()
        self.vault.clear()

    # --- effects ----------------------------------------------------------------------------------------------------

    def _perform(self, entry: Entry, effect: fx.Effect) -> None:  # noqa: C901, PLR0912 - one case for each effect
        session_id = entry.session.session_id
        match effect:
            case fx.Publish(event):
                self.observers.publish(FAMILIES[type(event)], event)
                if entry.warn is not None and isinstance(event, LimitApproaching):
                    entry.warn(event.limit, event.used, event.allowed)
            case fx.MintKey():
                self._start_mint(entry, effect)
            case fx.ReleaseKey(ticket):
                self.vault.release(session_id, ticket)
            case fx.RunHook():
                self._order_hook(entry, effect)
            case fx.StopWork():
                self._stop_work(entry)
            case fx.CloseConnection(limit):
                self._order(entry, Job("close", partial(self._close, entry, limit), limit, _closed, None))
            case fx.Purge(reason, limit):
                self._order_purge(entry, reason, limit)
            case fx.ReserveSlot():
                self._reserve(entry)
            case fx.ReleaseSlot():
                self.registry.slots -= 1
            case fx.RunPlan():
                if self.recovery.has_plan():
                    self.supervisor.spawn(self._run_plan(entry, effect, entry.cause), "voicepilot-recovery-plan")
            case fx.AnswerStart():
                if entry.start and not entry.start.done():
                    entry.start.set_result(effect)
            case fx.AnswerRenewal(result):
                if entry.renewal and not entry.renewal.done():
                    entry.renewal.set_result(result)
                entry.renewal = None
            case fx.AnswerEnd():
                if entry.over and not entry.over.done():
                    entry.over.set_result(None)
            case fx.Forget(after):
                self._forget(entry, after)

    def _reserve(self, entry: Entry) -> None:
        if self.registry.slots < self.slots:
            self.registry.slots += 1
            self._inbox.append((entry, SlotReserved()))
            return
        refused = SessionLimitError(f"{self.slots} sessions are live already, which is the limit")
        self._inbox.append((entry, SlotRefused(refused.fault)))

    def _forget(self, entry: Entry, after: float) -> None:
        session_id = entry.session.session_id
        self.recovery.leave_degraded(session_id)
        if after <= 0:
            self.registry.remove(session_id)
            return
        entry.forget_at = self._clock.now() + after
        self.registry.retire(session_id)

    # --- minting ----------------------------------------------------------------------------------------------------

    def _start_mint(self, entry: Entry, order: fx.MintKey) -> None:
        task = entry.mint = self.supervisor.spawn(self._mint(entry, order), "voicepilot-mint")
        # A key service may swallow its cancellation, so that the limit cannot be inside the task.
        limit = asyncio.get_running_loop().call_later(order.limit, self._mint_overdue, entry, order, task)
        task.add_done_callback(partial(self._mint_done, entry, order, limit))

    def _mint_overdue(self, entry: Entry, order: fx.MintKey, task: asyncio.Task[None]) -> None:
        entry.mint = None
        task.cancel()
        self._mint_failed(entry, order, KeyTimeoutError(f"no answer within {order.limit:.1f} s"))

    def _mint_done(self, entry: Entry, order: fx.MintKey, limit: asyncio.TimerHandle, task: asyncio.Task[None]) -> None:
        limit.cancel()
        if entry.mint is task:
            entry.mint = None
            if task.cancelled():  # not by us
                self._mint_failed(entry, order, StrayError("the key service cancelled its caller"))

    async def _mint(self, entry: Entry, order: fx.MintKey) -> None:
        session = entry.session
        request = KeyRequest(
            session_id=session.session_id,
            life_seconds=session.config.key_life_seconds,
            model=session.wish.model,
            session=copy.deepcopy(session.wish.session),
            labels=dict(session.wish.labels),
            attempt=order.attempt,
        )
        fetch = self._minter.request_ephemeral_key if order.first else self._minter.renew_key
        try:
            with others_code():
                key = await self.recovery.attempt(partial(fetch, request), session, order)
            _check_key(key, session.session_id)
        except Exception as error:
            self._mint_failed(entry, order, error)
        else:
            self.vault.put(session.session_id, order.ticket, key)
            self.apply(entry, KeyMinted(order.ticket, key.expires_in, key.remote_session_id))

    def _mint_failed(self, entry: Entry, order: fx.MintKey, error: Exception) -> None:
        fault = fault_of(error)
        if fault.code == "UNEXPECTED_ERROR":  # its text may quote a key, so only where it came from is logged
            where = traceback.extract_tb(error.__traceback__)[-1:]
            kind, session_id = type(error).__name__, entry.session.session_id
            self._logger.error("the key service raised %s for session %s at %s", kind, session_id, where)
        entry.cause = error
        self.apply(entry, MintFailed(order.ticket, fault, *self.recovery.verdict(error, entry.session, order)))
        if not order.first:
            entry.cause = None

    async def _run_plan(self, entry: Entry, order: fx.RunPlan, cause: Exception | None) -> None:
        """Inactivity and heartbeat stand still meanwhile, as they do for every recovery operation."""
        worked, holder = False, f"recovery/{order.ticket}"  # the next round's plan may begin before this one is done
        self.apply(entry, HoldTaken(holder))
        try:
            with others_code():
                worked = await self.recovery.run_plan(entry.session, order, cause)
        except Exception:
            self._logger.exception("the recovery plan of session %s raised", entry.session.session_id)
        finally:
            self.apply(entry, HoldReleased(holder))
        if worked:
            self.apply(entry, PlanWorked())

    # --- the lane ---------------------------------------------------------------------------------------------------

    def _order_hook(self, entry: Entry, order: fx.RunHook) -> None:
        answer = HookFinished(order.hook)
        hook = self.hooks.find(order.hook.value)
        if hook is None and (entry.lane is None or entry.lane.job is None):
            self._inbox.append((entry, answer))
            return
        self._order(
            entry, Job(order.hook.value, partial(self._call_hook, entry, order), order.limit, lambda _: answer, None)
        )

    async def _call_hook(self, entry: Entry, order: fx.RunHook) -> None:
        hook = self.hooks.find(order.hook.value)
        if hook is None:
            return
        seen = info(entry.fold())
        if order.hook is Hook.ENDING:
            seen = EndingSession(**structs.asdict(seen), transcript=self.transcripts.turns(seen.session_id))
        with marked_inside(self.supervisor):
            answer = hook(seen, order.reason) if order.hook is Hook.SUSPENDING else hook(seen)
            if inspect.isawaitable(answer):
                await answer

    async def _close(self, entry: Entry, limit: float) -> None:
        """First the connection, told why, then the provider, who has at least half of the time."""
        session = entry.session
        reason = session.farewell.reason if session.farewell else ""
        await part(entry, reason, limit / 2, self.supervisor, self._logger)
        end = self.recovery.whole("end", session.session_id, partial(self._minter.end_session, session.session_id))
        await _awaited(end())

    def _order_purge(self, entry: Entry, reason: str, limit: float) -> None:
        reason = reason if reason in PURGE_REASONS else "session-ended"
        order = PurgeOrder(session_id=entry.session.session_id, reason=reason)
        late = PurgeReceipt(
            session_id=order.session_id, reason=reason, failed=1, duration=limit, notes=("the purge did not complete",)
        )
        purge = self.recovery.whole("purge", order.session_id, partial(self.purger.purge, order))
        self._order(entry, Job("purge", purge, limit, lambda given: self._purged(given, late), late))

    def _purged(self, given: object, late: PurgeReceipt) -> Purged:
        receipt = given if isinstance(given, PurgeReceipt) else late
        if not receipt.complete and receipt is not late:  # being late or raising was logged
            self._logger.warning("purge left %d behind for session %s", receipt.failed, receipt.session_id)
        return Purged(receipt)

    def _order(self, entry: Entry, job: Job) -> None:
        lane = entry.lane = entry.lane or Lane()
        lane.queue.append(job)
        self._next_job(entry, lane)

    def _next_job(self, entry: Entry, lane: Lane) -> None:
        if lane.job is not None:
            return
        if not lane.queue:
            entry.lane = None if entry.lane is lane else entry.lane
            return
        job = lane.job = lane.queue.popleft()
        lane.timer = asyncio.get_running_loop().call_later(job.limit, self._finish_job, entry, lane, job, None, True)
        lane.task = self.supervisor.spawn(self._do_job(entry, lane, job), f"voicepilot-{job.name}")

    async def _do_job(self, entry: Entry, lane: Lane, job: Job) -> None:
        outcome = job.otherwise
        try:
            with others_code():
                outcome = await _awaited(job.start())
        except Exception:
            self._logger.warning("%s failed for session %s", job.name, entry.session.session_id, exc_info=True)
        self._finish_job(entry, lane, job, outcome, overdue=False)

    def _finish_job(self, entry: Entry, lane: Lane, job: Job, outcome: object, overdue: bool) -> None:
        if lane.job is not job:
            return  # it was stopped or ran out of time; nobody waits for it
        self._drop_job(lane, cancel=overdue)
        if overdue:
            session_id = entry.session.session_id
            self._logger.warning("%s took over %g s for session %s and was cancelled", job.name, job.limit, session_id)
            outcome = job.otherwise
        self.apply(entry, job.answer(outcome))
        self._next_job(entry, lane)

    @staticmethod
    def _drop_job(lane: Lane, *, cancel: bool) -> None:
        if lane.timer:
            lane.timer.cancel()
        if cancel and lane.task:
            lane.task.cancel()
        lane.job = lane.task = lane.timer = None

    def _stop_work(self, entry: Entry) -> None:
        if entry.mint:
            entry.mint.cancel()
            entry.mint = None
        if entry.lane:
            entry.lane.queue.clear()
            self._drop_job(entry.lane, cancel=True)
            entry.lane = None


def _closed(_: object) -> ConnectionClosed:
    return ConnectionClosed()


async def _awaited(work: object) -> object:
    return await work if inspect.isawaitable(work) else work


def _check_key(key: EphemeralKey, session_id: str) -> None:
    """Refuse what a key service must not give: another session's key, or one that is dead on arrival."""
    if key.issued_for != session_id:
        raise BadReplyError("the key service gave a key of another session", code="FOREIGN_KEY", retryable=False)
    if not math.isfinite(key.expires_in) or key.expires_in < SHORTEST_LIFE:
        raise BadReplyError("the key service gave a key that has expired already", code="KEY_ALREADY_EXPIRED")
