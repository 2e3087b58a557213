from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest

from tests.recovery.cast import DENIED, DOWN, QUICK, Listener, Operation, a_context
from voicepilot.errors import ConfigurationError, ProviderUnavailableError
from voicepilot.ports import OperationContext
from voicepilot.recovery import (
    BreakerOptions,
    ErrorReported,
    OperationOver,
    RecoveryExecutor,
    RecoveryPlan,
    RecoveryRegistrar,
)

NEVER = BreakerOptions(failures_in_a_row=None, minimum_throughput=1_000_000, slow_after=None)


class Remedies(RecoveryRegistrar):
    """A registrar whose steps note that they ran."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    def offer(self, name: str, outcome: bool | Exception | float | Callable[[], Awaitable[bool]]) -> None:
        async def run(session_id: str) -> bool:
            self.ran.append(f"{name} {session_id}")
            if isinstance(outcome, Exception):
                raise outcome
            if isinstance(outcome, bool):
                return outcome
            if isinstance(outcome, float):
                await asyncio.sleep(outcome)
                return True
            return await outcome()

        async def undo(session_id: str) -> None:
            self.ran.append(f"undo {name} {session_id}")

        self.add_step(name, run, compensate=undo, limit=5)

    def offer_fallback(self, mode: str, error: Exception | None = None) -> None:
        async def enter(session_id: str) -> None:
            self.ran.append(f"{mode} {session_id}")
            if error:
                raise error

        self.add_fallback(mode, enter)


@pytest.fixture
def remedies() -> Remedies:
    made = Remedies()
    made.offer("works", True)
    made.offer("fails", False)
    made.offer("raises", ValueError("broken"))
    made.offer("hangs", 100.0)
    made.offer_fallback("degraded")
    made.offer_fallback("broken", ValueError("broken"))
    return made


def executor_with(plan: RecoveryPlan) -> tuple[RecoveryExecutor, Listener]:
    executor = RecoveryExecutor(policies={"test": QUICK}, plan=plan, breaker=NEVER)
    return executor, Listener(executor)


async def outcome(executor: RecoveryExecutor, operation: Operation, context: OperationContext | None = None) -> object:
    try:
        return await executor.execute(operation, context or a_context())
    except Exception as error:
        return error


async def test_steps_run_in_order_until_one_works_and_the_operation_once_more(remedies: Remedies) -> None:
    executor, heard = executor_with(remedies.plan("fails", "works", "raises", fallback="degraded"))
    operation = Operation(DENIED)
    assert await outcome(executor, operation) == "done"
    assert remedies.ran == ["fails s1", "undo fails s1", "works s1"]
    assert len(operation.calls) == 2
    (over,) = heard.of(OperationOver)
    assert over.result.value == "recovered"
    assert over.recovery is not None
    assert (over.recovery.step, over.recovery.tried) == ("works", ("fails", "works"))
    assert not heard.of(ErrorReported)


@pytest.mark.parametrize("name", ["fails", "raises", "hangs"])
async def test_a_step_that_does_not_work_is_compensated_and_then_comes_the_fallback(
    remedies: Remedies, name: str
) -> None:
    executor, heard = executor_with(remedies.plan(name, fallback="degraded"))
    assert await outcome(executor, Operation(DENIED)) is DENIED
    assert remedies.ran == [f"{name} s1", f"undo {name} s1", "degraded s1"]
    (reported,) = heard.of(ErrorReported)
    assert (reported.recovery.worked, reported.recovery.fallback) == (False, "degraded")
    assert asyncio.get_running_loop().time() == (5 if name == "hangs" else 0)


async def test_a_compensation_or_fallback_that_raises_is_logged(
    remedies: Remedies, caplog: pytest.LogCaptureFixture
) -> None:
    async def no(_: str) -> bool:
        raise ValueError("broken")

    remedies.add_step("hopeless", no, compensate=no)
    executor, heard = executor_with(remedies.plan("hopeless", fallback="broken"))
    assert await outcome(executor, Operation(DENIED)) is DENIED
    assert heard.of(ErrorReported)[0].recovery.fallback is None
    assert [record.getMessage() for record in caplog.records] == [
        "recovery step hopeless raised for session s1",
        "recovery step hopeless left something behind for session s1",
        "fallback mode broken failed for session s1",
    ]


async def test_what_still_fails_after_the_plan_is_reported_and_has_no_second_plan(remedies: Remedies) -> None:
    executor, heard = executor_with(remedies.plan("works"))
    again = ProviderUnavailableError("after all")
    assert await outcome(executor, Operation(DENIED, again)) is again
    assert remedies.ran == ["works s1"]
    assert heard.of(ErrorReported)[0].recovery.worked
    assert heard.results() == ["failed"]


async def test_the_contexts_plan_comes_first(remedies: Remedies, caplog: pytest.LogCaptureFixture) -> None:
    executor, _ = executor_with(remedies.plan("fails"))
    await outcome(executor, Operation(DENIED), a_context(plan=remedies.plan("works")))
    await outcome(executor, Operation(DENIED), a_context(plan="not a plan"))
    assert remedies.ran == ["works s1", "fails s1", "undo fails s1"]
    assert "must be a RecoveryPlan, not str" in caplog.text


async def test_a_stray_cancellation_in_a_step_is_a_failed_step(remedies: Remedies) -> None:
    async def stray() -> bool:
        raise asyncio.CancelledError

    remedies.offer("stray", stray)
    executor, _ = executor_with(remedies.plan("stray", "works"))
    assert await outcome(executor, Operation(DENIED)) == "done"


async def test_cancelling_stops_the_plan(remedies: Remedies) -> None:
    executor, heard = executor_with(remedies.plan("hangs", "works", fallback="degraded"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await executor.execute(Operation(DENIED), a_context())
    assert remedies.ran == ["hangs s1"]
    assert heard.results() == ["cancelled"]
    assert (await outcome(executor, Operation(DENIED))) == "done"  # neither guard outlives the plan


@pytest.mark.parametrize(
    "context",
    [a_context("end"), a_context("purge"), a_context(session_id=None)],
    ids=["end", "purge", "no session"],
)
async def test_goodbyes_and_operations_of_no_session_have_no_plan(
    remedies: Remedies, context: OperationContext
) -> None:
    executor, heard = executor_with(remedies.plan("works"))
    assert await outcome(executor, Operation(DENIED), context) is DENIED
    assert remedies.ran == []
    assert len(heard.of(ErrorReported)) == 1


async def test_no_plan_is_begun_after_dispose(remedies: Remedies) -> None:
    executor, _ = executor_with(remedies.plan("works"))
    await executor.dispose()
    assert await outcome(executor, Operation(DENIED)) is DENIED
    assert remedies.ran == []


# --- recovery does not re-enter itself ---


async def test_an_operation_inside_a_plan_is_run_once_without_a_plan(remedies: Remedies) -> None:
    inner = Operation(*[DOWN] * 9)

    async def nested() -> bool:
        await executor.execute(inner, a_context("test", "s2"))
        return True

    remedies.offer("nested", nested)
    executor, heard = executor_with(remedies.plan("nested"))
    assert await outcome(executor, Operation(DENIED)) is DENIED
    assert remedies.ran == ["nested s1", "undo nested s1"]
    assert len(inner.calls) == 1
    assert [reported.context.session_id for reported in heard.of(ErrorReported)] == ["s1"]


async def test_a_task_that_a_plan_started_may_recover_when_the_plan_is_over(remedies: Remedies) -> None:
    late: list[object] = []
    async with asyncio.TaskGroup() as group:

        async def later() -> None:
            await asyncio.sleep(10)
            late.append(await outcome(executor, Operation(DENIED), a_context(session_id="s2")))

        async def starts() -> bool:
            group.create_task(later())
            return True

        remedies.offer("starts", starts)
        executor, _ = executor_with(remedies.plan("works"))
        await outcome(executor, Operation(DENIED), a_context(plan=remedies.plan("starts")))
    assert late == ["done"]
    assert remedies.ran == ["starts s1", "works s2"]


async def test_a_step_by_hand_inside_a_plan_does_not_hide_the_plan(remedies: Remedies) -> None:
    found: list[object] = []
    async with asyncio.TaskGroup() as group:

        async def later() -> None:
            await asyncio.sleep(1)  # the step by hand is over, the plan is not
            found.append(await outcome(executor, Operation(DENIED), a_context(session_id="s2")))

        async def by_hand() -> bool:
            group.create_task(later())
            return True

        async def by_plan() -> bool:
            await remedies.execute("by hand", "s1")
            await asyncio.sleep(2)
            return True

        remedies.offer("by hand", by_hand)
        remedies.offer("by plan", by_plan)
        executor, _ = executor_with(remedies.plan("works"))
        await outcome(executor, Operation(DENIED), a_context(plan=remedies.plan("by plan")))
    assert found == [DENIED]


async def test_one_session_has_one_plan_at_a_time_and_others_their_own(remedies: Remedies) -> None:
    async def slow() -> bool:
        await asyncio.sleep(1)
        return True

    remedies.offer("slow", slow)
    executor, _ = executor_with(remedies.plan("slow"))
    context = a_context("renew", attempts_scheduled_by_caller=True)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(executor.gave_up(context, DOWN))
        same = group.create_task(executor.gave_up(context, DOWN))
        other = group.create_task(executor.gave_up(a_context("renew", "s2"), DOWN))
    assert [task.result().worked for task in (first, same, other)] == [True, False, True]
    assert remedies.ran == ["slow s1", "slow s2"]


# --- telling users ---


async def told(executor: RecoveryExecutor, heard: Listener, session_id: str, error: Exception) -> bool:
    await outcome(executor, Operation(error, error, error, error), a_context(session_id=session_id))
    return heard.of(ErrorReported)[-1].notify


async def test_a_user_is_not_told_twice_of_one_thing_within_the_window() -> None:
    executor, heard = executor_with(RecoveryPlan(suppression=30))
    assert await told(executor, heard, "s1", DENIED)
    await asyncio.sleep(29)
    assert not await told(executor, heard, "s1", DENIED)
    await asyncio.sleep(1)
    assert await told(executor, heard, "s1", DENIED)
    assert len(heard.of(ErrorReported)) == 3  # delivered all the same


async def test_one_thing_does_not_keep_a_user_from_hearing_of_another() -> None:
    executor, heard = executor_with(RecoveryPlan(suppression=300))
    assert await told(executor, heard, "s1", DENIED)
    assert await told(executor, heard, "s1", DOWN)
    assert not await told(executor, heard, "s1", DOWN)


@pytest.mark.parametrize(
    ("plan", "expected"), [(RecoveryPlan(suppression=0), True), (RecoveryPlan(notify_user=False), False)]
)
async def test_a_plan_says_whether_and_how_often_users_are_told(plan: RecoveryPlan, expected: bool) -> None:
    executor, heard = executor_with(plan)
    for _ in range(2):
        assert await told(executor, heard, "s1", DENIED) is expected


async def test_windows_that_are_over_are_forgotten() -> None:
    executor, _ = executor_with(RecoveryPlan(suppression=1))
    for i in range(3_000):
        await outcome(executor, Operation(DENIED), a_context(session_id=f"s{i}"))
        await asyncio.sleep(0.01)
    assert len(executor._quiet) <= 1_000


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_a_suppression_that_cannot_be_is_refused_by_name(value: float) -> None:
    with pytest.raises(ConfigurationError, match=r"RecoveryPlan\.suppression"):
        RecoveryPlan(suppression=value)


# --- the registrar ---


async def test_steps_keep_their_order_and_a_name_is_replaced_in_place(remedies: Remedies) -> None:
    assert remedies.steps == ("works", "fails", "raises", "hangs")
    remedies.offer("works", False)
    assert remedies.steps == ("works", "fails", "raises", "hangs")
    assert not await remedies.execute("works", "s1")
    remedies.offer_fallback("degraded")
    assert remedies.fallbacks == ("degraded", "broken")
    remedies.clear()
    assert (list(remedies.steps), list(remedies.fallbacks)) == ([], [])


@pytest.mark.parametrize(("name", "worked"), [("works", True), ("fails", False), ("raises", False)])
async def test_a_step_can_be_run_by_hand(remedies: Remedies, name: str, worked: bool) -> None:
    assert await remedies.execute(name, "s7") is worked
    assert remedies.ran == ([f"{name} s7"] if worked else [f"{name} s7", f"undo {name} s7"])


async def test_a_name_that_nobody_offers_is_refused(remedies: Remedies) -> None:
    with pytest.raises(ConfigurationError, match="nothing: no such recovery step; offered is works, fails"):
        await remedies.execute("nothing", "s1")
    with pytest.raises(ConfigurationError, match="nothing: no such fallback mode; offered is degraded, broken"):
        remedies.plan(fallback="nothing")
    with pytest.raises(ConfigurationError, match="x: no such recovery step; offered is nothing"):
        RecoveryRegistrar().plan("x")
    with pytest.raises(ConfigurationError, match="needs one"):
        remedies.offer("", True)


def test_a_plan_holds_only_what_is_named(remedies: Remedies) -> None:
    plan = remedies.plan(fallback="degraded")
    assert (plan.steps, plan.notify_user, plan.suppression) == ((), True, 60)


async def test_what_is_run_by_hand_starts_no_plan(remedies: Remedies) -> None:
    async def nested() -> bool:
        return await outcome(executor, Operation(DENIED)) == "done"

    remedies.offer("nested", nested)
    executor, _ = executor_with(remedies.plan("works"))
    assert not await remedies.execute("nested", "s1")
    assert remedies.ran == ["nested s1", "undo nested s1"]
