"""Stories of the real SessionManager with the real executor, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from tests.recovery.cast import DENIED, DOWN, Listener
from tests.support import Defaults, World, a_world
from voicepilot import Phase, RateLimitError, SessionConfig, SessionManager, SessionStartError
from voicepilot.errors import AttemptRefusedError
from voicepilot.ports import OperationContext
from voicepilot.recovery import (
    AttemptFailed,
    AttemptRefused,
    BreakerOptions,
    Circuit,
    CircuitMoved,
    ErrorReported,
    RecoveryExecutor,
    RecoveryRegistrar,
)
from voicepilot.testing import FakeKeyService, VirtualClock

T = TypeVar("T")
DEGRADED = "voicepilot.session.degraded"


class AtEndpoint:
    """An executor shared by managers of several endpoints: names this one's in every context."""

    def __init__(self, executor: RecoveryExecutor, endpoint: str) -> None:
        self._executor = executor
        self._endpoint = endpoint

    async def execute(self, operation: Callable[[], Awaitable[T]], context: OperationContext) -> T:
        return await self._executor.execute(operation, replace(context, endpoint=self._endpoint))


@asynccontextmanager
async def recovering(
    breaker: BreakerOptions | None = None, **config: Any
) -> AsyncIterator[tuple[World, RecoveryExecutor, Listener]]:
    config.setdefault("enable_inactivity_timeout", False)
    async with a_world(**config) as world, RecoveryExecutor(breaker=breaker, clock=world.clock) as executor:
        world.manager.set_recovery_executor(executor)
        yield world, executor, Listener(executor)


async def test_an_outage_opens_the_breaker_and_spares_the_provider() -> None:
    async with recovering(key_life_seconds=600) as (world, executor, heard):
        ids = [(await world.manager.start_session()).session_id for _ in range(20)]
        asked = len(world.keys.mints)
        world.keys.fail(DOWN, 1_000)
        await asyncio.sleep(600)  # every renewal fails
        assert executor.breakers()["provider"].circuit is not Circuit.CLOSED
        await asyncio.sleep(120)
        spared = len(world.keys.mints) - asked
        assert len(heard.of(AttemptFailed)) == spared
        assert spared < 40  # without the breaker: hundreds
        world.keys.heal()
        await asyncio.sleep(60)
        assert executor.breakers()["provider"].circuit is Circuit.CLOSED
        assert {world.manager.get_session_info(i).state for i in ids} == {Phase.ACTIVE}  # type: ignore[union-attr]


async def test_a_short_outage_costs_no_valid_second() -> None:
    async with recovering(key_life_seconds=60) as (world, _, heard):
        session_id = (await world.manager.start_session()).session_id
        world.keys.fail(DOWN, 3)
        await asyncio.sleep(59.9)
        assert len(heard.of(AttemptFailed)) == 3
        assert "renewal-completed" in world.recorder.types(session_id)
        assert world.manager.is_session_active(session_id)


async def forty_about_to_renew(world: World, margin: int) -> None:
    """Start as many; their keys live 600 s, so that the margin begins in half a second."""
    for _ in range(40):
        await world.manager.start_session()
    await asyncio.sleep(600 - margin - 0.5)


@pytest.mark.parametrize(("margin", "outage"), [(10, 8), (10, 4), (30, 28), (60, 58), (60, 50)])
async def test_an_outage_shorter_than_the_margin_costs_no_session_of_many_a_second(margin: int, outage: int) -> None:
    async with recovering(key_life_seconds=600, renewal_margin_seconds=margin) as (world, executor, heard):
        await forty_about_to_renew(world, margin)
        asked = len(world.keys.mints)
        world.keys.fail(DOWN, 10_000)
        await asyncio.sleep(outage + 0.5)
        assert any(moved.now is Circuit.OPEN for moved in heard.of(CircuitMoved))
        spared = len(world.keys.mints) - asked
        assert spared <= 40 + outage  # all at once when the margin begins, then a probe a second at most
        world.keys.heal()
        await asyncio.sleep(2 * margin)
        assert world.recorder.of("authentication-error") == []
        assert len(world.recorder.of("renewal-completed")) == 40
        assert executor.breakers()["provider"].circuit is Circuit.CLOSED


@pytest.mark.parametrize(("margin", "outage"), [(10, 3), (30, 25), (60, 54)])
async def test_two_probes_that_hang_after_an_outage_cost_nobody_else_a_second(margin: int, outage: int) -> None:
    async with recovering(key_life_seconds=600, renewal_margin_seconds=margin) as (world, executor, _):
        await forty_about_to_renew(world, margin)
        world.keys.fail(DOWN, 10_000)
        await asyncio.sleep(outage + 0.5)
        world.keys.heal()
        world.keys.hang(2)
        await asyncio.sleep(20)
        assert len(world.recorder.of("authentication-error")) <= 2
        assert len(world.recorder.of("renewal-completed")) == 40
        assert executor.breakers()["provider"].circuit is Circuit.CLOSED


@pytest.mark.parametrize("margin", [4, 8, 10, 30])
async def test_a_provider_that_hangs_is_given_a_rest_however_short_the_margin(margin: int) -> None:
    async with recovering(key_life_seconds=600, renewal_margin_seconds=margin) as (world, _, heard):
        await forty_about_to_renew(world, margin)
        asked = len(world.keys.mints)
        world.keys.hang(10_000)
        await asyncio.sleep(margin + 40)
        assert heard.of(CircuitMoved)
        assert len(world.keys.mints) - asked <= 40 + margin + 40  # all when the margin begins, then one a second


async def test_whoever_starts_or_has_lost_its_key_waits_for_the_end_of_the_break() -> None:
    async with recovering(key_life_seconds=600, start_timeout_seconds=1) as (world, _, heard):
        world.keys.fail(DOWN, 10_000)
        for _ in range(5):
            with pytest.raises(SessionStartError):
                await world.manager.start_session()
        assert heard.of(CircuitMoved)
        asked = len(world.keys.mints)
        for _ in range(4):
            with pytest.raises(SessionStartError):
                await world.manager.start_session()
        assert len(world.keys.mints) == asked


async def test_a_session_at_another_endpoint_is_not_affected() -> None:
    down, well, executor = World(key_life_seconds=60), World(key_life_seconds=60), RecoveryExecutor()
    async with down.manager, well.manager:
        for world, name in ((down, "https://a.example"), (well, "https://b.example")):
            world.manager.set_recovery_executor(AtEndpoint(executor, name))
        for _ in range(5):
            await down.manager.start_session()
        b = (await well.manager.start_session()).session_id
        down.keys.fail(DOWN, 1_000)
        await asyncio.sleep(65)
        assert executor.breakers()["https://a.example"].circuit is not Circuit.CLOSED
        assert executor.breakers()["https://b.example"].circuit is Circuit.CLOSED
        assert well.recorder.types(b).count("renewal-completed") == 1
        assert well.recorder.of("renewal-failed") == []


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_no_attempt_is_made_by_two_layers(retries: int) -> None:
    async with recovering(max_retry_attempts=retries) as (world, _, heard):
        session_id = (await world.manager.start_session()).session_id
        world.keys.fail(DOWN, 1 + retries)
        result = await world.manager.renew_session(session_id)
        assert (result.success, result.attempts) == (False, 1 + retries)
        assert len(world.keys.mints) == 1 + 1 + retries
        assert [failed.attempt for failed in heard.of(AttemptFailed)] == list(range(1, retries + 2))


async def test_a_refusal_of_the_provider_is_not_tried_again() -> None:
    async with recovering() as (world, executor, _):
        world.keys.fail(DENIED, 100)
        for _ in range(10):
            with pytest.raises(SessionStartError) as caught:
                await world.manager.start_session()
            assert caught.value.__cause__ is DENIED
        assert len(world.keys.mints) == 10
        assert executor.breakers()["provider"].circuit is Circuit.CLOSED


async def test_a_start_before_an_open_breaker_fails_with_the_reason_and_asks_nobody() -> None:
    async with recovering(BreakerOptions(first_break=30), start_timeout_seconds=10) as (world, _, heard):
        world.keys.fail(DOWN, 1_000)
        for _ in range(2):  # four attempts each
            with pytest.raises(SessionStartError):
                await world.manager.start_session()
        assert heard.of(CircuitMoved)
        asked = len(world.keys.mints)
        with pytest.raises(SessionStartError, match="given a rest after PROVIDER_UNAVAILABLE") as caught:
            await world.manager.start_session()
        assert isinstance(caught.value.__cause__, AttemptRefusedError)
        assert len(world.keys.mints) == asked
        assert heard.of(AttemptRefused)


async def test_the_providers_wish_to_be_left_alone_is_obeyed() -> None:
    async with recovering(key_life_seconds=600) as (world, _, __):
        session_id = (await world.manager.start_session()).session_id
        world.keys.fail(RateLimitError("slow down", retry_after=40))
        began = world.clock.now()
        assert (await world.manager.renew_session(session_id)).success
        assert world.clock.now() - began >= 40


async def test_an_end_is_not_held_up_by_an_open_breaker() -> None:
    async with recovering(key_life_seconds=60) as (world, executor, _):
        ids = [(await world.manager.start_session()).session_id for _ in range(5)]
        world.keys.fail(DOWN, 1_000)
        await asyncio.sleep(65)
        assert executor.breakers()["provider"].circuit is not Circuit.CLOSED
        began = world.clock.now()
        for session_id in ids:
            await world.manager.end_session(session_id)
        assert world.clock.now() == began
        assert world.keys.ended == ids
        assert [order.session_id for order in world.purger.orders] == ids


class Host:
    """Remembers what it was told to show."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, object]] = []

    def set_context(self, key: str, value: object) -> None:
        self.shown.append((key, value))


async def test_degraded_mode_is_entered_by_the_plans_fallback_and_left_when_health_returns() -> None:
    host, keys, executor, registrar = Host(), FakeKeyService(), RecoveryExecutor(), RecoveryRegistrar()
    defaults = Defaults(3, SessionConfig(max_retry_attempts=1))
    heard = Listener(executor)
    async with SessionManager(keys, configuration=defaults, host=host, clock=VirtualClock()) as manager:
        manager.register_recovery_actions(registrar)
        manager.set_recovery_executor(executor, registrar.plan(fallback="degraded-features"))
        session_id = (await manager.start_session()).session_id
        keys.fail(DOWN, 2)
        assert not (await manager.renew_session(session_id)).success
        await asyncio.sleep(0.1)
        assert host.shown == [(DEGRADED, True)]
        (reported,) = heard.of(ErrorReported)
        assert (reported.recovery.fallback, reported.fault.code) == ("degraded-features", "PROVIDER_UNAVAILABLE")
        await asyncio.sleep(30)  # the next round works
        assert host.shown == [(DEGRADED, True), (DEGRADED, False)]
        assert len(keys.mints) == 1 + 2 + 1
        assert heard.results() == ["succeeded", "failed", "succeeded"]


async def test_a_person_can_run_a_standard_remedy_by_hand() -> None:
    async with recovering() as (world, _, __):
        registrar = RecoveryRegistrar()
        world.manager.register_recovery_actions(registrar)
        assert registrar.steps == ("SESSION_FORCE_TERMINATION", "SESSION_PURGE_PRIVACY")
        assert registrar.fallbacks == ("degraded-features",)
        first = (await world.manager.start_session()).session_id
        second = (await world.manager.start_session()).session_id
        assert await registrar.execute("SESSION_PURGE_PRIVACY", first)
        assert await registrar.execute("SESSION_FORCE_TERMINATION", first)
        assert [info.session_id for info in world.manager.get_all_sessions()] == [second]
        assert {order.session_id for order in world.purger.orders} == {first}


async def test_nothing_is_left_when_the_manager_is_disposed_in_an_outage() -> None:
    async with recovering(key_life_seconds=60) as (world, _, heard):
        for _ in range(5):
            await world.manager.start_session()
        world.keys.fail(DOWN, 1_000)
        await asyncio.sleep(65)
        began = world.clock.now()
        await world.manager.dispose()
        assert world.clock.now() - began < 2
        assert heard.of(AttemptFailed)
