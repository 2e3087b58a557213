"""Section 2 of the original's defects: start_session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from tests.support import Defaults, a_world

from voicepilot import (
    ConfigurationError,
    ConversationLifecycleHooks,
    EphemeralKey,
    KeyRequest,
    MissingCredentialsError,
    NetworkError,
    Phase,
    ProviderUnavailableError,
    SessionConfig,
    SessionEndedError,
    SessionErrorEvent,
    SessionLimitError,
    SessionManager,
    SessionStartError,
)
from voicepilot.ports import OperationContext
from voicepilot.testing import FakeKeyService, VirtualClock


@pytest.mark.defect(17)
async def test_the_limit_comes_from_configuration() -> None:
    for limit in (1, 7):
        async with a_world(limit=limit) as world:
            for _ in range(limit):
                await world.manager.start_session()
            with pytest.raises(SessionLimitError, match=str(limit)):
                await world.manager.start_session()


@pytest.mark.defect(18)
@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RENEWING, Phase.RECOVERING, Phase.PAUSED, Phase.ENDING])
async def test_every_live_phase_counts_against_the_limit(phase: Phase) -> None:
    async with a_world(limit=1, key_life_seconds=60, start_timeout_seconds=600) as world:
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(on_session_ending=lambda _: asyncio.sleep(0.9))
        )
        tasks: list[asyncio.Task[Any]] = []
        if phase is Phase.STARTING:
            world.keys.hang()
            tasks.append(asyncio.create_task(world.manager.start_session()))
        else:
            session_id = (await world.manager.start_session()).session_id
        if phase is Phase.RENEWING:
            world.keys.hang()
            tasks.append(asyncio.create_task(world.manager.renew_session(session_id)))
        if phase is Phase.RECOVERING:
            world.keys.fail(ProviderUnavailableError("down"), count=100)
            await asyncio.sleep(61)
        if phase is Phase.PAUSED:
            await world.manager.pause_session(session_id)
        if phase is Phase.ENDING:
            tasks.append(asyncio.create_task(world.manager.end_session(session_id)))
        await asyncio.sleep(0.1)
        assert [info.state for info in world.manager.get_all_sessions()] == [phase]
        with pytest.raises(SessionLimitError):
            await world.manager.start_session()
        world.keys.heal()
        await world.manager.end_session()
        assert (await world.manager.start_session()).state is Phase.ACTIVE
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.defect(19)
@pytest.mark.slow
async def test_a_start_costs_the_same_however_many_sessions_there_are() -> None:
    async with a_world(limit=100_000) as world:

        async def cost_of_a_start() -> float:
            costs = []
            for _ in range(100):
                began = time.process_time()
                await world.manager.start_session()
                costs.append(time.process_time() - began)
            return min(costs)

        first = await cost_of_a_start()
        for _ in range(3_000):
            await world.manager.start_session()
        assert await cost_of_a_start() < 4 * first  # a scan would make it over 20 times as much


@pytest.mark.defect(20)
async def test_a_start_that_fails_tells_neither_started_nor_ended() -> None:
    async with a_world() as world:
        world.keys.fail(MissingCredentialsError("no key"))
        with pytest.raises(SessionStartError):
            await world.manager.start_session()
        assert world.recorder.of("session-started", "session-ended") == []


@pytest.mark.defect(21)
async def test_failed_starts_leave_the_registry_by_themselves() -> None:
    async with a_world(failed_retention_seconds=300) as world:
        world.keys.fail(MissingCredentialsError("no key"), count=50)
        for _ in range(50):
            with pytest.raises(SessionStartError):
                await world.manager.start_session()
        assert {info.state for info in world.manager.get_all_sessions()} == {Phase.FAILED}
        await asyncio.sleep(299)
        assert len(world.manager.get_all_sessions()) == 50
        await asyncio.sleep(10)
        assert world.manager.get_all_sessions() == ()


@pytest.mark.defect(24)
async def test_a_failed_start_keeps_what_the_provider_said() -> None:
    async with a_world() as world:
        error = MissingCredentialsError("nothing to authenticate with", provider_code="no_key", remediation="Set it.")
        world.keys.fail(error)
        with pytest.raises(SessionStartError) as caught:
            await world.manager.start_session()
        assert caught.value.__cause__ is error
        fault = caught.value.fault
        assert (fault.code, fault.cause) == ("SESSION_START_FAILED", "MISSING_CREDENTIALS")
        assert (fault.remediation, fault.retryable, fault.provider_code) == ("Set it.", False, "no_key")
        assert len(world.keys.mints) == 1
        (told,) = world.recorder.of("authentication-error")
        assert isinstance(told, SessionErrorEvent)
        assert (told.error.cause, told.error.retryable, told.error.remediation) == (
            "MISSING_CREDENTIALS",
            False,
            "Set it.",
        )


@pytest.mark.defect(25)
async def test_a_failed_start_forgets_the_remote_session_and_its_timers() -> None:
    async with a_world() as world:
        world.keys.fail(MissingCredentialsError("no key"))
        with pytest.raises(SessionStartError) as caught:
            await world.manager.start_session()
        session_id = caught.value.session_id
        assert session_id is not None
        assert world.keys.ended == [session_id]
        assert world.keys_held() == 0
        assert world.manager.get_session_diagnostics(session_id).next_event is None


@pytest.mark.defect(26)
async def test_a_config_is_merged_validated_and_not_shared() -> None:
    async with a_world(heartbeat_interval_seconds=7) as world:
        for field, value in {
            "inactivity_timeout_minutes": 0,
            "heartbeat_interval_seconds": 0,
            "renewal_margin_seconds": None,
        }.items():
            with pytest.raises(ConfigurationError, match=field):
                await world.manager.start_session({field: value})
        with pytest.raises(ConfigurationError, match="inactivity_timeout_minutes"):
            await world.manager.start_session({"inactivity_timeout_minutes": 40_000})
        assert world.keys.mints == []  # all of it before a key was asked for
        changes = {"renewal_margin_seconds": 20.0}
        session = await world.manager.start_session(changes)
        changes["renewal_margin_seconds"] = 3_000.0
        config = world.manager.get_session_config(session.session_id)
        assert config == SessionConfig(renewal_margin_seconds=20, heartbeat_interval_seconds=7)


@pytest.mark.defect(26)
async def test_the_longest_inactivity_allowed_does_not_overflow_a_timer() -> None:
    async with a_world() as world:
        session = await world.manager.start_session({"inactivity_timeout_minutes": 10_080})
        await asyncio.sleep(3_600)
        assert world.manager.is_session_active(session.session_id)


@pytest.mark.defect(27)
@pytest.mark.parametrize("life", [10.0, 60.0])
async def test_a_margin_longer_than_the_key_lives_makes_no_hot_loop(life: float) -> None:
    async with a_world(renewal_margin_seconds=600, enable_inactivity_timeout=False) as world:
        world.keys.key_life = life
        session = await world.manager.start_session()
        assert session.state is Phase.ACTIVE
        await asyncio.sleep(10 * life)
        assert len(world.keys.mints) <= 21  # one at each half life


@pytest.mark.defect(27)
async def test_keys_that_hardly_live_make_no_hot_loop() -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        await world.manager.start_session()
        world.keys.key_life = 0.001
        await asyncio.sleep(600 + 600)
        assert world.recorder.of("renewal-completed") == []
        assert len(world.keys.mints) <= 60


@pytest.mark.defect(28)
async def test_ending_a_session_that_is_starting_makes_its_start_raise() -> None:
    async with a_world(keys=FakeKeyService(latency=1)) as world:
        start = asyncio.create_task(world.manager.start_session())
        await asyncio.sleep(0.5)
        await world.manager.end_session()
        with pytest.raises(SessionEndedError):
            await start
        assert world.manager.get_all_sessions() == ()
        assert world.recorder.of("session-started", "session-ended") == []
        assert (world.keys_held(), len(world.keys.ended)) == (0, 1)


@pytest.mark.defect(28)
async def test_ending_a_session_whose_ready_hook_runs_tells_no_ready_after_the_end() -> None:
    told: list[str] = []

    async def ready(_: object) -> None:
        await asyncio.sleep(1)
        told.append("ready")

    async with a_world() as world:
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(on_session_ready=ready, on_session_ending=lambda _: told.append("ending"))
        )
        start = asyncio.create_task(world.manager.start_session())
        await asyncio.sleep(0.5)
        await world.manager.end_session()
        with pytest.raises(SessionEndedError):
            await start
        await asyncio.sleep(60)
        assert told == ["ending"]


class SlowFirst(FakeKeyService):
    """Answers later requests before earlier ones."""

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        await asyncio.sleep(1 / (1 + len(self.mints)))
        return await super()._answer(request, renewal=renewal)


@pytest.mark.defect(29)
async def test_concurrent_starts_hold_their_own_keys() -> None:
    async with a_world(keys=SlowFirst()) as world:
        sessions = await asyncio.gather(*(world.manager.start_session(labels={"n": str(n)}) for n in range(5)))
        held = {s.session_id: world.manager.credential(s.session_id) for s in sessions}
        assert len({credential.reveal() for credential in held.values()}) == 5
        assert all(credential.key.issued_for == session_id for session_id, credential in held.items())


@pytest.mark.defect(30)
@pytest.mark.parametrize("attempts", [0, 1, 4])
async def test_the_retry_options_are_obeyed(attempts: int) -> None:
    async with a_world(max_retry_attempts=attempts, retry_backoff_ms=100) as world:
        world.keys.fail(NetworkError("down"), count=100)
        began = world.clock.now()
        with pytest.raises(SessionStartError):
            await world.manager.start_session()
        assert len(world.keys.mints) == attempts + 1
        full = sum(0.1 * 2**n for n in range(attempts))
        assert full / 2 - 0.001 <= world.clock.now() - began <= full + 0.001


T = TypeVar("T")


class Passing:
    """A recovery executor that runs everything once."""

    async def execute(self, operation: Callable[[], Awaitable[T]], context: OperationContext) -> T:
        return await operation()


@pytest.mark.defect(32)
async def test_behind_a_recovery_executor_a_failed_start_raises_an_error_with_a_cause() -> None:
    async with a_world(max_retry_attempts=0) as world:
        world.manager.set_recovery_executor(Passing())
        world.keys.fail(NetworkError("down"))
        with pytest.raises(SessionStartError) as caught:
            await world.manager.start_session()
        assert isinstance(caught.value.__cause__, NetworkError)


async def test_ids_are_unique_and_carry_the_time() -> None:  # keep 14
    async with a_world() as world:
        ids = {(await world.manager.start_session()).session_id for _ in range(50)}
        assert len(ids) == 50
        assert all(session_id.startswith("session-") and len(session_id.split("-")) == 7 for session_id in ids)


async def test_a_failed_start_is_worded_as_the_original_words_it() -> None:  # keep 22
    async with a_world() as world:
        for error in (MissingCredentialsError("nothing to authenticate with"), NetworkError("down")):
            world.keys.fail(error, count=4)
            with pytest.raises(SessionStartError, match=r"(?m)^Failed to obtain session credentials: [a-z ]+$"):
                await world.manager.start_session()


async def test_built_in_defaults_are_the_seeds() -> None:  # keep 13
    async with SessionManager(FakeKeyService(), clock=VirtualClock()) as manager:
        config = (await manager.start_session()).config
        assert (config.renewal_margin_seconds, config.inactivity_timeout_minutes) == (10, 5)
        assert (config.heartbeat_interval_seconds, config.max_retry_attempts, config.retry_backoff_ms) == (30, 3, 1000)
        assert (config.enable_heartbeat, config.enable_inactivity_timeout) == (True, True)
    assert Defaults(3, config).session_config() == config
