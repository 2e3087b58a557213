"""Carries out what the core orders, and brings back what came of it."""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import structs

from voicepilot.errors import Fault, SessionLimitError
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
    PurgeOrder,
    Purger,
    PurgeReceipt,
)
from voicepilot.runtime.hooks import EndingSession, HookSet
from voicepilot.runtime.lanes import Lanes
from voicepilot.runtime.minting import Minting
from voicepilot.runtime.observers import FAMILIES, Observers
from voicepilot.runtime.parting import part
from voicepilot.runtime.recovery import RecoveryLink
from voicepilot.runtime.registry import Entry, Job, Registry
from voicepilot.runtime.supervisor import Supervisor, marked_inside, others_code
from voicepilot.runtime.timers import SessionTimerManager
from voicepilot.runtime.transcripts import TranscriptLink
from voicepilot.runtime.vault import KeyVault


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
        self._minting = Minting(minter, self._keep_key, self.recovery, self.supervisor, self.apply, logger)
        self._lanes = Lanes(self.supervisor, self.apply, logger)
        # Each takes the kind of effect it is listed for; the type system cannot follow that through a table.
        self._acts: dict[type[fx.Effect], Callable[[Entry, Any], None]] = {
            fx.Publish: self._publish,
            fx.MintKey: self._minting.start,
            fx.ReleaseKey: self._release_key,
            fx.RunHook: self._order_hook,
            fx.StopWork: self._stop_work,
            fx.CloseConnection: self._order_close,
            fx.Purge: self._order_purge,
            fx.ReserveSlot: self._reserve,
            fx.ReleaseSlot: self._release_slot,
            fx.RunPlan: self._plan,
            fx.AnswerStart: self._answer_start,
            fx.AnswerRenewal: self._answer_renewal,
            fx.AnswerDials: self._answer_dials,
            fx.AnswerEnd: self._answer_end,
            fx.Forget: self._forget,
        }

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
                before = entry.fold()
                self._advance(entry, before, *step(before, given, self._clock.now()))
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
            before = entry.fold()
            self._advance(entry, before, *wake(before, now))
        finally:
            self._busy = False
        self._work_off()

    def _advance(self, entry: Entry, before: Session, after: Session, effects: fx.Effects) -> None:
        entry.session = after
        if before.last_activity != after.last_activity:
            self.registry.touch(after.session_id)
        for effect in effects:
            self._acts[type(effect)](entry, effect)
        if before.degraded != entry.session.degraded:
            self.recovery.note_degraded(entry.session)
        self._timers.schedule(entry)

    def close(self) -> None:
        """Forget everything; every session is over."""
        self.observers.clear()
        self.hooks.clear()
        self.vault.clear()
        self.registry.clear()

    # --- effects ----------------------------------------------------------------------------------------------------

    def _publish(self, entry: Entry, order: fx.Publish) -> None:
        event = order.event
        self.observers.publish(FAMILIES[type(event)], event)
        if entry.warn is not None and isinstance(event, LimitApproaching):
            entry.warn(event.limit, event.used, event.allowed)

    def _keep_key(self, entry: Entry, ticket: int, key: EphemeralKey) -> None:
        self.vault.put(entry.session.session_id, ticket, key)
        self.apply(entry, KeyMinted(ticket, key.expires_in, key.remote_session_id))

    def _release_key(self, entry: Entry, order: fx.ReleaseKey) -> None:
        self.vault.release(entry.session.session_id, order.ticket)

    def _stop_work(self, entry: Entry, _: fx.StopWork) -> None:
        self._minting.stop(entry)
        self._lanes.stop(entry)

    def _release_slot(self, _: Entry, __: fx.ReleaseSlot) -> None:
        self.registry.slots -= 1

    def _plan(self, entry: Entry, order: fx.RunPlan) -> None:
        if self.recovery.has_plan():
            self.supervisor.spawn(self._run_plan(entry, order, entry.cause), "voicepilot-recovery-plan")

    def _answer_start(self, entry: Entry, answer: fx.AnswerStart) -> None:
        if entry.start and not entry.start.done():
            entry.start.set_result(answer)

    def _answer_renewal(self, entry: Entry, answer: fx.AnswerRenewal) -> None:
        if entry.renewal and not entry.renewal.done():
            entry.renewal.set_result(answer.result)
        entry.renewal = None
        self._let_dial(entry, answer.result.error)

    def _answer_dials(self, entry: Entry, answer: fx.AnswerDials) -> None:
        self._let_dial(entry, answer.fault)

    @staticmethod
    def _let_dial(entry: Entry, fault: Fault | None) -> None:
        if entry.dials and not entry.dials.done():
            entry.dials.set_result(fault)
        entry.dials = None

    def _answer_end(self, entry: Entry, _: fx.AnswerEnd) -> None:
        waiting, entry.waiting = entry.waiting, None
        for over in waiting or ():
            if not over.done():
                over.set_result(None)

    def _reserve(self, entry: Entry, _: fx.ReserveSlot) -> None:
        if self.registry.slots < self.slots:
            self.registry.slots += 1
            self._inbox.append((entry, SlotReserved()))
            return
        refused = SessionLimitError(f"{self.slots} sessions are live already, which is the limit")
        self._inbox.append((entry, SlotRefused(refused.fault)))

    def _forget(self, entry: Entry, order: fx.Forget) -> None:
        session_id = entry.session.session_id
        self.recovery.leave_degraded(session_id)
        if order.after <= 0:
            self.registry.remove(session_id)
            return
        entry.forget_at = self._clock.now() + order.after
        self.registry.retire(session_id)

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
        if hook is None and (entry.lane is None or entry.lane.is_idle):
            self._inbox.append((entry, answer))
            return
        call = partial(self._call_hook, entry, order)
        self._lanes.order(entry, Job(order.hook.value, call, order.limit, lambda _: answer, None))

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

    def _order_close(self, entry: Entry, order: fx.CloseConnection) -> None:
        close = partial(self._close, entry, order.limit)
        self._lanes.order(entry, Job("close", close, order.limit, lambda _: ConnectionClosed(), None))

    async def _close(self, entry: Entry, limit: float) -> None:
        """First the connection, told why, then the provider, who has at least half of the time."""
        session = entry.session
        reason = session.farewell.reason if session.farewell else ""
        await part(entry, reason, limit / 2, self.supervisor, self._logger)
        end = self.recovery.whole("end", session.session_id, partial(self._minter.end_session, session.session_id))
        await _awaited(end())

    def _order_purge(self, entry: Entry, order: fx.Purge) -> None:
        session_id, limit = entry.session.session_id, order.limit
        reason = order.reason if order.reason in PURGE_REASONS else "session-ended"
        late = PurgeReceipt(
            session_id=session_id, reason=reason, failed=1, duration=limit, notes=("the purge did not complete",)
        )
        errand = partial(self.purger.purge, PurgeOrder(session_id=session_id, reason=reason))
        purge = self.recovery.whole("purge", session_id, errand)
        self._lanes.order(entry, Job("purge", purge, limit, lambda given: self._purged(given, late), late))

    def _purged(self, given: object, late: PurgeReceipt) -> Purged:
        receipt = given if isinstance(given, PurgeReceipt) else late
        if not receipt.complete and receipt is not late:  # being late or raising was logged
            self._logger.warning("purge left %d behind for session %s", receipt.failed, receipt.session_id)
        return Purged(receipt)


async def _awaited(work: object) -> object:
    return await work if inspect.isawaitable(work) else work
