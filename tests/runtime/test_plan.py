"""A round that is over without a key runs the recovery plan; degraded mode is entered, shown, told, and left."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import World, a_world

from voicepilot import (
    AuthenticationError,
    DegradedChanged,
    Phase,
    ProviderUnavailableError,
    RecoveryExecutor,
    RecoveryRegistrar,
    SessionStartError,
)
from voicepilot.recovery import Backoff, Jitter, RetryPolicy


class Host:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def set_context(self, key: str, value: object) -> None:
        self.told.append((key, value))


def with_plan(world: World, **executor: RetryPolicy) -> tuple[Host, list[str]]:
    """Give the world's manager an executor and a plan with one step that only looks, then the fallback."""
    host, seen = Host(), list[str]()
    registrar = RecoveryRegistrar()
    world.manager.register_recovery_actions(registrar)

    async def look(session_id: str) -> bool:
        info = world.manager.get_session_info(session_id)
        timers = world.manager.get_session_diagnostics(session_id).timers
        seen.append(f"{info.state if info else None} {timers.inactivity.is_paused}")
        return False

    registrar.add_step("LOOK", look)
    world.performer.recovery.host = host
    world.manager.set_recovery_executor(
        RecoveryExecutor(clock=world.clock, policies=executor), registrar.plan("LOOK", fallback="degraded-features")
    )
    return host, seen


async def test_a_failed_round_runs_the_plan_and_health_leaves_degraded_mode() -> None:
    async with a_world(max_retry_attempts=0) as world:
        host, seen = with_plan(world)
        told: list[bool] = []
        world.manager.on_session_degraded(lambda event: told.append(event.degraded))
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"))
        assert not (await world.manager.renew_session(session.session_id)).success
        await asyncio.sleep(0.1)
        assert seen == ["active True"]  # inactivity stands still while the plan runs
        assert host.told == [("voicepilot.session.degraded", True)]
        assert not world.manager.get_session_diagnostics(session.session_id).timers.inactivity.is_paused
        await asyncio.sleep(5)
        assert host.told[1:] == [("voicepilot.session.degraded", False)]
        assert told == [True, False]


async def test_no_attempt_is_made_by_two_layers() -> None:
    async with a_world(max_retry_attempts=2) as world:
        with_plan(world)
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"), count=3)
        result = await world.manager.renew_session(session.session_id)
        assert (result.attempts, len(world.keys.mints)) == (3, 1 + 3)


async def test_a_start_that_fails_runs_the_plan_too() -> None:
    async with a_world() as world:
        _, seen = with_plan(world)
        world.keys.fail(AuthenticationError("401"))
        with pytest.raises(SessionStartError) as raised:
            await world.manager.start_session()
        assert isinstance(raised.value.__cause__, AuthenticationError)
        await asyncio.sleep(0.1)
        assert seen == [f"{Phase.ENDING} False"]


async def test_a_policy_set_for_renewals_says_when_the_next_attempt_is_due() -> None:
    async with a_world() as world:
        with_plan(world, renew=RetryPolicy(backoff=Backoff.LINEAR, initial=4, jitter=Jitter.NONE))
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"))
        result = await world.manager.renew_session(session.session_id)
        assert result.success
        assert result.latency_ms == pytest.approx(4_000)


async def test_a_step_that_works_brings_the_next_round_forward() -> None:
    async with a_world(max_retry_attempts=0, retry_backoff_ms=1_000) as world:
        registrar = RecoveryRegistrar()

        async def repair(_: str) -> bool:
            return True

        registrar.add_step("REPAIR", repair)
        policy = RetryPolicy(backoff=Backoff.LINEAR, initial=5, jitter=Jitter.NONE)
        world.manager.set_recovery_executor(
            RecoveryExecutor(clock=world.clock, policies={"renew": policy}), registrar.plan("REPAIR")
        )
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"))
        await world.manager.renew_session(session.session_id)
        await asyncio.sleep(1.1)
        assert len(world.keys.issued) == 2


async def test_a_fallback_that_comes_after_the_end_leaves_no_mode_behind() -> None:
    async with a_world() as world:
        host, seen = with_plan(world)
        world.keys.fail(AuthenticationError("401"))
        with pytest.raises(SessionStartError):
            await world.manager.start_session()
        await asyncio.sleep(0.1)
        assert seen
        assert host.told == []


async def test_degraded_is_told_as_an_event_of_its_own() -> None:
    async with a_world(max_retry_attempts=0) as world:
        told: list[DegradedChanged] = []
        world.manager.on_session_degraded(told.append)
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"))
        await world.manager.renew_session(session.session_id)
        (event,) = told
        assert (event.type, event.session_id, event.degraded) == ("degraded-changed", session.session_id, True)
        assert told[0].diagnostics.degraded
        assert world.manager.get_session_diagnostics(session.session_id).degraded
        await asyncio.sleep(10)  # the next round works
        assert [each.degraded for each in told] == [True, False]
        assert not world.manager.get_session_diagnostics(session.session_id).degraded


async def test_a_fallback_that_comes_after_health_is_not_entered() -> None:
    async with a_world(max_retry_attempts=0, retry_backoff_ms=1_000) as world:
        host, _ = with_plan(world)
        registrar = RecoveryRegistrar()
        world.manager.register_recovery_actions(registrar)

        async def slow(_: str) -> bool:
            await asyncio.sleep(9)  # the next round has worked meanwhile
            return False

        registrar.add_step("SLOW", slow)
        plan = registrar.plan("SLOW", fallback="degraded-features")
        world.manager.set_recovery_executor(RecoveryExecutor(clock=world.clock), plan)
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"))
        await world.manager.renew_session(session.session_id)
        await asyncio.sleep(20)
        assert not world.manager.get_session_diagnostics(session.session_id).degraded
        assert host.told == []
