"""PrivacyController: knows who holds which session's data, and has it purged on order or when its time is up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Literal, Self

from voicepilot.clock import SystemClock
from voicepilot.errors import ConfigurationError, NotInitializedError
from voicepilot.events import StateChanged
from voicepilot.ports import Clock, PurgeOrder, PurgeReceipt
from voicepilot.privacy.errand import Errand, Outcome, Report
from voicepilot.privacy.handles import Registration
from voicepilot.privacy.ledger import Entry, Held, Holder, Ledger
from voicepilot.privacy.retention import PolicyInForce, RetentionPolicy
from voicepilot.privacy.words import EVERY_SESSION, TARGETS, DataClass, PurgeReason, checked, checked_session, known
from voicepilot.subscription import Subscription, is_async

LOOK_AGAIN = 5.0
"""Seconds; no wait is longer, so that a machine that slept notices soon after it wakes."""

SLICE = 256
"""Entries that one sweep purges at once; what else is due comes right after."""

STUBBORN = 1.0
"""Seconds that dispose gives cancelled holders before it leaves them behind."""

NOTES = 20
"""Notes in a receipt at most; `failed` counts all."""

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
"""Starts a task, given a coroutine that does not raise and a name."""


def spawn_on_loop(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """The default `Spawn`. The controller keeps what it starts, and waits for it in `dispose`."""
    return asyncio.get_running_loop().create_task(work, name=name)


class PrivacyController:
    """Makes personal data unreachable. Implements `ports.Purger` and `ports.Collaborator`.

    Use it as `async with controller:`, or await `initialize()` and `dispose()`. It owns a task only while holders are
    being asked, and one timer while something is due. `spawn` starts those tasks; `logger` never sees content.
    """

    def __init__(
        self,
        policy: RetentionPolicy | None = None,
        *,
        clock: Clock | None = None,
        logger: logging.Logger | None = None,
        spawn: Spawn = spawn_on_loop,
    ) -> None:
        self._clock = clock or SystemClock()
        self._logger = logger or logging.getLogger("voicepilot")
        self._spawn = spawn
        self._given = policy
        self._ledger = Ledger(policy or RetentionPolicy())
        self._in_force: PolicyInForce | None = None
        self._listeners: dict[object, Callable[[PurgeReceipt], object]] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._sweeping: Errand | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._state: Literal["new", "initialized", "disposing"] = "new"
        self._disposed = asyncio.Event()

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def is_initialized(self) -> bool:
        """Whether data can be registered and purged."""
        return self._state == "initialized"

    async def initialize(self) -> None:
        """Make ready. Idempotent."""
        if self._state != "new":
            return
        self._state = "initialized"
        self._disposed.clear()
        self._in_force = PolicyInForce(
            policy=self._ledger.policy, updated_at=self._clock.now(), source="user" if self._given else "default"
        )

    async def dispose(self) -> None:
        """Purge everything that is registered, within 0.4 s, and let go. Idempotent; nothing is retried afterwards."""
        if self._state == "disposing":
            await self._disposed.wait()
        if self._state != "initialized":
            return
        self._state = "disposing"
        self._disarm()
        try:
            order = PurgeOrder(session_id=EVERY_SESSION, reason=PurgeReason.DISPOSED)
            await self._carry_out(order, frozenset(DataClass))
            await self._stop_errands()
        finally:
            self._ledger.clear()
            self._listeners.clear()
            self._state = "new"
            self._disposed.set()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispose()

    # --- what is held -----------------------------------------------------------------------------------------------

    def register(
        self, session_id: str, data_class: DataClass | str, holder: Holder, *, name: str | None = None
    ) -> Registration:
        """Note that `holder` has data of this session and kind. Session, kind and `name` (the holder's own) are its id.

        A datum that is not released (`Registration.release`, `session_over`) is needed by the live session and stays.
        Registering an id again replaces the holder and keeps the first times. Register before, or in the same moment
        as, the data is there. Raises `ConfigurationError`, `NotInitializedError`.
        """
        self._require()
        kind = known(DataClass, data_class, "data_class")
        entry = self._ledger.register(
            checked_session(session_id), kind, holder.name if name is None else name, holder, self._clock.now()
        )
        self._arm()
        mine = entry.generation
        return Registration(partial(self._release, entry, mine), partial(self._forget, entry, mine))

    def session_over(self, session_id: str) -> None:
        """Say that the session is over: the windows of all its data begin, also of what is registered later."""
        if self._state == "initialized":
            self._ledger.session_over(session_id, self._clock.now())
            self._arm()

    def on_state_changed(self, event: StateChanged) -> None:
        """Notice by itself when sessions are over: `manager.on_session_state_changed(controller.on_state_changed)`."""
        if not event.session.is_live:
            self.session_over(event.session_id)

    def may_hold(self, session_id: str) -> bool:
        """Whether there is any use in keeping data of this session: it is not over, and we are there to purge it."""
        return self.is_initialized and not self._ledger.is_over(session_id)

    def held(self, session_id: str | None = None) -> tuple[Held, ...]:
        """What is registered, of one session or of all."""
        return self._ledger.snapshot(EVERY_SESSION if session_id is None else session_id)

    # --- the policy -------------------------------------------------------------------------------------------------

    @property
    def policy(self) -> PolicyInForce:
        """The retention policy, since when it applies and who set it."""
        self._require()
        assert self._in_force is not None  # noqa: S101 - initialize() set it
        return self._in_force

    def update_policy(self, policy: RetentionPolicy) -> None:
        """Apply another policy: every window is computed anew, and what it no longer keeps is swept at once."""
        self._require()
        if not isinstance(policy, RetentionPolicy):
            raise ConfigurationError("policy: must be a RetentionPolicy", field="policy")
        now = self._clock.now()
        self._ledger.change_policy(policy, now)
        self._in_force = PolicyInForce(policy=policy, updated_at=now, source="user")
        self._arm()

    # --- purging ----------------------------------------------------------------------------------------------------

    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        """Have what the order names purged, by all holders at once, within 0.4 s. Idempotent.

        Holders that fail or hang are in the receipt (`failed`, `notes`) and are asked again later. `cleared` counts
        items as the holders do. The `session_id` `EVERY_SESSION` means all. Raises `ConfigurationError` for a target
        or reason that nobody knows (nothing is purged then) and `NotInitializedError`.
        """
        self._require()
        return await self._carry_out(order, checked(order))

    async def sweep(self) -> tuple[PurgeReceipt, ...]:
        """Purge what is due, now, and say what was done. Due data is swept without this, too."""
        self._require()
        receipts: list[PurgeReceipt] = []
        while errand := self._begin_sweep():
            await errand.settled.wait()
            receipts += errand.receipts
        return tuple(receipts)

    def on_purged(self, listener: Callable[[PurgeReceipt], object]) -> Subscription:
        """Give `listener` the receipt of every order and sweep. Raises `ConfigurationError` for an async one."""
        if is_async(listener):
            raise ConfigurationError("listener: must be a plain function", field="listener")
        ticket = object()
        self._listeners[ticket] = listener
        return Subscription(partial(self._unsubscribe, ticket))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _require(self) -> None:
        if self._state != "initialized":
            raise NotInitializedError("PrivacyController")

    def _unsubscribe(self, ticket: object) -> None:
        self._listeners.pop(ticket, None)

    def _release(self, entry: Entry, generation: int) -> None:
        if entry.generation == generation and self._state == "initialized":
            self._ledger.release(entry, self._clock.now())
            self._arm()

    def _forget(self, entry: Entry, generation: int) -> None:
        if entry.generation == generation:
            self._ledger.remove(entry)

    async def _carry_out(self, order: PurgeOrder, classes: frozenset[DataClass]) -> PurgeReceipt:
        began = self._clock.now()

        def report(outcomes: Sequence[Outcome]) -> tuple[PurgeReceipt, ...]:
            return (self._told(outcomes, order.session_id, order.reason, order.target, began),)

        entries = self._ledger.select(order.session_id, classes)
        if not entries:
            return report(())[0]
        errand = self._start(entries, PurgeReason(order.reason), report)
        await errand.settled.wait()
        return errand.receipts[0]

    def _begin_sweep(self) -> Errand | None:
        if self._sweeping is not None:
            return self._sweeping
        began = self._clock.now()
        entries = self._ledger.take_due(began, SLICE)
        if entries:
            self._sweeping = self._start(entries, None, partial(self._swept, began))
        return self._sweeping

    def _swept(self, began: float, outcomes: Sequence[Outcome]) -> tuple[PurgeReceipt, ...]:
        self._sweeping = None
        ordered = sorted(outcomes, key=_about)
        return tuple(
            self._told(tuple(group), session_id, reason, target, began)
            for (session_id, reason, target), group in groupby(ordered, key=_about)
        )

    def _start(self, entries: Sequence[Entry], reason: PurgeReason | None, report: Report) -> Errand:
        errand = Errand(entries, self._ledger, reason=reason, now=self._clock.now)
        task = self._spawn(errand.run(report), "voicepilot-purges")
        self._errands.add(task)
        task.add_done_callback(lambda _: self._done(task, errand, report))
        return errand

    def _done(self, task: asyncio.Task[None], errand: Errand, report: Report) -> None:
        self._errands.discard(task)
        errand.settle(report)  # it has, unless it was cancelled before it began

    def _told(
        self, outcomes: Sequence[Outcome], session_id: str, reason: str, target: str, began: float
    ) -> PurgeReceipt:
        notes = [outcome.note for outcome in outcomes if outcome.note is not None]
        receipt = PurgeReceipt(
            session_id=session_id,
            reason=str(reason),
            target=str(target),
            cleared=sum(outcome.cleared for outcome in outcomes),
            failed=len(notes),
            duration=self._clock.now() - began,
            notes=tuple(notes[:NOTES]),
        )
        if notes:
            self._logger.warning("a purge of session %s left data behind: %s", session_id, "; ".join(receipt.notes))
        for listener in tuple(self._listeners.values()):
            try:
                listener(receipt)
            except Exception:
                self._logger.exception("a listener of purges raised")
        self._arm()
        return receipt

    async def _stop_errands(self) -> None:
        for task in self._errands:
            task.cancel()
        if self._errands:
            _, stubborn = await asyncio.wait(self._errands, timeout=STUBBORN)
            if stubborn:
                self._logger.error("holders refuse to be cancelled and are left behind: %d purges", len(stubborn))

    # --- waking up --------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        due = self._ledger.next_due()
        if due is None or self._sweeping is not None or self._state != "initialized":
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + min(LOOK_AGAIN, max(0.0, due - self._clock.now()))
        if self._handle is None or self._handle.when() > when:
            self._disarm()
            self._handle = loop.call_at(when, self._look)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = None
        self._begin_sweep()
        self._arm()


def _about(outcome: Outcome) -> tuple[str, str, str]:
    return outcome.entry.session_id, outcome.reason.value, TARGETS[outcome.entry.data_class].value
