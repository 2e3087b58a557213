"""Runs operations that may fail.

A policy says when to try again, a breaker whether that is allowed, and a plan what to do when it was no use.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Self, TypeVar

from voicepilot.errors import AttemptRefusedError, OperationTimeoutError, fault_of
from voicepilot.ports import Clock, OperationContext
from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.recovery.breaker_state import Asked, Breaker, Given, Left, Permit, Refusal, Worked
from voicepilot.recovery.circuits import Circuits, seen
from voicepilot.recovery.news import (
    AttemptFailed,
    AttemptRefused,
    ErrorReported,
    N,
    Newsroom,
    OperationOver,
    Recovery,
    Result,
    RetryScheduled,
)
from voicepilot.recovery.plan import RecoveryPlan, is_recovering, run_plan
from voicepilot.recovery.policy import ENVELOPES, Backoff, Enough, RetryPolicy, decide, share, within_budget
from voicepilot.subscription import Subscription

T = TypeVar("T")

GOODBYES = frozenset({"end", "purge"})
"""Operations that undo. No breaker refuses them and no plan follows them, for its remedies are made of them."""

REFUSAL_SPREAD = 0.25
"""By what part of it a refusal's wait is lengthened at most, so that a crowd does not come back at one moment."""

QUIET_LIMIT = 1_000
"""Suppression windows kept before those that are over are dropped."""


ONCE = RetryPolicy(backoff=Backoff.NONE, attempts=1)
"""The policy of what a plan does: recovery does not retry inside recovery."""


class _Run:
    """A whole operation, as far as it has come."""

    __slots__ = ("attempts", "began_at", "context", "failure", "policy", "refusal")

    def __init__(self, context: OperationContext, policy: RetryPolicy, began_at: float) -> None:
        self.context = context
        self.policy = policy
        self.began_at = began_at
        self.attempts = 0  # how many were made
        self.failure: Exception | None = None  # of the latest attempt
        self.refusal: AttemptRefusedError | None = None

    def blame(self, error: Exception) -> None:
        """Remember why it failed; that the time was up says less than what went wrong before."""
        if self.failure is None or not isinstance(error, OperationTimeoutError):
            self.failure = error

    def outcome(self) -> Exception:
        """What to raise: what went wrong, rather than that the breaker opened over it."""
        return self.failure or self.refusal or LookupError("nothing was attempted")


class RecoveryExecutor:
    """Runs operations with policy, breaker, plan and observers around them.

    `policies` are by operation name or fault domain and come before `ENVELOPES`. `plan` is for operations whose
    context brings none. `endpoint` names the breaker of operations whose context names none. Times are on `clock`, or
    on the event loop's.
    """

    def __init__(
        self,
        *,
        policies: Mapping[str, RetryPolicy] | None = None,
        plan: RecoveryPlan | None = None,
        breaker: BreakerOptions | None = None,
        endpoint: str = "provider",
        clock: Clock | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self._policies = dict(policies or {})
        self._plan = plan
        self._endpoint = endpoint
        self._clock = clock
        self._logger = logger or logging.getLogger("voicepilot")
        self._newsroom = Newsroom(self._logger)
        self._circuits = Circuits(breaker or BreakerOptions(), self._newsroom.publish)
        self._closing = asyncio.Event()
        self._recovering: set[str] = set()  # sessions whose plan is running
        self._quiet: dict[tuple[str | None, str], float] = {}  # who was told of what, and until when that will do

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def is_initialized(self) -> bool:
        """Whether operations are tried again; after dispose() they are only run."""
        return not self._closing.is_set()

    async def initialize(self) -> None:
        """Nothing to do: an executor is complete when it is made."""

    async def dispose(self) -> None:
        """End every wait, and start no plan any more. What runs is not interrupted. Idempotent."""
        self._closing.set()
        self._quiet.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispose()

    def subscribe(self, kind: type[N], handler: Callable[[N], object]) -> Subscription:
        """Call `handler` with all news of one kind.

        The kinds are AttemptFailed, AttemptRefused, RetryScheduled, OperationOver, ErrorReported and CircuitMoved.
        Raises TypeError for an async handler. One that raises is logged and changes nothing about the operation.
        """
        return self._newsroom.subscribe(kind, handler)

    def breakers(self) -> dict[str, Breaker]:
        """The state of every breaker by endpoint, as a copy."""
        return self._circuits.states()

    # --- running operations -----------------------------------------------------------------------------------------

    async def execute(self, operation: Callable[[], Awaitable[T]], context: OperationContext) -> T:
        """Run `operation` and return what it gives; raise its own error when nothing helps.

        Where `context.attempts_scheduled_by_caller`, one attempt is made, and the caller makes the next; when he gives
        up he calls `gave_up`. Raises `AttemptRefusedError` when the breaker lets nothing through (and, for a whole
        operation, that will not change within the budget), and `OperationTimeoutError` when an attempt was cut off at
        the end of the budget.
        """
        if context.attempts_scheduled_by_caller:
            return await self._scheduled(operation, context)
        policy = ONCE if is_recovering() else self._policy(context)
        run = _Run(context, policy, self._now())
        try:
            result, recovery = await self._carried_through(run, operation)
        except Exception as error:
            self._over(run, Result.FAILED if run.attempts else Result.REFUSED, error)
            raise
        except BaseException:
            self._over(run, Result.CANCELLED)
            raise
        self._over(run, Result.RECOVERED if recovery else Result.SUCCEEDED, recovery=recovery)
        return result

    async def gave_up(self, context: OperationContext, error: Exception) -> Recovery:
        """Hear that the caller's last attempt failed with `error`: run the plan, and report what it did not repair.

        `context` is that of the last attempt. Raises nothing but cancellation. `worked` in the answer means that
        another attempt is worth making now.
        """
        run = _Run(context, ONCE, self._now())
        run.attempts = context.attempt
        recovery = await self._recover(context, error)
        unrepaired = Result.REFUSED if isinstance(error, AttemptRefusedError) else Result.FAILED
        self._over(run, Result.RECOVERED if recovery.worked else unrepaired, error, recovery)
        return recovery

    def next_due(self, context: OperationContext, error: Exception) -> float | None:
        """Seconds until the caller's next attempt, where a policy was set for this operation by its name.

        None leaves it to the session's own `retry_backoff_ms` and `max_retry_attempts`.
        """
        policy = self._policies.get(context.operation)
        if policy is None:
            return None
        again = decide(policy, fault_of(error), context.attempt, 0.0, context.correlation_id)
        return None if isinstance(again, Enough) else again

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _scheduled(self, operation: Callable[[], Awaitable[T]], context: OperationContext) -> T:
        run = _Run(context, ONCE, self._now())
        permit = self._admitted(run)
        if isinstance(permit, AttemptRefusedError):
            raise permit
        run.attempts = context.attempt - 1
        try:
            result = await self._attempted(run, operation, permit, None)
        except Exception as error:
            self._tell_failed(run, error, None)
            raise
        except BaseException:
            self._over(run, Result.CANCELLED)
            raise
        self._over(run, Result.SUCCEEDED)
        return result

    def _admitted(self, run: _Run) -> Permit | AttemptRefusedError | None:
        """A permit of the breaker, its refusal, or None where there is no breaker to ask."""
        context = run.context
        if context.operation in GOODBYES:
            return None
        endpoint = context.endpoint or self._endpoint
        asked = Asked(self._policy(context).cool_down, math.inf if context.patience is None else context.patience)
        verdict = self._circuits.ask(endpoint, asked, self._now())
        if not isinstance(verdict, Refusal):
            return verdict
        wait = verdict.retry_in * (1 + REFUSAL_SPREAD * share(context.correlation_id, 0))
        self._newsroom.publish(AttemptRefused(context=context, endpoint=endpoint, retry_in=wait, cause=verdict.cause))
        why = f" after {verdict.cause}" if verdict.cause else ""
        return AttemptRefusedError(
            f"{endpoint} is given a rest{why}; next attempt in {wait:.1f} s",
            retry_in=wait,
            remediation=f"It failed too often to be asked now: try again in {wait:.0f} s. {context.remediation}",
        )

    async def _attempted(
        self, run: _Run, operation: Callable[[], Awaitable[T]], permit: Permit | None, limit: float | None
    ) -> T:
        """Make the attempt, at most `limit` seconds long, and let the breaker know."""
        run.attempts += 1
        try:
            result = await self._limited(run, operation, limit)
        except Exception as error:
            self._note(run, None if permit is None else seen(permit, error))
            raise
        except BaseException:
            self._note(run, None if permit is None else Left(permit))
            raise
        self._note(run, None if permit is None else Worked(permit))
        return result

    @staticmethod
    async def _limited(run: _Run, operation: Callable[[], Awaitable[T]], limit: float | None) -> T:
        try:
            async with asyncio.timeout(limit) as cut:
                return await operation()
        except TimeoutError:
            if not cut.expired():
                raise
        context = run.context
        message = f"{context.message}: no answer within {run.policy.budget:g} s"
        raise OperationTimeoutError(message, code=context.code, remediation=context.remediation)

    def _note(self, run: _Run, given: Given | None) -> None:
        if given is not None:
            self._circuits.note(run.context.endpoint or self._endpoint, given, self._now())

    # --- a whole operation ------------------------------------------------------------------------------------------

    async def _carried_through(self, run: _Run, operation: Callable[[], Awaitable[T]]) -> tuple[T, Recovery | None]:
        try:
            return await self._retried(run, operation), None
        except Exception as error:
            recovery = await self._recover(run.context, error)
            if not recovery.worked:
                raise
        try:
            return await self._once_more(run, operation), recovery
        except Exception as error:
            self._report(run.context, error, recovery)
            raise

    async def _retried(self, run: _Run, operation: Callable[[], Awaitable[T]]) -> T:
        while True:
            permit = self._admitted(run)
            if isinstance(permit, AttemptRefusedError):
                run.refusal = permit
                wait = self._patience(run, permit)
            else:
                try:
                    left = run.policy.budget - (self._now() - run.began_at)
                    return await self._attempted(run, operation, permit, left)
                except Exception as error:
                    run.blame(error)
                    wait = self._after(run, error)
            if wait is None or not await self._pause(wait):
                raise run.outcome()

    async def _once_more(self, run: _Run, operation: Callable[[], Awaitable[T]]) -> T:
        """One attempt after the plan worked; what is wrong now has no second plan."""
        permit = self._admitted(run)
        if isinstance(permit, AttemptRefusedError):
            raise run.outcome()
        return await self._attempted(run, operation, permit, run.policy.budget)

    def _patience(self, run: _Run, refused: AttemptRefusedError) -> float | None:
        """Seconds to wait for the breaker. A refusal costs no attempt, but what is tried once only does not wait."""
        if run.policy.backoff is Backoff.NONE:
            return None
        again = within_budget(run.policy, refused.retry_in, self._now() - run.began_at)
        return None if isinstance(again, Enough) else again

    def _after(self, run: _Run, error: Exception) -> float | None:
        """Seconds to wait after a failed attempt, or None when it was the last."""
        context, elapsed, fault = run.context, self._now() - run.began_at, fault_of(error)
        self._tell_failed(run, error, run.policy.budget)
        again = decide(run.policy, fault, run.attempts, elapsed, context.correlation_id)
        if isinstance(again, Enough) or self._closing.is_set():
            return None
        self._newsroom.publish(RetryScheduled(context=context, attempt=run.attempts + 1, delay=again, fault=fault))
        return again

    async def _pause(self, seconds: float) -> bool:
        """Wait, and say whether we are still in business."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return True
        return False

    # --- when it was no use -----------------------------------------------------------------------------------------

    async def _recover(self, context: OperationContext, error: Exception) -> Recovery:
        """Run the plan that applies, and report the error unless that repaired it."""
        if is_recovering() or isinstance(error, AttemptRefusedError):  # whoever opened the breaker has had his plan
            return Recovery()
        recovery = await self._planned(context)
        if not recovery.worked:
            self._report(context, error, recovery)
        return recovery

    async def _planned(self, context: OperationContext) -> Recovery:
        plan, session_id = self._plan_of(context), context.session_id
        unfit = context.operation in GOODBYES or self._closing.is_set() or session_id in self._recovering
        if plan is None or session_id is None or unfit:
            return Recovery()
        self._recovering.add(session_id)
        try:
            return await run_plan(plan, session_id, self._logger)
        finally:
            self._recovering.discard(session_id)

    def _plan_of(self, context: OperationContext) -> RecoveryPlan | None:
        if context.plan is None or isinstance(context.plan, RecoveryPlan):
            return context.plan or self._plan
        self._logger.error("a recovery plan must be a RecoveryPlan, not %s", type(context.plan).__name__)
        return self._plan

    def _report(self, context: OperationContext, error: Exception, recovery: Recovery) -> None:
        plan, fault = self._plan_of(context) or RecoveryPlan(), fault_of(error)
        notify = plan.notify_user and self._is_news(context.session_id, fault.code, plan.suppression)
        self._newsroom.publish(ErrorReported(context=context, fault=fault, recovery=recovery, notify=notify))

    def _is_news(self, session_id: str | None, code: str, window: float) -> bool:
        now, told = self._now(), (session_id, code)
        if now < self._quiet.get(told, now):
            return False
        if len(self._quiet) >= QUIET_LIMIT:
            self._quiet = {key: until for key, until in self._quiet.items() if now < until}
        self._quiet[told] = now + window
        return True

    # --- telling ----------------------------------------------------------------------------------------------------

    def _tell_failed(self, run: _Run, error: Exception, budget: float | None) -> None:
        elapsed = self._now() - run.began_at
        self._newsroom.publish(
            AttemptFailed(
                context=run.context, attempt=run.attempts, elapsed=elapsed, budget=budget, fault=fault_of(error)
            )
        )

    def _over(
        self, run: _Run, result: Result, error: Exception | None = None, recovery: Recovery | None = None
    ) -> None:
        self._newsroom.publish(
            OperationOver(
                context=run.context,
                result=result,
                attempts=run.attempts,
                elapsed=self._now() - run.began_at,
                fault=None if error is None else fault_of(error),
                recovery=recovery,
            )
        )

    def _policy(self, context: OperationContext) -> RetryPolicy:
        named = self._policies.get(context.operation) or self._policies.get(context.fault_domain)
        return named or ENVELOPES[context.fault_domain]

    def _now(self) -> float:
        return self._clock.now() if self._clock else asyncio.get_running_loop().time()
