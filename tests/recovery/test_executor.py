from __future__ import annotations

import asyncio

import pytest

from tests.recovery.cast import DENIED, DOWN, QUICK, Listener, Operation, a_context
from voicepilot.errors import (
    AttemptRefusedError,
    FaultDomain,
    KeyServiceError,
    OperationTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
)
from voicepilot.ports import OperationContext
from voicepilot.recovery import (
    ENVELOPES,
    AttemptFailed,
    AttemptRefused,
    Backoff,
    BreakerOptions,
    Circuit,
    CircuitMoved,
    ErrorReported,
    OperationOver,
    RecoveryExecutor,
    RetryPolicy,
    RetryScheduled,
)
from voicepilot.recovery.executor import REFUSAL_SPREAD
from voicepilot.testing import VirtualClock

NEVER = BreakerOptions(failures_in_a_row=None, minimum_throughput=1_000_000, slow_after=None)


def an_executor(breaker: BreakerOptions = NEVER, **given: object) -> tuple[RecoveryExecutor, Listener]:
    given.setdefault("policies", {"test": QUICK})
    executor = RecoveryExecutor(breaker=breaker, **given)  # type: ignore[arg-type]
    return executor, Listener(executor)


SCHEDULED = a_context("renew", attempts_scheduled_by_caller=True)


# --- whole operations ---


async def test_it_gives_what_the_operation_gives() -> None:
    executor, heard = an_executor()
    assert await executor.execute(Operation(), a_context()) == "done"
    assert [type(news) for news in heard.news] == [OperationOver]
    assert heard.results() == ["succeeded"]


async def test_it_tries_again_as_the_policy_says_and_tells_of_it() -> None:
    executor, heard = an_executor()
    operation = Operation(DOWN, DOWN)
    await executor.execute(operation, a_context())
    assert operation.waits == [1, 2]
    assert [(f.attempt, f.elapsed, f.budget, f.fault.code) for f in heard.of(AttemptFailed)] == [
        (1, 0, 60, "PROVIDER_UNAVAILABLE"),
        (2, 1, 60, "PROVIDER_UNAVAILABLE"),
    ]
    assert [(r.attempt, r.delay) for r in heard.of(RetryScheduled)] == [(2, 1), (3, 2)]
    (over,) = heard.of(OperationOver)
    assert (over.result, over.attempts, over.elapsed, over.fault) == ("succeeded", 3, 3, None)
    assert not heard.of(ErrorReported)


async def test_what_is_raised_is_the_operations_own_last_error() -> None:
    executor, heard = an_executor()
    last = ProviderUnavailableError("still down", code="MINE", remediation="Mine.", request_id="r4")
    with pytest.raises(ProviderUnavailableError) as caught:
        await executor.execute(Operation(DOWN, DOWN, DOWN, last), a_context())
    assert caught.value is last
    (reported,) = heard.of(ErrorReported)
    assert reported.fault == last.fault
    assert heard.results() == ["failed"]


async def test_what_no_retry_cures_is_tried_once() -> None:
    executor, heard = an_executor()
    operation = Operation(DENIED)
    with pytest.raises(KeyServiceError):
        await executor.execute(operation, a_context())
    assert len(operation.calls) == 1
    assert not heard.of(RetryScheduled)


async def test_the_provider_is_obeyed() -> None:
    executor, _ = an_executor()
    operation = Operation(RateLimitError("slow down", retry_after=20))
    await executor.execute(operation, a_context())
    assert operation.waits == [20]


async def test_no_wait_passes_the_budget() -> None:
    executor, _ = an_executor()
    operation = Operation(RateLimitError("slow down", retry_after=60))
    with pytest.raises(RateLimitError):
        await executor.execute(operation, a_context())
    assert len(operation.calls) == 1


async def test_an_attempt_that_hangs_is_cut_off_at_the_end_of_the_budget() -> None:
    executor, heard = an_executor()
    with pytest.raises(OperationTimeoutError, match="could not test: no answer within 60 s") as caught:
        await executor.execute(Operation(1e6), a_context())
    assert (caught.value.code, caught.value.remediation) == ("OPERATION_FAILED", "Look into it.")
    assert heard.of(OperationOver)[0].elapsed == 60
    operation = Operation(DOWN, 1e6)
    with pytest.raises(ProviderUnavailableError):  # says more than that the time was up
        await executor.execute(operation, a_context())
    assert len(operation.calls) == 2


async def test_an_operations_own_timeout_is_not_taken_for_ours() -> None:
    executor, _ = an_executor()
    own = TimeoutError("mine")
    with pytest.raises(TimeoutError) as caught:
        await executor.execute(Operation(own, own, own, own), a_context())
    assert caught.value is own


@pytest.mark.parametrize("domain", FaultDomain)
async def test_without_a_policy_the_domains_envelope_is_used(domain: FaultDomain) -> None:
    executor, heard = an_executor(policies={})
    operation = Operation(*[DOWN] * 9)
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(operation, a_context(fault_domain=domain))
    assert len(operation.calls) == ENVELOPES[domain].attempts
    assert heard.of(AttemptFailed)[0].budget == ENVELOPES[domain].budget


async def test_a_policy_is_found_by_operation_before_domain() -> None:
    executor, _ = an_executor(policies={"test": QUICK, "session": ENVELOPES[FaultDomain.UI]})
    one, other = Operation(*[DOWN] * 9), Operation(*[DOWN] * 9)
    for operation, name in ((one, "test"), (other, "something")):
        with pytest.raises(ProviderUnavailableError):
            await executor.execute(operation, a_context(name))
    assert (len(one.calls), len(other.calls)) == (4, 2)


# --- the breaker ---

TWICE = BreakerOptions(failures_in_a_row=2, first_break=10, slow_after=None)


async def test_a_refused_attempt_waits_for_the_breaker_and_costs_none() -> None:
    executor, heard = an_executor(TWICE)
    operation = Operation(DOWN, DOWN, DOWN)  # the third is the probe
    assert await executor.execute(operation, a_context()) == "done"
    assert len(operation.calls) == 4
    assert operation.waits[0] == 1
    assert 10 <= operation.waits[1] <= 12 * (1 + REFUSAL_SPREAD)
    assert len(heard.of(AttemptRefused)) == 2
    moved = [move.now.value for move in heard.of(CircuitMoved)]
    assert moved == ["open", "half-open", "open", "half-open", "closed"]


async def test_an_open_breaker_refuses_with_the_reason_and_when_to_come_again() -> None:
    executor, heard = an_executor(TWICE, policies={"test": QUICK, "once": ENVELOPES[FaultDomain.UI]})
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError):
            await executor.execute(Operation(DOWN), SCHEDULED)
    operation = Operation()
    with pytest.raises(AttemptRefusedError, match="provider is given a rest after PROVIDER_UNAVAILABLE") as caught:
        await executor.execute(operation, a_context("once"))  # its budget is the break
    assert 10 <= caught.value.retry_in <= 10 * (1 + REFUSAL_SPREAD)
    assert caught.value.remediation.endswith("Look into it.")
    assert not operation.calls
    assert heard.results() == ["refused"]
    assert not heard.of(ErrorReported)


async def test_what_is_tried_once_does_not_wait_for_the_breaker() -> None:
    executor, _ = an_executor(TWICE, policies={"once": RetryPolicy(backoff=Backoff.NONE)})
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError):
            await executor.execute(Operation(DOWN), SCHEDULED)
    with pytest.raises(AttemptRefusedError):
        await executor.execute(Operation(), a_context("once"))
    assert asyncio.get_running_loop().time() == 0


async def test_a_cancelled_probe_does_not_close_the_circuit() -> None:
    executor, _ = an_executor(TWICE)
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError):
            await executor.execute(Operation(DOWN), SCHEDULED)
    await asyncio.sleep(10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await executor.execute(Operation(100.0), SCHEDULED)
    assert executor.breakers()["provider"].circuit is Circuit.HALF_OPEN
    assert await executor.execute(Operation(), SCHEDULED) == "done"


async def test_one_endpoints_breaker_is_not_anothers() -> None:
    executor, _ = an_executor(TWICE)
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError):
            await executor.execute(Operation(DOWN), a_context("renew", endpoint="a", attempts_scheduled_by_caller=True))
    assert await executor.execute(Operation(), a_context(endpoint="b")) == "done"
    assert {name: breaker.circuit.value for name, breaker in executor.breakers().items()} == {
        "a": "open",
        "b": "closed",
    }


@pytest.mark.parametrize("goodbye", ["end", "purge"])
async def test_what_undoes_is_never_refused(goodbye: str) -> None:
    executor, _ = an_executor(TWICE)
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError):
            await executor.execute(Operation(DOWN), SCHEDULED)
    operation = Operation(DOWN)
    assert await executor.execute(operation, a_context(goodbye)) == "done"
    assert executor.breakers()["provider"].circuit is Circuit.OPEN


@pytest.mark.parametrize(
    ("error", "circuit"),
    [
        (DOWN, Circuit.OPEN),
        (ValueError("a bug"), Circuit.OPEN),
        (DENIED, Circuit.CLOSED),
        (KeyServiceError("no credentials"), Circuit.CLOSED),
        (AttemptRefusedError("another executor's", retry_in=1), Circuit.CLOSED),
    ],
)
async def test_only_what_trying_again_can_cure_is_the_endpoints_fault(error: Exception, circuit: Circuit) -> None:
    executor, _ = an_executor(TWICE)
    for _ in range(5):
        with pytest.raises(type(error)):
            await executor.execute(Operation(error), SCHEDULED)
        if executor.breakers()["provider"].circuit is Circuit.OPEN:
            break
    assert executor.breakers()["provider"].circuit is circuit


async def test_a_refusal_by_the_provider_is_an_answer_and_heals() -> None:
    executor, _ = an_executor(TWICE)
    for error in (DOWN, DENIED, DOWN):
        with pytest.raises(KeyServiceError):
            await executor.execute(Operation(error), SCHEDULED)
    assert executor.breakers()["provider"].circuit is Circuit.CLOSED


async def test_a_crowd_that_was_refused_does_not_come_back_at_one_moment() -> None:
    executor, _ = an_executor(TWICE)
    waits = set()
    for i in range(50):
        context = a_context("renew", f"s{i}", attempts_scheduled_by_caller=True)
        try:
            await executor.execute(Operation(DOWN), context)
        except AttemptRefusedError as refused:
            waits.add(round(refused.retry_in, 3))
        except ProviderUnavailableError:
            pass
    assert len(waits) > 40


async def test_time_is_the_clocks_that_counts_suspension() -> None:
    clock = VirtualClock()
    executor, _ = an_executor(TWICE, clock=clock)
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError):
            await executor.execute(Operation(DOWN), SCHEDULED)
    clock.suspend(10)
    assert await executor.execute(Operation(), SCHEDULED) == "done"


# --- attempts that the caller schedules ---


async def test_the_callers_attempt_is_made_once() -> None:
    executor, heard = an_executor()
    operation = Operation(DOWN)
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(operation, SCHEDULED)
    assert len(operation.calls) == 1
    assert [type(news) for news in heard.news] == [AttemptFailed]
    context = a_context("renew", attempts_scheduled_by_caller=True, attempt=2)
    await executor.execute(operation, context)
    (over,) = heard.of(OperationOver)
    assert (over.result, over.attempts) == ("succeeded", 2)


async def test_giving_up_is_the_one_outcome_and_is_reported() -> None:
    executor, heard = an_executor()
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(Operation(DOWN), SCHEDULED)
    await executor.gave_up(SCHEDULED, DOWN)
    assert [type(news) for news in heard.news] == [AttemptFailed, ErrorReported, OperationOver]
    assert heard.results() == ["failed"]


async def test_giving_up_before_an_open_breaker_reports_nothing_new() -> None:
    executor, heard = an_executor()
    await executor.gave_up(SCHEDULED, AttemptRefusedError("open", retry_in=5))
    assert heard.results() == ["refused"]
    assert not heard.of(ErrorReported)


def test_when_the_next_is_due_is_the_sessions_affair_unless_a_policy_is_set() -> None:
    context = a_context("renew", attempt=2)

    async def ask() -> None:
        assert RecoveryExecutor().next_due(context, DOWN) is None
        executor = RecoveryExecutor(policies={"renew": QUICK})
        assert executor.next_due(context, DOWN) == 2
        assert executor.next_due(context, RateLimitError("x", retry_after=30)) == 30
        assert executor.next_due(context, DENIED) is None

    asyncio.run(ask())


# --- waits end ---


async def test_dispose_ends_the_waits() -> None:
    executor, heard = an_executor()
    operation = Operation(*[DOWN] * 9)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_outcome(executor, operation, a_context()))
        await asyncio.sleep(1.5)
        assert executor.is_initialized
        await executor.dispose()
        await executor.dispose()
    assert task.result() is DOWN
    assert asyncio.get_running_loop().time() == 1.5
    assert heard.results() == ["failed"]
    del heard.news[:]
    after = Operation(DOWN)  # what is to be done is still done, once
    assert await _outcome(executor, after, a_context()) is DOWN
    assert len(after.calls) == 1
    assert not heard.of(RetryScheduled)
    assert not executor.is_initialized


async def _outcome(executor: RecoveryExecutor, operation: Operation, context: OperationContext) -> object:
    try:
        return await executor.execute(operation, context)
    except Exception as error:
        return error


@pytest.mark.parametrize("script", [[DOWN], [100.0]])
async def test_cancelling_ends_wait_and_attempt(script: list[Exception | float]) -> None:
    executor, heard = an_executor()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await executor.execute(Operation(*script), a_context())
    assert heard.results() == ["cancelled"]


async def test_cancelling_the_callers_attempt_is_its_outcome() -> None:
    executor, heard = an_executor()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await executor.execute(Operation(100.0), SCHEDULED)
    assert heard.results() == ["cancelled"]


async def test_it_can_be_used_as_a_context() -> None:
    async with RecoveryExecutor() as executor:
        await executor.initialize()
        assert await executor.execute(Operation(), a_context()) == "done"
    assert not executor.is_initialized
