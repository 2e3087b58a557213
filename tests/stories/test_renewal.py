"""Renewing a session's key, and what happens when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from tests.stories.cast import Application, Stamps, phase, seconds_since
from tests.support import World, a_world

from voicepilot import (
    AuthenticationError,
    KeyServiceError,
    MissingCredentialsError,
    PermissionDeniedError,
    Phase,
    ProviderUnavailableError,
    RateLimitError,
    RenewalResult,
)
from voicepilot.testing import FakeKeyService

DOWN = ProviderUnavailableError("down", status=503, provider_code="server_error", request_id="req_1")


async def started(world: World) -> str:
    return (await world.manager.start_session()).session_id


async def let_be_renewed(world: World, session_id: str) -> None:
    await asyncio.sleep(51)


async def renew_by_hand(world: World, session_id: str) -> None:
    await world.manager.renew_session(session_id)


@pytest.mark.seed(
    *("API-renewSession", "HOOK-onSessionSuspending", "HOOK-onSessionResumed"),
    *("EVT-renewal-started", "EVT-renewal-completed", "ARC-003", "ARC-004", "Renewal-1"),
)
@pytest.mark.parametrize(
    ("renew", "reason"), [(let_be_renewed, "automatic-renewal"), (renew_by_hand, "manual-renewal")]
)
async def test_timer_and_hand_renew_by_the_same_steps(
    renew: Callable[[World, str], Awaitable[None]], reason: str
) -> None:
    async with a_world(key_life_seconds=60) as world:
        session_id, order = await started(world), list[str]()

        class Watching(Application):
            async def _note(self, name: str, session: object, why: str = "") -> None:
                key = world.manager.credential(session_id).reveal()
                order.append(f"{name} {why} with {key}" if why else f"{name} with {key}")

        world.manager.register_conversation_hooks(Watching())
        world.manager.on_session_renewed(lambda event: order.append(event.type))
        await renew(world, session_id)
        assert order == [
            "renewal-started",
            f"suspending {reason} with ek_fake_1",
            "resumed with ek_fake_2",
            "renewal-completed",
        ]
        assert phase(world, session_id) is Phase.ACTIVE


@pytest.mark.seed("HOOK-onSessionSuspending", "Renewal-2")
async def test_the_application_is_suspended_for_the_swap_and_not_for_the_network() -> None:
    async with a_world(keys=FakeKeyService(latency=4), key_life_seconds=60) as world:
        session_id = await started(world)
        moments: list[float] = []

        class Timed(Application):
            async def _note(self, name: str, session: object, why: str = "") -> None:
                moments.append(seconds_since(world, began))

        world.manager.register_conversation_hooks(Timed())
        began = world.clock.now()
        result = await world.manager.renew_session(session_id)
        assert moments == [4, 4]
        assert result.latency_ms == pytest.approx(4_000)
        world.manager.register_conversation_hooks(object())


@pytest.mark.seed("OPT-renewalMarginSeconds", "IMP-002", "Renewal-3", "Time-1")
@pytest.mark.parametrize(("margin", "due"), [(10, 590), (20, 580), (0, 600), (400, 300)])
async def test_a_renewal_is_due_its_margin_before_expiry_but_never_before_half_the_keys_life(
    margin: int, due: int
) -> None:
    async with a_world(renewal_margin_seconds=margin, enable_inactivity_timeout=False) as world:
        stamps = Stamps(world)
        await started(world)
        await asyncio.sleep(due + 1)
        assert stamps.of("renewal-started") == [due]


@pytest.mark.seed("Renewal-4")
async def test_the_spread_only_makes_a_renewal_earlier_and_differs_by_session() -> None:
    async with a_world(renewal_spread_seconds=200, enable_inactivity_timeout=False) as world:
        stamps = Stamps(world)
        for _ in range(20):
            await started(world)
        await asyncio.sleep(600)
        due = stamps.of("renewal-started")[:20]
        assert all(390 <= at <= 590 for at in due)
        assert len(set(due)) > 10


@pytest.mark.seed("Renewal-4")
async def test_no_spread_brings_a_renewal_before_half_the_keys_life() -> None:
    async with a_world(renewal_spread_seconds=3_600, key_life_seconds=60) as world:
        stamps = Stamps(world)
        for _ in range(20):
            await started(world)
        await asyncio.sleep(59)
        assert min(stamps.of("renewal-started")) == 30


@pytest.mark.seed("API-renewSession", "Renewal-5", "Renewal-6")
async def test_concurrent_callers_share_one_renewal_and_a_cancelled_one_leaves_it_running() -> None:
    async with a_world(keys=FakeKeyService(latency=2)) as world, asyncio.TaskGroup() as tasks:
        session_id = await started(world)
        callers = [tasks.create_task(world.manager.renew_session(session_id)) for _ in range(3)]
        await asyncio.sleep(1)
        callers[0].cancel()
        results = await asyncio.gather(*callers[1:])
        assert results[0] == results[1]
        assert results[0].success
        assert len(world.keys.mints) == 2
        assert len(world.recorder.of("renewal-completed")) == 1


@pytest.mark.seed("API-renewSession", "Renewal-5")
async def test_a_hand_joins_the_renewal_that_the_timer_began() -> None:
    async with a_world(keys=FakeKeyService(latency=2), key_life_seconds=60) as world:
        session_id = await started(world)
        await asyncio.sleep(51)
        assert phase(world, session_id) is Phase.RENEWING
        assert (await world.manager.renew_session(session_id)).success
        assert len(world.keys.mints) == 2


@pytest.mark.seed("OVR-001", "Renewal-7")
async def test_each_session_keeps_the_key_that_was_fetched_for_it() -> None:
    async with a_world(keys=FakeKeyService(latency=1)) as world:
        first, second = await asyncio.gather(started(world), started(world))
        await asyncio.gather(*(world.manager.renew_session(one) for one in (second, first)))
        for session_id in (first, second):
            held = world.manager.credential(session_id)
            asked = [mint.request.session_id for mint in world.keys.mints]
            assert held.key.issued_for == session_id
            assert asked[int(held.reveal().rpartition("_")[2]) - 1] == session_id


@pytest.mark.seed("Renewal-7")
async def test_a_key_of_another_session_is_refused() -> None:
    class Confused(FakeKeyService):
        async def renew_key(self, request):  # type: ignore[no-untyped-def]  # a fake that is wrong on purpose
            key = await super().renew_key(request)
            key.issued_for = "session-of-somebody-else"
            return key

    async with a_world(keys=Confused()) as world:
        session_id = await started(world)
        result = await world.manager.renew_session(session_id)
        assert result.error is not None
        assert result.error.cause == "FOREIGN_KEY"
        assert world.keys_held() == 0


class TimedKeys(FakeKeyService):
    """Remembers when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def renew_key(self, request):  # type: ignore[no-untyped-def]  # passes on what it gets
        self.asked.append(asyncio.get_running_loop().time())
        return await super().renew_key(request)

    def waits(self) -> list[float]:
        return [round(later - earlier, 3) for earlier, later in pairwise(self.asked)]


@pytest.mark.seed("OPT-maxRetryAttempts", "OPT-retryBackoffMs", "QUA-003", "Renewal-8")
async def test_attempts_back_off_exponentially_with_jitter_and_then_the_round_has_failed() -> None:
    keys = TimedKeys()
    async with a_world(keys=keys, key_life_seconds=7_200, enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        keys.fail(DOWN, count=4)
        result = await world.manager.renew_session(session_id)
        assert (result.success, result.attempts) == (False, 4)
        waits = keys.waits()
        assert len(waits) == 3
        for full, wait in zip((1, 2, 4), waits, strict=True):
            assert full / 2 <= wait <= full
        assert len({wait / full for full, wait in zip((1, 2, 4), waits, strict=True)}) > 1


@pytest.mark.seed("OPT-maxRetryAttempts", "Renewal-8")
@pytest.mark.parametrize("most", [0, 1, 5])
async def test_a_round_has_as_many_retries_as_the_option_says(most: int) -> None:
    async with a_world(max_retry_attempts=most, key_life_seconds=7_200) as world:
        session_id = await started(world)
        world.keys.fail(DOWN, count=100)
        result = await world.manager.renew_session(session_id)
        assert result.attempts == most + 1


@pytest.mark.seed("OPT-retryBackoffMs", "Renewal-8")
async def test_the_first_wait_is_the_backoff_option() -> None:
    keys = TimedKeys()
    async with a_world(keys=keys, retry_backoff_ms=20_000, key_life_seconds=7_200) as world:
        session_id = await started(world)
        keys.fail(DOWN)
        assert (await world.manager.renew_session(session_id)).success
        assert 10 <= keys.waits()[0] <= 20


@pytest.mark.seed("Renewal-8")
async def test_what_the_provider_asks_for_is_obeyed() -> None:
    keys = TimedKeys()
    async with a_world(keys=keys, key_life_seconds=7_200) as world:
        session_id = await started(world)
        keys.fail(RateLimitError("slow down", retry_after=17))
        assert (await world.manager.renew_session(session_id)).success
        assert keys.waits() == [17]


@pytest.mark.seed(
    *("EVT-renewal-failed", "EVT-renewal-error", "IMP-003", "TRB-renewal-failure", "API-onSessionError"),
    *("Renewal-9", "Telling-9"),
)
async def test_a_failed_round_is_told_and_the_session_goes_on_degraded_with_its_good_key() -> None:
    async with a_world(max_retry_attempts=0) as world:
        session_id = await started(world)
        world.keys.fail(DOWN)
        await world.manager.renew_session(session_id)
        failed, error = world.recorder.of("renewal-failed", "renewal-error")
        info = world.manager.get_session_info(session_id)
        assert info is not None
        assert (info.state, info.degraded) == (Phase.ACTIVE, True)
        fault = error.error  # type: ignore[attr-defined]  # an error event
        assert (fault.code, fault.cause) == ("RENEWAL_FAILED", "PROVIDER_UNAVAILABLE")
        assert (fault.status, fault.provider_code, fault.request_id) == (503, "server_error", "req_1")
        assert fault.remediation == DOWN.remediation
        assert failed.result.error == info.last_error == fault  # type: ignore[attr-defined]  # a RenewalFailed
        assert world.manager.credential(session_id).reveal() == "ek_fake_1"


@pytest.mark.seed("TRB-renewal-failure", "QUA-003", "Renewal-9")
async def test_rounds_repeat_while_the_old_key_is_good_until_one_works() -> None:
    async with a_world(key_life_seconds=60, max_retry_attempts=0, enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        world.keys.fail(DOWN, count=3)
        await asyncio.sleep(59)
        assert [event.type for event in world.recorder.of("renewal-failed", "renewal-completed")] == [
            *["renewal-failed"] * 3,
            "renewal-completed",
        ]
        info = world.manager.get_session_info(session_id)
        assert info is not None
        assert (info.degraded, info.last_error) == (False, None)
        assert info.statistics.failed_renewal_count == 3


@pytest.mark.seed("TRB-renewal-failure")
async def test_a_failed_renewal_can_be_tried_again_by_hand() -> None:
    async with a_world(max_retry_attempts=0) as world:
        session_id = await started(world)
        world.keys.fail(DOWN)
        assert not (await world.manager.renew_session(session_id)).success
        assert (await world.manager.renew_session(session_id)).success


@pytest.mark.seed("EVT-authentication-error", "Renewal-10", "Telling-9")
async def test_a_key_that_lapses_makes_the_session_recover_and_says_so() -> None:
    async with a_world(key_life_seconds=60, enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        world.keys.fail(DOWN, count=10_000)
        await asyncio.sleep(60.5)
        assert phase(world, session_id) is Phase.RECOVERING
        (told,) = world.recorder.of("authentication-error")
        fault = told.error  # type: ignore[attr-defined]  # an error event
        assert fault.code == "KEY_EXPIRED"
        assert DOWN.remediation in fault.remediation


@pytest.mark.seed("QUA-003", "Renewal-10")
async def test_a_recovering_session_tries_for_ever_at_a_capped_pace() -> None:
    keys = TimedKeys()
    async with a_world(keys=keys, key_life_seconds=60, enable_inactivity_timeout=False) as world:
        session_id = await started(world)
        keys.fail(DOWN, count=10_000)
        await asyncio.sleep(3_600)
        assert phase(world, session_id) is Phase.RECOVERING
        assert all(15 <= wait <= 30 for wait in keys.waits()[-50:])
        keys.heal()
        await asyncio.sleep(31)
        assert phase(world, session_id) is Phase.ACTIVE


@pytest.mark.seed("EVT-timeout-error", "Renewal-11")
async def test_inactivity_ends_a_recovering_session() -> None:
    async with a_world(key_life_seconds=60) as world:
        session_id = await started(world)
        world.keys.fail(DOWN, count=10_000)
        await asyncio.sleep(299)
        assert phase(world, session_id) is Phase.RECOVERING
        await asyncio.sleep(1.5)
        assert phase(world, session_id) is None
        assert world.recorder.of("session-ended")[0].reason == "inactivity-timeout"  # type: ignore[attr-defined]


@pytest.mark.seed("Renewal-11", "Diagnostics-2")
async def test_a_recovered_session_is_active_and_well() -> None:
    async with a_world(key_life_seconds=60) as world:
        session_id = await started(world)
        world.keys.fail(DOWN, count=10_000)
        await asyncio.sleep(100)
        world.keys.heal()
        await asyncio.sleep(31)
        info = world.manager.get_session_info(session_id)
        assert info is not None
        assert (info.state, info.degraded, info.last_error) == (Phase.ACTIVE, False, None)
        assert world.keys_held() == 1


@pytest.mark.seed("EVT-authentication-error", "QUA-001", "Renewal-12", "End-6")
@pytest.mark.parametrize(
    "cause", [AuthenticationError("401"), PermissionDeniedError("403"), MissingCredentialsError("none")]
)
async def test_a_cause_that_cannot_be_retried_makes_the_session_failed(cause: KeyServiceError) -> None:
    async with a_world() as world:
        session_id = await started(world)
        before = len(world.recorder.events)
        world.keys.fail(cause)
        result = await world.manager.renew_session(session_id)
        await asyncio.sleep(3)
        assert (result.success, result.attempts) == (False, 1)
        assert phase(world, session_id) is Phase.FAILED
        assert [event.type for event in world.recorder.events[before:]] == [
            *["state-changed", "renewal-started"],
            *["state-changed", "renewal-failed", "renewal-error", "authentication-error"],
            *["degraded-changed", "state-changed", "session-ended"],
        ]
        (told,) = world.recorder.of("authentication-error")
        assert told.error.remediation == cause.remediation  # type: ignore[attr-defined]  # an error event


@pytest.mark.seed("API-renewSession", "Renewal-13")
async def test_renewing_what_cannot_be_renewed_is_an_answer_and_no_exception() -> None:
    async with a_world() as world:
        unknown = await world.manager.renew_session("session-0-none")
        assert unknown.error is not None
        assert (unknown.success, unknown.latency_ms) == (False, 0)
        assert (unknown.error.code, unknown.error.remediation) == ("SESSION_NOT_FOUND", "Start a new session.")

        session_id = await started(world)
        world.keys.fail(AuthenticationError("401"))
        await world.manager.renew_session(session_id)
        await asyncio.sleep(3)
        over = await world.manager.renew_session(session_id)
        assert over.error is not None
        assert over.error.code == "SESSION_NOT_ACTIVE"


@pytest.mark.seed("API-renewSession", "Renewal-13")
async def test_a_key_service_that_raises_nonsense_does_not_make_a_renewal_raise() -> None:
    async with a_world(max_retry_attempts=0) as world:
        session_id = await started(world)
        world.keys.fail(ZeroDivisionError())
        result = await world.manager.renew_session(session_id)
        assert result.error is not None
        assert result.error.cause == "UNEXPECTED_ERROR"


@pytest.mark.seed("USE-003", "QUA-002")
async def test_a_renewal_by_hand_reports_its_latency() -> None:
    async with a_world(keys=FakeKeyService(latency=0.8)) as world:
        session_id = await started(world)
        result = await world.manager.renew_session(session_id)
        assert result == RenewalResult(
            session_id=session_id,
            success=True,
            latency_ms=result.latency_ms,
            attempts=1,
            expires_at=world.clock.now() + 600,
        )
        assert result.latency_ms == pytest.approx(800)
