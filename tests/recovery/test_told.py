"""What is told of an operation, of a plan and of a circuit: every field of it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.recovery.cast import DENIED, DOWN, QUICK, Listener, Operation, a_context
from voicepilot.errors import (
    AttemptRefusedError,
    ConfigurationError,
    OperationTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
    VoicePilotError,
)
from voicepilot.recovery import (
    AttemptFailed,
    AttemptRefused,
    Backoff,
    BreakerOptions,
    Circuit,
    CircuitMoved,
    ErrorReported,
    Fallback,
    Jitter,
    OperationOver,
    RecoveryExecutor,
    RecoveryPlan,
    RecoveryRegistrar,
    RecoveryStep,
    RetryPolicy,
    RetryScheduled,
)
from voicepilot.recovery.breaker_state import Broke, Left, Permit, Worked
from voicepilot.recovery.circuits import seen
from voicepilot.recovery.executor import REFUSAL_SPREAD
from voicepilot.recovery.news import Recovery, Result
from voicepilot.recovery.plan import STEP_LIMIT, run_plan, run_step
from voicepilot.recovery.policy import decide, delay, share
from voicepilot.testing import VirtualClock

LOGGER = logging.getLogger("voicepilot")
REFUSED = AttemptRefusedError("resting", retry_in=3)


def an_executor(**given: object) -> tuple[RecoveryExecutor, Listener]:
    """On a clock that begins far from zero, as real ones do."""
    given = {"policies": {"test": QUICK}, "clock": VirtualClock()} | given
    executor = RecoveryExecutor(**given)  # type: ignore[arg-type]  # keywords by name
    return executor, Listener(executor)


async def works(_: str) -> bool:
    return True


async def hangs(_: str) -> bool:
    await asyncio.sleep(1e6)
    return True


async def raises(_: str) -> bool:
    raise ValueError("mine")


# --- operations -------------------------------------------------------------------------------------------------------


async def test_every_field_of_what_is_told_of_an_operation() -> None:
    executor, heard = an_executor()
    context = a_context()
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(Operation(DOWN, DOWN, DOWN, DOWN), context)
    failed = [
        AttemptFailed(context=context, attempt=number, elapsed=elapsed, budget=60, fault=DOWN.fault)
        for number, elapsed in ((1, 0), (2, 1), (3, 3), (4, 7))
    ]
    scheduled = [
        RetryScheduled(context=context, attempt=number, delay=wait, fault=DOWN.fault)
        for number, wait in ((2, 1), (3, 2), (4, 4))
    ]
    assert heard.of(AttemptFailed) == failed
    assert heard.of(RetryScheduled) == scheduled
    assert heard.of(ErrorReported) == [
        ErrorReported(context=context, fault=DOWN.fault, recovery=Recovery(), notify=True)
    ]
    assert heard.of(OperationOver) == [
        OperationOver(context=context, result=Result.FAILED, attempts=4, elapsed=7, fault=DOWN.fault)
    ]


async def test_every_field_of_what_is_told_of_an_attempt_that_the_caller_schedules() -> None:
    executor, heard = an_executor()
    context = a_context(attempts_scheduled_by_caller=True, attempt=3)
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(Operation(DOWN), context)
    assert heard.news == [AttemptFailed(context=context, attempt=3, elapsed=0, budget=None, fault=DOWN.fault)]


@pytest.mark.parametrize(
    ("step", "error", "result"),
    [
        (works, DOWN, Result.RECOVERED),
        (raises, DOWN, Result.FAILED),
        (works, REFUSED, Result.REFUSED),
    ],
)
async def test_every_field_of_what_is_told_when_the_caller_gives_up(
    step: object, error: Exception, result: Result
) -> None:
    plan = RecoveryPlan(steps=(RecoveryStep(name="mend", run=step),))  # type: ignore[arg-type]  # as the table says
    executor, heard = an_executor(plan=plan)
    context = a_context(attempt=4)
    recovery = await executor.gave_up(context, error)
    assert recovery.worked is (result is Result.RECOVERED)
    assert recovery.tried == (() if error is REFUSED else ("mend",))
    assert heard.of(OperationOver) == [
        OperationOver(
            context=context,
            result=result,
            attempts=4,
            elapsed=0,
            fault=error.fault,  # type: ignore[attr-defined]  # they are ours
            recovery=recovery,
        )
    ]


async def test_when_the_last_try_after_a_plan_fails_that_error_is_reported() -> None:
    executor, heard = an_executor(plan=RecoveryPlan(steps=(RecoveryStep(name="mend", run=works),)))
    with pytest.raises(type(DENIED)):
        await executor.execute(Operation(DOWN, DOWN, DOWN, DOWN, DENIED), a_context())
    assert [report.fault for report in heard.of(ErrorReported)] == [DENIED.fault]


async def test_the_next_attempt_of_the_callers_has_the_jitter_of_its_own_id_and_a_budget_of_its_own() -> None:
    policy = RetryPolicy(initial=4, growth=1, cap=4, budget=4.5, jitter=Jitter.FULL)
    executor, _ = an_executor(policies={"test": policy})
    context = a_context(correlation_id="s1/renew/7")
    assert executor.next_due(context, DOWN) == 4 * share("s1/renew/7", 1)
    steady = RetryPolicy(initial=4, growth=1, cap=4, budget=4.5, jitter=Jitter.NONE)
    assert an_executor(policies={"test": steady})[0].next_due(context, DOWN) == 4


def test_jitter_takes_a_share_of_the_wait_that_depends_on_the_id_and_the_attempt() -> None:
    full = RetryPolicy(backoff=Backoff.LINEAR, initial=5, step=0, jitter=Jitter.FULL)
    equal = RetryPolicy(backoff=Backoff.LINEAR, initial=5, step=0, jitter=Jitter.EQUAL)
    for correlation_id, attempt in (("a", 1), ("b", 1), ("a", 2)):
        part = share(correlation_id, attempt)
        assert delay(full, attempt, correlation_id) == 5 * part
        assert delay(equal, attempt, correlation_id) == 5 * (0.5 + part / 2)
    assert len({delay(full, attempt, name) for attempt in (1, 2) for name in "ab"}) == 4


async def test_the_jitter_of_a_whole_operation_is_of_its_own_id() -> None:
    executor, heard = an_executor(policies={"test": RetryPolicy(initial=4, growth=1, cap=4, jitter=Jitter.FULL)})
    await executor.execute(Operation(DOWN), a_context(correlation_id="mine"))
    assert [told.delay for told in heard.of(RetryScheduled)] == [4 * share("mine", 1)]


# --- time limits ------------------------------------------------------------------------------------------------------


async def test_the_budget_is_for_all_attempts_together() -> None:
    executor, heard = an_executor()
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(Operation(DOWN, 1e6), a_context())
    (over,) = heard.of(OperationOver)
    assert over.elapsed == 60


async def test_the_attempt_after_a_plan_has_a_budget_and_counts_for_the_breaker() -> None:
    plan = RecoveryPlan(steps=(RecoveryStep(name="mend", run=works),))
    breaker = BreakerOptions(failures_in_a_row=2, slow_after=None)
    once = RetryPolicy(backoff=Backoff.NONE, attempts=1, budget=30)
    executor, heard = an_executor(plan=plan, breaker=breaker, policies={"test": once})
    with pytest.raises(OperationTimeoutError):
        await executor.execute(Operation(DOWN, 1e6), a_context())
    assert executor.breakers()["provider"].circuit is Circuit.OPEN
    assert [over.elapsed for over in heard.of(OperationOver)] == [30]


async def test_whoever_waits_for_the_breaker_waits_within_his_budget() -> None:
    executor, _ = an_executor(breaker=BreakerOptions(failures_in_a_row=1, first_break=5))
    operation = Operation(DOWN)
    await executor.execute(operation, a_context())
    assert len(operation.calls) == 2
    assert 5 <= operation.waits[0] <= 6


async def test_dispose_ends_a_wait_and_nothing_is_tried_after_it() -> None:
    executor, _ = an_executor()
    operation = Operation(DOWN)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_outcome(executor, operation))
        await asyncio.sleep(0.5)
        await executor.dispose()
    assert waiting.result() is DOWN
    assert len(operation.calls) == 1


async def _outcome(executor: RecoveryExecutor, operation: Operation) -> object:
    try:
        return await executor.execute(operation, a_context())
    except Exception as error:
        return error


# --- circuits ---------------------------------------------------------------------------------------------------------


async def test_every_field_of_what_is_told_of_a_circuit() -> None:
    executor, heard = an_executor(breaker=BreakerOptions(failures_in_a_row=1, first_break=5))
    await executor.execute(Operation(DOWN), a_context(endpoint="here.invalid"))
    code = DOWN.code
    assert heard.of(CircuitMoved) == [
        CircuitMoved(endpoint="here.invalid", was=Circuit.CLOSED, now=Circuit.OPEN, cause=code, open_for=5),
        CircuitMoved(endpoint="here.invalid", was=Circuit.OPEN, now=Circuit.HALF_OPEN, cause=code, open_for=0),
        CircuitMoved(endpoint="here.invalid", was=Circuit.HALF_OPEN, now=Circuit.CLOSED, cause=code, open_for=0),
    ]


def test_what_an_error_says_of_the_endpoint() -> None:
    permit = Permit(1, 2.0, 3.0)
    assert seen(permit, REFUSED) == Left(permit)
    assert seen(permit, ConfigurationError("no credential")) == Left(permit)
    assert seen(permit, DENIED) == Worked(permit)
    assert seen(permit, DOWN) == Broke(permit, DOWN.code)


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slow down"),
        RateLimitError("slow down", status=429, retry_after=3),
        ProviderUnavailableError("busy", status=429),
        ProviderUnavailableError("overloaded", status=503, retry_after=0),
    ],
)
def test_an_endpoint_that_wants_to_be_left_alone_is_not_asked_early(error: VoicePilotError) -> None:
    permit = Permit(1, 2.0, 3.0)
    assert seen(permit, error) == Broke(permit, error.code, crowded=True)


# --- plans ------------------------------------------------------------------------------------------------------------


async def test_a_plan_says_what_was_tried_and_which_mode_was_entered() -> None:
    async def enter(_: str) -> None: ...

    steps = (RecoveryStep(name="one", run=raises), RecoveryStep(name="two", run=hangs, limit=2))
    plan = RecoveryPlan(steps=steps, fallback=Fallback(mode="degraded", enter=enter))
    assert await run_plan(plan, "s1", LOGGER) == Recovery(fallback="degraded", tried=("one", "two"))


async def test_what_a_plan_calls_and_what_raises_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    step = RecoveryStep(name="one", run=raises, compensate=raises)
    await run_plan(RecoveryPlan(steps=(step,), fallback=Fallback(mode="degraded", enter=raises)), "s1", LOGGER)
    assert [record.getMessage() for record in caplog.records] == [
        "recovery step one raised for session s1",
        "recovery step one left something behind for session s1",
        "fallback mode degraded failed for session s1",
    ]
    assert all(record.exc_info and isinstance(record.exc_info[1], ValueError) for record in caplog.records)


async def test_a_compensation_and_a_fallback_that_hang_are_cut() -> None:
    loop = asyncio.get_running_loop()
    assert await run_step(RecoveryStep(name="one", run=raises, compensate=hangs, limit=3), "s1", LOGGER) is False
    assert loop.time() == 3
    plan = RecoveryPlan(fallback=Fallback(mode="degraded", enter=hangs))
    assert await run_plan(plan, "s1", LOGGER) == Recovery()
    assert loop.time() == 3 + STEP_LIMIT


async def test_a_registrars_plan_is_as_asked_and_a_wrong_name_says_which_field() -> None:
    registrar = RecoveryRegistrar()
    registrar.add_step("mend", works)
    made = registrar.plan("mend", notify_user=False, suppression=5)
    assert (made.notify_user, made.suppression, [step.name for step in made.steps]) == (False, 5, ["mend"])
    for act, field in ((lambda: registrar.plan("x"), "step"), (lambda: registrar.add_step("", works), "name")):
        with pytest.raises(ConfigurationError) as caught:
            act()
        assert caught.value.field == field


async def test_a_registrar_logs_where_everything_of_ours_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    registrar = RecoveryRegistrar()
    registrar.add_step("mend", raises)
    assert await registrar.execute("mend", "s1") is False
    assert [record.name for record in caplog.records] == ["voicepilot"]


async def test_every_field_of_what_is_told_of_a_refused_attempt() -> None:
    executor, heard = an_executor(
        breaker=BreakerOptions(failures_in_a_row=1, first_break=5),
        policies={"test": RetryPolicy(backoff=Backoff.NONE, attempts=1)},
    )
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(Operation(DOWN), a_context())
    context = a_context(endpoint=None, correlation_id="mine")
    with pytest.raises(AttemptRefusedError) as caught:
        await executor.execute(Operation(), context)
    wait = 5 * (1 + REFUSAL_SPREAD * share("mine", 0))
    assert heard.of(AttemptRefused) == [
        AttemptRefused(context=context, endpoint="provider", retry_in=wait, cause=DOWN.code)
    ]
    assert caught.value.message == f"provider is given a rest after {DOWN.code}; next attempt in {wait:.1f} s"
    assert [over.fault and over.fault.code for over in heard.of(OperationOver)] == [DOWN.code, caught.value.code]


def test_suppression_may_be_nothing_but_not_less() -> None:
    for good in (0, 0.5):
        assert RecoveryPlan(suppression=good).suppression == good
    with pytest.raises(ConfigurationError) as caught:
        RecoveryPlan(suppression=-0.1)
    assert caught.value.field == "suppression"


def test_a_short_wait_stays_short_where_the_provider_asked_for_nothing() -> None:
    policy = RetryPolicy(initial=0.25, growth=1, jitter=Jitter.NONE)
    assert decide(policy, DOWN.fault, 1, 0, "id") == 0.25
    assert decide(RetryPolicy(initial=4, growth=1, jitter=Jitter.FULL), DOWN.fault, 1, 0, "id") == 4 * share("id", 1)


def test_a_wrong_number_is_called_whole_only_where_it_must_be() -> None:
    with pytest.raises(ConfigurationError, match=r"RetryPolicy\.attempts: must be a whole number, got 'x'"):
        RetryPolicy(attempts="x")  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ConfigurationError, match=r"RetryPolicy\.cap: must be a number, got 'x'"):
        RetryPolicy(cap="x")  # type: ignore[arg-type]  # what is refused


async def test_an_observer_that_raises_is_logged_by_what_it_observed(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> None:
        raise ValueError("mine")

    executor, _ = an_executor()
    executor.subscribe(OperationOver, broken)
    await executor.execute(Operation(), a_context())
    assert [record.getMessage() for record in caplog.records] == ["a recovery observer of OperationOver raised"]
