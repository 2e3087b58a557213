"""The parts a manager works with: initialisation, recovery, remedies, the host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.stories.cast import FakeExecutor, FakeHost, FakeRegistrar, phase, seconds_since
from tests.support import Defaults, World, a_world

from voicepilot import (
    ConfigurationError,
    ConnectionStatus,
    FaultDomain,
    NotInitializedError,
    Phase,
    ProviderUnavailableError,
    PurgeOrder,
    PurgeReceipt,
    SessionConfig,
    SessionManager,
    SessionTimerManager,
)
from voicepilot.errors import AttemptRefusedError
from voicepilot.testing import FakeKeyService, FakePurger, VirtualClock

DOWN = ProviderUnavailableError("down")
DEGRADED = "voicepilot.session.degraded"


async def started(world: World) -> str:
    return (await world.manager.start_session()).session_id


def a_manager(**given: Any) -> SessionManager:
    return SessionManager(given.pop("keys", None) or FakeKeyService(), clock=VirtualClock(), **given)


# --- initialisation ---


class ColdDefaults(Defaults):
    is_initialized = False


@pytest.mark.seed("API-initialize", "IMP-001", "USE-001", "TRB-initialization-error")
@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"keys": FakeKeyService(initialized=False)}, "EphemeralKeyService"),
        ({"configuration": ColdDefaults(3, SessionConfig())}, "ConfigurationManager"),
    ],
)
async def test_initialize_names_the_collaborator_that_must_be_initialised_first(
    given: dict[str, Any], name: str
) -> None:
    manager = a_manager(**given)
    with pytest.raises(NotInitializedError, match=f"{name} must be initialized before SessionManager") as refused:
        await manager.initialize()
    assert refused.value.collaborator == name
    assert refused.value.remediation == f"Call `await {name}.initialize()` (or use `async with`) before this."
    assert not manager.is_initialized


@pytest.mark.seed("API-initialize", "TRB-initialization-error")
async def test_initialize_can_be_tried_again_when_the_collaborator_is_ready() -> None:
    keys = FakeKeyService(initialized=False)
    manager = a_manager(keys=keys)
    with pytest.raises(NotInitializedError):
        await manager.initialize()
    await keys.initialize()
    async with manager:
        assert (await manager.start_session()).state is Phase.ACTIVE


@pytest.mark.seed("API-initialize")
async def test_initialize_may_be_called_again_and_again() -> None:
    async with a_world() as world:
        await started(world)
        await world.manager.initialize()
        assert len(world.manager.get_all_sessions()) == 1


@pytest.mark.seed("API-initialize")
async def test_whoever_initialises_second_may_start_as_soon_as_it_returns() -> None:
    manager = a_manager()

    async def use() -> Phase:
        await manager.initialize()
        return (await manager.start_session()).state

    assert set(await asyncio.gather(use(), use())) == {Phase.ACTIVE}
    await manager.dispose()


@pytest.mark.seed("API-initialize")
async def test_a_disposed_manager_is_not_started_again() -> None:
    manager = a_manager()
    await manager.initialize()
    await manager.dispose()
    with pytest.raises(NotInitializedError, match="was disposed: make a new one"):
        await manager.initialize()


OPERATIONS: dict[str, Callable[[SessionManager], Any]] = {
    "start_session": lambda manager: manager.start_session(),
    "end_session": lambda manager: manager.end_session(),
    "renew_session": lambda manager: manager.renew_session("s"),
    "pause_session": lambda manager: manager.pause_session("s"),
    "resume_session": lambda manager: manager.resume_session("s"),
    "update_session_config": lambda manager: manager.update_session_config("s", {}),
    "test_session_health": lambda manager: manager.test_session_health("s"),
    "reset_inactivity_timer": lambda manager: manager.reset_inactivity_timer("s"),
    "get_session_info": lambda manager: manager.get_session_info("s"),
    "get_current_session": lambda manager: manager.get_current_session(),
    "get_all_sessions": lambda manager: manager.get_all_sessions(),
    "is_session_active": lambda manager: manager.is_session_active(),
    "get_session_config": lambda manager: manager.get_session_config("s"),
    "get_session_diagnostics": lambda manager: manager.get_session_diagnostics("s"),
    "credential": lambda manager: manager.credential("s"),
    "credential_provider": lambda manager: manager.credential_provider("s")(),
    "session": lambda manager: manager.session().__aenter__(),
    "report_connection": lambda manager: manager.report_connection("s", ConnectionStatus.FAILED),
    "report_key_rejected": lambda manager: manager.report_key_rejected("s", DOWN.fault),
}


@pytest.mark.seed("API-initialize", "USE-001", "TRB-initialization-error")
@pytest.mark.parametrize("name", OPERATIONS)
async def test_every_operation_before_initialize_says_what_to_do(name: str) -> None:
    async def called(manager: SessionManager) -> None:
        answer = OPERATIONS[name](manager)
        if isinstance(answer, Awaitable):
            await answer

    with pytest.raises(NotInitializedError, match="SessionManager is not initialized") as refused:
        await called(a_manager())
    assert refused.value.collaborator == "SessionManager"
    assert "await SessionManager.initialize()" in refused.value.remediation


@pytest.mark.seed("API-dispose")
async def test_dispose_before_initialize_is_nothing_to_do() -> None:
    manager = a_manager()
    await manager.dispose()
    await manager.dispose()
    assert not manager.is_initialized


@pytest.mark.seed("ARC-002", "TST-doubles", "QUA-005")
async def test_every_collaborator_can_be_given_to_the_constructor() -> None:
    keys, clock, host, purger, executor = FakeKeyService(), VirtualClock(), FakeHost(), FakePurger(), FakeExecutor()
    timers = SessionTimerManager(clock)
    defaults = Defaults(7, SessionConfig(heartbeat_interval_seconds=5))
    manager = SessionManager(
        keys,
        timers,
        defaults,
        privacy_controller=purger,
        recovery_executor=executor,
        recovery_plan="a plan",
        host=host,
        clock=clock,
    )
    async with manager:
        session = await manager.start_session()
        assert session.config == defaults.session_config()
        assert timers.timer_status(session.session_id) is not None
        assert [context.operation for context in executor.contexts] == ["start"]
    assert [order.session_id for order in purger.orders] == [session.session_id]


@pytest.mark.seed("ARC-002")
async def test_a_timer_manager_serves_one_manager() -> None:
    timers = SessionTimerManager()
    first, second = a_manager(timer_manager=timers), a_manager(timer_manager=timers)
    async with first:
        with pytest.raises(ConfigurationError, match="serves another SessionManager: give each its own"):
            await second.initialize()
        await second.dispose()


@pytest.mark.seed("OVR-001", "ARC-001")
async def test_two_managers_share_nothing() -> None:
    async with a_world(limit=1) as one, a_world(limit=1) as other:
        first = await started(one)
        await started(other)
        await one.manager.dispose()
        assert other.manager.is_session_active()
        assert other.manager.get_session_info(first) is None
        assert "session-ended" not in other.recorder.types()


# --- recovery, at its port ---


@pytest.mark.seed("API-setRecoveryExecutor", "ARC-001", "ARC-003", "IMP-001", "IMP-003", "Recovery-1")
async def test_every_attempt_of_start_and_renewal_passes_the_executor_with_its_metadata() -> None:
    async with a_world() as world:
        executor = FakeExecutor()
        world.manager.set_recovery_executor(executor, "a plan")
        world.keys.fail(DOWN)
        session_id = await started(world)
        world.keys.fail(DOWN)
        await world.manager.renew_session(session_id)
        assert [(c.operation, c.attempt, c.code) for c in executor.contexts] == [
            ("start", 1, "SESSION_CREDENTIAL_ACQUISITION_FAILED"),
            ("start", 2, "SESSION_CREDENTIAL_ACQUISITION_FAILED"),
            ("renew", 1, "SESSION_RENEWAL_FAILED"),
            ("renew", 2, "SESSION_RENEWAL_FAILED"),
        ]
        for context in executor.contexts:
            assert context.session_id == session_id
            assert context.fault_domain is FaultDomain.SESSION
            assert (context.severity, context.user_impact) == ("error", "degraded")
            assert context.attempts_scheduled_by_caller
            assert context.remediation == "Check the provider's credentials and the network."
        assert len({context.correlation_id for context in executor.contexts}) == 4


@pytest.mark.seed("API-setRecoveryExecutor", "Recovery-1")
async def test_the_plan_reaches_the_executor() -> None:
    async with a_world() as world:
        executor, plan = FakeExecutor(), object()
        world.manager.set_recovery_executor(executor, plan)
        await started(world)
        assert executor.contexts[0].plan is plan


@pytest.mark.seed("API-setRecoveryExecutor", "IMP-003", "Recovery-2")
async def test_a_refused_attempt_costs_none_and_the_executor_says_when_the_next_is_due() -> None:
    async with a_world(max_retry_attempts=0, key_life_seconds=7_200) as world:
        executor = FakeExecutor()
        session_id = await started(world)
        world.manager.set_recovery_executor(executor)
        executor.refusal = AttemptRefusedError("the breaker is open", retry_in=20)
        began = world.clock.now()
        renewal = asyncio.ensure_future(world.manager.renew_session(session_id))
        await asyncio.sleep(50)
        executor.refusal = None
        result = await renewal
        assert (result.success, result.attempts) == (True, 1)
        assert seconds_since(world, began) == 60
        assert len(executor.contexts) == 4
        assert world.recorder.of("renewal-failed") == []


@pytest.mark.seed("API-setRecoveryExecutor", "Recovery-3")
async def test_closing_and_purging_are_executed_by_it_whole() -> None:
    async with a_world() as world:
        executor = FakeExecutor()
        session_id = await started(world)
        world.manager.set_recovery_executor(executor)
        await world.manager.end_session(session_id)
        assert [(context.operation, context.session_id) for context in executor.contexts] == [
            ("end", session_id),
            ("purge", session_id),
        ]
        assert not any(context.attempts_scheduled_by_caller for context in executor.contexts)
        assert world.keys.ended == [session_id]
        assert len(world.purger.orders) == 1


@pytest.mark.seed("IMP-006", "API-registerRecoveryActions", "QUA-005", "Recovery-4")
async def test_force_termination_ends_the_session_that_failed_and_no_other() -> None:
    async with a_world() as world:
        registrar = FakeRegistrar()
        world.manager.register_recovery_actions(registrar)
        assert list(registrar.steps) == ["SESSION_FORCE_TERMINATION", "SESSION_PURGE_PRIVACY"]
        first, second = await started(world), await started(world)
        assert await registrar.steps["SESSION_FORCE_TERMINATION"](first)
        assert phase(world, second) is Phase.ACTIVE
        (ended,) = world.recorder.of("session-ended")
        assert (ended.session_id, ended.reason) == (first, "force-termination")  # type: ignore[attr-defined]


@pytest.mark.seed("TRB-stale-timers", "API-registerRecoveryActions")
async def test_force_termination_resets_what_stale_timers_leave_behind() -> None:
    async with a_world(limit=1) as world:
        registrar = FakeRegistrar()
        world.manager.register_recovery_actions(registrar)
        session_id = await started(world)
        world.manager._timers._heap.clear()
        await registrar.steps["SESSION_FORCE_TERMINATION"](session_id)
        fresh = await started(world)
        timers = world.manager.get_session_diagnostics(fresh).timers
        assert timers.renewal.is_active
        await asyncio.sleep(301)
        assert phase(world, fresh) is None


class HalfPurger(FakePurger):
    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        return PurgeReceipt(session_id=order.session_id, reason=order.reason, cleared=1, failed=1)


@pytest.mark.seed("IMP-006", "TRB-privacy-purge-failures", "API-registerRecoveryActions", "Recovery-4")
async def test_a_purge_can_be_tried_again_by_hand_and_says_whether_it_helped() -> None:
    async with a_world() as world:
        registrar = FakeRegistrar()
        world.manager.register_recovery_actions(registrar)
        world.manager.set_privacy_controller(HalfPurger())
        session_id = await started(world)
        await world.manager.end_session(session_id)
        assert not await registrar.steps["SESSION_PURGE_PRIVACY"](session_id)
        mended = FakePurger()
        world.manager.set_privacy_controller(mended)
        assert await registrar.steps["SESSION_PURGE_PRIVACY"](session_id)
        assert mended.orders == [PurgeOrder(session_id=session_id, reason="recovery")]


def a_world_with(host: FakeHost, world: World) -> FakeRegistrar:
    world.performer.recovery.host = host
    registrar = FakeRegistrar()
    world.manager.register_recovery_actions(registrar)
    return registrar


@pytest.mark.seed("OVR-003", "IMP-006", "QUA-003", "Recovery-5")
async def test_degraded_mode_is_shown_to_the_host_and_cleared_when_the_session_is_well() -> None:
    async with a_world(max_retry_attempts=0) as world:
        host = FakeHost()
        registrar = a_world_with(host, world)
        session_id = await started(world)
        world.keys.fail(DOWN)
        await world.manager.renew_session(session_id)
        await registrar.fallbacks["degraded-features"](session_id)
        assert host.told == [(DEGRADED, True)]
        await world.manager.renew_session(session_id)
        assert host.told == [(DEGRADED, True), (DEGRADED, False)]


@pytest.mark.seed("IMP-006", "Recovery-5")
async def test_degraded_mode_goes_with_the_session_that_was_in_it() -> None:
    async with a_world(max_retry_attempts=0) as world:
        host = FakeHost()
        registrar = a_world_with(host, world)
        first, second = await started(world), await started(world)
        world.keys.fail(DOWN, count=2)
        for session_id in (first, second):
            await world.manager.renew_session(session_id)
            await registrar.fallbacks["degraded-features"](session_id)
        await world.manager.end_session(first)
        assert (DEGRADED, False) not in host.told
        await world.manager.end_session(second)
        assert host.told[-1] == (DEGRADED, False)


@pytest.mark.seed("OVR-003", "Recovery-5")
async def test_a_host_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeHost):
        def set_context(self, key: str, value: object) -> None:
            raise ValueError("mine")

    async with a_world(max_retry_attempts=0) as world:
        registrar = a_world_with(Broken(), world)
        session_id = await started(world)
        world.keys.fail(DOWN)
        await world.manager.renew_session(session_id)
        await registrar.fallbacks["degraded-features"](session_id)
        assert f"the host refused {DEGRADED}" in caplog.text
        assert phase(world, session_id) is Phase.ACTIVE
