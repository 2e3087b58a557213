"""Section 11 of the original's defects: retries, breaker, plans, notification."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle

import pytest
from tests.recovery.cast import DENIED, DOWN, QUICK, Listener, Operation, a_context
from tests.support import a_world

from voicepilot.errors import (
    AttemptRefusedError,
    AuthenticationError,
    ConfigurationError,
    FaultDomain,
    KeyServiceError,
    MissingCredentialsError,
    ProviderUnavailableError,
)
from voicepilot.recovery import (
    ENVELOPES,
    AttemptFailed,
    Backoff,
    BreakerOptions,
    Circuit,
    ErrorReported,
    Jitter,
    OperationOver,
    RecoveryExecutor,
    RecoveryPlan,
    RecoveryRegistrar,
    RetryPolicy,
    RetryScheduled,
)
from voicepilot.recovery.breaker import step
from voicepilot.recovery.breaker_state import Asked, Breaker, Broke, Permit, Worked
from voicepilot.recovery.policy import GUARDRAILS, delay
from voicepilot.testing import FakeKeyService, VirtualClock

NEVER = BreakerOptions(failures_in_a_row=None, minimum_throughput=1_000_000, slow_after=None)
SCHEDULED = a_context("renew", attempts_scheduled_by_caller=True)


async def attempt(executor: RecoveryExecutor, operation: Operation, endpoint: str = "e", session: str = "s") -> object:
    context = a_context("renew", session, endpoint=endpoint, attempts_scheduled_by_caller=True)
    try:
        return await executor.execute(operation, context)
    except Exception as error:
        return error


@pytest.mark.defect(142)
@pytest.mark.parametrize("jitter", Jitter)
def test_jitter_stays_within_the_cap(jitter: Jitter) -> None:
    policy = RetryPolicy(initial=5, growth=5, cap=8, attempts=8, jitter=jitter)
    waits = [delay(policy, n, f"session-{i}") for n in range(1, 9) for i in range(200)]
    assert max(waits) <= 8


@pytest.mark.defect(145)
@pytest.mark.parametrize("domain", FaultDomain)
def test_every_default_is_within_the_guardrails(domain: FaultDomain) -> None:
    policy = ENVELOPES[domain]
    for name, bounds in GUARDRAILS.items():
        assert bounds.low <= getattr(policy, name) <= bounds.high
    assert ENVELOPES[FaultDomain.AUDIO].step == 0.75  # seconds more each time, which is no multiplier


@pytest.mark.defect(146)
async def test_no_setting_means_that_an_operation_is_never_run() -> None:
    with pytest.raises(ConfigurationError, match="attempts"):
        RetryPolicy(attempts=0)
    for backoff in Backoff:
        operation = Operation()
        executor = RecoveryExecutor(policies={"test": RetryPolicy(backoff=backoff, attempts=1, budget=1)})
        assert await executor.execute(operation, a_context()) == "done"
        assert len(operation.calls) == 1


@pytest.mark.defect(148)
@pytest.mark.parametrize("attempts", [2, 3, 4, 8])
async def test_the_attempts_that_were_promised_are_made_and_the_real_cause_is_raised(attempts: int) -> None:
    executor = RecoveryExecutor(policies={"test": RetryPolicy(attempts=attempts, budget=120)})
    last = ProviderUnavailableError("the real cause")
    operation = Operation(*[DOWN] * (attempts - 1), last)
    with pytest.raises(KeyServiceError) as caught:
        await executor.execute(operation, a_context())
    assert caught.value is last
    assert len(operation.calls) == attempts


@pytest.mark.defect(148)
async def test_a_breaker_that_opens_meanwhile_does_not_hide_the_cause() -> None:
    breaker = BreakerOptions(failures_in_a_row=2, first_break=100)
    executor = RecoveryExecutor(policies={"test": RetryPolicy(cool_down=100, budget=60)}, breaker=breaker)
    operation = Operation(*[DOWN] * 9)
    began = asyncio.get_running_loop().time()
    with pytest.raises(ProviderUnavailableError) as caught:
        await executor.execute(operation, a_context())
    assert caught.value is DOWN
    assert asyncio.get_running_loop().time() - began < 3  # and nobody waits for what will be refused


@pytest.mark.defect(149)
async def test_a_failing_endpoint_blocks_no_other_of_its_domain() -> None:
    executor = RecoveryExecutor()
    for _ in range(5):
        await attempt(executor, Operation(DOWN), "a")
    assert isinstance(await attempt(executor, Operation(), "a"), AttemptRefusedError)
    assert await attempt(executor, Operation(), "b") == "done"


@pytest.mark.defect(149)
async def test_a_session_that_the_provider_refuses_blocks_no_other() -> None:
    executor = RecoveryExecutor()
    for _ in range(50):
        await attempt(executor, Operation(DENIED), session="a")
    assert await attempt(executor, Operation(), session="b") == "done"


@pytest.mark.defect(149)
async def test_policy_none_does_not_open_the_breaker_at_the_first_failure() -> None:
    executor = RecoveryExecutor(policies={"test": RetryPolicy(backoff=Backoff.NONE)})
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(Operation(DOWN), a_context())
    assert await executor.execute(Operation(), a_context()) == "done"


@pytest.mark.defect(150)
async def test_a_jump_of_the_wall_clock_moves_no_breaker() -> None:
    clock = VirtualClock()
    executor = RecoveryExecutor(clock=clock, breaker=BreakerOptions(failures_in_a_row=1))
    await attempt(executor, Operation(DOWN))
    for offset in (86_400, -86_400):
        clock.set_wall(offset)
        refused = await attempt(executor, Operation())
        assert isinstance(refused, AttemptRefusedError)
        assert 5 <= refused.retry_in <= 6.25
    await asyncio.sleep(5)
    assert await attempt(executor, Operation()) == "done"


@pytest.mark.defect(151)
async def test_half_open_admits_exactly_as_many_probes_as_are_allowed() -> None:
    executor = RecoveryExecutor(breaker=BreakerOptions(failures_in_a_row=1, probes=2))
    await attempt(executor, Operation(DOWN))
    await asyncio.sleep(5)
    operations = [Operation(1.0) for _ in range(30)]
    async with asyncio.TaskGroup() as group:
        for operation in operations:
            group.create_task(attempt(executor, operation))
    assert sum(len(operation.calls) for operation in operations) == 2
    assert executor.breakers()["e"].circuit is Circuit.CLOSED


@pytest.mark.defect(151)
def test_a_success_takes_the_breaker_from_nobody() -> None:
    """Whoever read the state before still holds what he read, and his late result changes nothing."""
    breaker = Breaker(options=BreakerOptions(failures_in_a_row=1))
    breaker, early = step(breaker, Asked(), 0)
    breaker, verdict = step(breaker, Asked(), 0)
    assert isinstance(early, Permit)
    assert isinstance(verdict, Permit)
    broken, _ = step(breaker, Broke(verdict), 1)
    half_open, probe = step(broken, Asked(), 10)
    assert isinstance(probe, Permit)
    closed, _ = step(half_open, Worked(probe), 11)
    assert [b.circuit for b in (broken, half_open, closed)] == [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED]
    assert step(closed, Broke(early), 12) == (closed, None)


@pytest.mark.defect(152)
async def test_an_observer_that_raises_after_success_repeats_nothing() -> None:
    executor = RecoveryExecutor(policies={"test": QUICK})

    def broken(_: object) -> None:
        raise RuntimeError("metrics are down")

    executor.subscribe(OperationOver, broken)
    operation = Operation()
    assert await executor.execute(operation, a_context()) == "done"
    assert await executor.execute(operation, SCHEDULED) == "done"
    assert len(operation.calls) == 2


@pytest.mark.defect(153)
@pytest.mark.parametrize("error", [AuthenticationError("401", status=401), MissingCredentialsError("none")])
async def test_what_cannot_be_cured_is_not_tried_again(error: KeyServiceError) -> None:
    executor, operation = RecoveryExecutor(policies={"test": QUICK}), Operation(error)
    with pytest.raises(KeyServiceError):
        await executor.execute(operation, a_context())
    assert len(operation.calls) == 1


@pytest.mark.defect(153)
async def test_no_layer_wraps_another() -> None:
    async with a_world(max_retry_attempts=2) as world:
        world.manager.set_recovery_executor(RecoveryExecutor(clock=world.clock))
        session_id = (await world.manager.start_session()).session_id
        world.keys.fail(DOWN, 3)
        assert not (await world.manager.renew_session(session_id)).success
        assert len(world.keys.mints) == 1 + 3


@pytest.mark.defect(154)
async def test_an_end_does_not_wait_for_a_retry() -> None:
    class Stubborn(FakeKeyService):
        async def end_session(self, session_id: str) -> None:
            raise DOWN

    async with a_world(keys=Stubborn()) as world:
        world.manager.set_recovery_executor(RecoveryExecutor(clock=world.clock))
        session_id = (await world.manager.start_session()).session_id
        began = world.clock.now()
        await world.manager.end_session(session_id)
        assert world.clock.now() - began <= 2


@pytest.mark.defect(154)
async def test_a_wait_ends_at_dispose() -> None:
    executor = RecoveryExecutor(policies={"test": RetryPolicy(initial=5, attempts=8, jitter=Jitter.NONE)})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(attempt_whole(executor))
        await asyncio.sleep(1)
        await executor.dispose()
    assert task.result() is DOWN
    assert asyncio.get_running_loop().time() == 1


async def attempt_whole(executor: RecoveryExecutor) -> object:
    try:
        return await executor.execute(Operation(*[DOWN] * 9), a_context())
    except Exception as error:
        return error


@pytest.mark.defect(157)
async def test_users_hear_nothing_of_what_was_repaired() -> None:
    executor = RecoveryExecutor(policies={"test": QUICK})
    heard = Listener(executor)
    await executor.execute(Operation(DOWN, DOWN), a_context())
    assert len(heard.of(AttemptFailed)) == 2
    assert heard.of(ErrorReported) == []


@pytest.mark.defect(158)
@pytest.mark.parametrize(
    ("script", "result"), [([], "succeeded"), ([DOWN], "succeeded"), ([DENIED], "recovered"), ([DENIED] * 2, "failed")]
)
async def test_each_operation_has_one_outcome(script: list[Exception], result: str) -> None:
    executor = RecoveryExecutor(policies={"test": QUICK}, plan=a_plan([]))
    heard = Listener(executor)
    with contextlib.suppress(KeyServiceError):
        await executor.execute(Operation(*script), a_context())
    assert heard.results() == [result]


def a_plan(ran: list[str], *outcomes: bool | Exception) -> RecoveryPlan:
    """Steps that do as told (by default one that works), then a fallback."""
    registrar = RecoveryRegistrar()
    for i, outcome in enumerate(outcomes or (True,)):
        _offer(registrar, ran, f"step {i}", outcome)

    async def enter(_: str) -> None:
        ran.append("fallback")

    registrar.add_fallback("degraded", enter)
    return registrar.plan(*registrar.steps, fallback="degraded")


def _offer(registrar: RecoveryRegistrar, ran: list[str], name: str, outcome: bool | Exception) -> None:
    async def run(_: str) -> bool:
        ran.append(name)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def undo(_: str) -> None:
        ran.append(f"undo {name}")

    registrar.add_step(name, run, compensate=undo)


@pytest.mark.defect(160)
async def test_a_step_that_raises_is_compensated_and_success_stops_the_plan() -> None:
    ran: list[str] = []
    executor = RecoveryExecutor(plan=a_plan(ran, ValueError("broken"), True, True))
    operation = Operation(DENIED)
    assert await executor.execute(operation, a_context()) == "done"
    assert ran == ["step 0", "undo step 0", "step 1"]  # no third step, no fallback
    assert len(operation.calls) == 2  # and the operation is run again


@pytest.mark.defect(160)
async def test_a_call_that_an_open_breaker_rejects_runs_no_plan() -> None:
    ran: list[str] = []
    breaker = BreakerOptions(failures_in_a_row=1, first_break=100)
    executor = RecoveryExecutor(plan=a_plan(ran, False), breaker=breaker, policies={"test": RetryPolicy(cool_down=100)})
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(Operation(DOWN), a_context())
    assert ran == ["step 0", "undo step 0", "fallback"]
    for _ in range(20):
        with pytest.raises(AttemptRefusedError):
            await executor.execute(Operation(), a_context())
        await executor.gave_up(SCHEDULED, AttemptRefusedError("open", retry_in=1))
    assert ran == ["step 0", "undo step 0", "fallback"]


@pytest.mark.defect(161)
async def test_recovery_does_not_re_enter_itself() -> None:
    """The wiring that ran away: a remedy revokes the key, which ends the session, which fails the same way."""
    posts: list[float] = []
    executor = RecoveryExecutor(policies={"revoke": QUICK}, breaker=NEVER)

    async def post() -> None:
        posts.append(asyncio.get_running_loop().time())
        raise DOWN

    async def revoke(session_id: str) -> bool:
        await executor.execute(post, a_context("revoke", session_id, plan=plan))
        return True

    registrar = RecoveryRegistrar()
    registrar.add_step("REVOKE", revoke)
    plan = registrar.plan("REVOKE")
    heard = Listener(executor)
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(post, a_context("revoke", plan=plan))
    assert len(posts) == 4 + 1  # the operation's own attempts, and one inside the plan
    assert len(heard.of(RetryScheduled)) == 3
    assert len(heard.of(ErrorReported)) == 1


@pytest.mark.defect(161)
async def test_a_remedy_that_ends_the_session_does_not_come_back_to_it() -> None:
    async with a_world() as world:
        registrar = RecoveryRegistrar()
        world.manager.register_recovery_actions(registrar)
        plan = registrar.plan("SESSION_FORCE_TERMINATION", fallback="degraded-features")
        executor = RecoveryExecutor(clock=world.clock)
        heard = Listener(executor)
        world.manager.set_recovery_executor(executor, plan)
        session_id = (await world.manager.start_session()).session_id
        recovery = await executor.gave_up(a_context("renew", session_id, plan=plan), DOWN)
        assert recovery.step == "SESSION_FORCE_TERMINATION"
        assert world.recorder.types(session_id).count("session-ended") == 1
        assert [over.context.operation for over in heard.of(OperationOver)] == ["start", "end", "purge", "renew"]


@pytest.mark.defect(164)
async def test_one_sessions_notice_does_not_suppress_anothers() -> None:
    executor = RecoveryExecutor()
    heard = Listener(executor)
    for session_id in ("a", "b", "a"):
        with pytest.raises(KeyServiceError):
            await executor.execute(Operation(DENIED), a_context(session_id=session_id))
    assert [(told.context.session_id, told.notify) for told in heard.of(ErrorReported)] == [
        ("a", True),
        ("b", True),
        ("a", False),
    ]


@pytest.mark.defect(164)
async def test_an_observer_that_wants_to_hear_once_hears_once() -> None:
    executor = RecoveryExecutor(policies={"test": QUICK})
    heard: list[object] = []

    def once(news: OperationOver) -> None:
        subscription.dispose()
        heard.append(news)

    subscription = executor.subscribe(OperationOver, once)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(executor.execute(Operation(1.0), a_context()))
    assert len(heard) == 1


@pytest.mark.defect(166)
async def test_what_hangs_on_an_error_is_neither_told_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    error = ProviderUnavailableError("down")
    around: dict[str, object] = {"apiKey": "sk-canary-166"}
    around["self"] = around
    error.metadata = around  # type: ignore[attr-defined]
    executor = RecoveryExecutor(policies={"test": QUICK}, plan=a_plan([], False))
    heard = Listener(executor)
    with pytest.raises(ProviderUnavailableError):
        await executor.execute(Operation(*[error] * 4), a_context())
    assert len(heard.news) > 4
    for news in heard.news:
        assert b"sk-canary" not in pickle.dumps(news)
        assert "sk-canary" not in repr(news)
    assert "sk-canary" not in caplog.text
