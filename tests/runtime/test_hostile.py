"""Key services, hooks, purgers and handlers that do what they must not. The manager outlives all of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.support import a_world

from voicepilot import (
    ConversationLifecycleHooks,
    EphemeralKey,
    Event,
    KeyRequest,
    NetworkError,
    Phase,
    PurgeOrder,
    PurgeReceipt,
    RenewalFailed,
    SessionEnded,
    SessionStartError,
)
from voicepilot.testing import FakeKeyService, FakePurger


class StrayError(BaseException):
    """Not an Exception, as some libraries' control flow is not."""


STRAYS = [RuntimeError("stray"), StrayError("stray"), asyncio.CancelledError("of their own"), TimeoutError()]


async def swallow(seconds: float) -> None:
    """Take `seconds`, whoever cancels it."""
    end = asyncio.get_running_loop().time() + seconds
    while (left := end - asyncio.get_running_loop().time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


class Stubborn(FakeKeyService):
    """Answers `delay` seconds after it was asked, however often it is cancelled."""

    delay = 0.0

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        await swallow(self.delay)
        return await super()._answer(request, renewal=renewal)


class Sulky(FakeKeyService):
    """Hangs, and turns a cancellation into an error of its own."""

    sulking = False

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        if self.sulking:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                raise NetworkError("connection closed") from None
        return await super()._answer(request, renewal=renewal)


# --- key services -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stray", STRAYS, ids=repr)
async def test_whatever_a_key_service_raises_fails_one_attempt_and_nothing_else(stray: BaseException) -> None:
    async with a_world(max_retry_attempts=1) as world:
        other = await world.manager.start_session()
        world.keys.fail(stray)
        session = await world.manager.start_session()
        assert session.state is Phase.ACTIVE
        world.keys.fail(stray, count=2)
        result = await world.manager.renew_session(session.session_id)
        assert not result.success
        world.keys.fail(stray, count=2)
        with pytest.raises(SessionStartError):
            await world.manager.start_session()
        assert (await world.manager.renew_session(other.session_id)).success


async def test_a_key_that_comes_after_the_end_although_it_was_cancelled_is_given_back() -> None:
    async with a_world(keys=Stubborn()) as world:
        assert isinstance(world.keys, Stubborn)
        session = await world.manager.start_session()
        world.keys.delay = 5
        renewal = asyncio.create_task(world.manager.renew_session(session.session_id))
        await asyncio.sleep(0.1)
        await world.manager.end_session(session.session_id)
        assert not (await renewal).success
        await asyncio.sleep(10)
        assert len(world.keys.issued) == 2
        assert world.keys_held() == 0
        assert world.recorder.types()[-1] == "session-ended"


async def test_a_key_service_that_ignores_its_time_limit_costs_one_attempt() -> None:
    async with a_world(keys=Stubborn(), key_life_seconds=60, max_retry_attempts=0) as world:
        assert isinstance(world.keys, Stubborn)
        session = await world.manager.start_session()
        world.keys.delay = 100_000
        renewal = asyncio.create_task(world.manager.renew_session(session.session_id))
        await asyncio.sleep(11)
        assert renewal.done()
        assert not (await renewal).success
        world.keys.delay = 0
        await asyncio.sleep(31)
        assert world.recorder.types().count("renewal-completed") == 1
        assert world.manager.get_all_sessions()[0].state is Phase.ACTIVE
        await asyncio.sleep(100_000)  # or it would be left behind


async def test_a_key_service_that_turns_cancellation_into_an_error_does_not_stop_the_others() -> None:
    async with a_world(keys=Sulky()) as world:
        assert isinstance(world.keys, Sulky)
        one, two = await world.manager.start_session(), await world.manager.start_session()
        world.keys.sulking = True
        renewal = asyncio.create_task(world.manager.renew_session(one.session_id))
        await asyncio.sleep(0.1)
        await world.manager.end_session(one.session_id)
        assert not (await renewal).success
        world.keys.sulking = False
        await asyncio.sleep(0.1)
        assert (await world.manager.renew_session(two.session_id)).success


class Canceller(FakeKeyService):
    """Cancels the task that asks it."""

    cancelling = False

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        if self.cancelling:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        return await super()._answer(request, renewal=renewal)


async def test_a_key_service_that_cancels_its_caller_costs_one_attempt() -> None:
    async with a_world(keys=Canceller(), max_retry_attempts=0) as world:
        assert isinstance(world.keys, Canceller)
        session = await world.manager.start_session()
        world.keys.cancelling = True
        async with asyncio.timeout(11):
            assert not (await world.manager.renew_session(session.session_id)).success


class Mixer(FakeKeyService):
    """Gives everybody the key of the session that asked first."""

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        key = await super()._answer(request, renewal=renewal)
        first = self.mints[0].request.session_id
        return EphemeralKey(key.reveal(), expires_in=key.expires_in, issued_for=first)


async def test_another_sessions_key_is_refused_and_not_kept() -> None:
    async with a_world(keys=Mixer()) as world:
        await world.manager.start_session()
        with pytest.raises(SessionStartError, match="another session"):
            await world.manager.start_session()
        assert (world.keys_held(), len(world.keys.mints)) == (1, 2)


@pytest.mark.parametrize("life", [0.0, -1.0, float("nan"), float("inf")])
async def test_a_key_that_is_dead_on_arrival_is_refused(life: float) -> None:
    async with a_world(keys=FakeKeyService(key_life=life), max_retry_attempts=1) as world:
        with pytest.raises(SessionStartError, match="expired already"):
            await world.manager.start_session()
        assert (world.keys_held(), len(world.keys.mints)) == (0, 2)


class Nothing(FakeKeyService):
    """Gives no key at all."""

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        self.mints.append(None)  # type: ignore[arg-type]  # hostile on purpose
        return None  # type: ignore[return-value]


async def test_a_key_service_that_answers_nothing_fails_the_start() -> None:
    async with a_world(keys=Nothing(), max_retry_attempts=1) as world:
        with pytest.raises(SessionStartError):
            await world.manager.start_session()


class Clinging(FakeKeyService):
    """Does not let go of a session: `end_session` does what the test says."""

    def __init__(self, leave: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self._leave = leave

    async def end_session(self, session_id: str) -> None:
        await super().end_session(session_id)
        await self._leave()


async def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("stray", STRAYS, ids=repr)
async def test_an_end_survives_a_key_service_that_raises(stray: BaseException) -> None:
    async with a_world(keys=Clinging(lambda: _raise(stray))) as world:
        session = await world.manager.start_session()
        other = await world.manager.start_session()
        await world.manager.end_session(session.session_id)
        assert world.recorder.types(session.session_id)[-1] == "session-ended"
        assert (await world.manager.renew_session(other.session_id)).success


@pytest.mark.parametrize("hang", [lambda: asyncio.sleep(9_999), lambda: swallow(20)], ids=["hangs", "swallows"])
async def test_an_end_takes_two_seconds_at_most_whatever_hangs(hang: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async with a_world(keys=Clinging(hang)) as world:
        world.purger.delay = 9_999
        world.manager.register_conversation_hooks(ConversationLifecycleHooks(on_session_ending=lambda _: hang()))
        session = await world.manager.start_session()
        began = world.clock.now()
        await world.manager.end_session(session.session_id)
        assert world.clock.now() - began <= 2.0
        (ended,) = world.recorder.of("session-ended")
        assert isinstance(ended, SessionEnded)
        assert (ended.receipt.complete, ended.receipt.failed) == (False, 1)
        await asyncio.sleep(60)


# --- hooks ------------------------------------------------------------------------------------------------------------

HOOKS = ["on_session_ready", "on_session_suspending", "on_session_resumed", "on_session_ending"]


def hooks_that(name: str, work: Callable[[], Any]) -> ConversationLifecycleHooks:
    hooks: dict[str, Any] = {name: lambda *_: work()}
    return ConversationLifecycleHooks(**hooks)


async def _a_life(world: Any) -> None:
    """Start, renew and end one session beside another; its events must be those of any other life."""
    other = await world.manager.start_session()
    session = await world.manager.start_session()
    assert (await world.manager.renew_session(session.session_id)).success
    await world.manager.end_session(session.session_id)
    assert world.recorder.types(session.session_id) == [
        *["state-changed", "state-changed", "session-started"],
        *["state-changed", "renewal-started", "state-changed", "renewal-completed"],
        *["state-changed", "state-changed", "session-ended"],
    ]
    assert (await world.manager.renew_session(other.session_id)).success


@pytest.mark.parametrize("stray", STRAYS, ids=repr)
@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("kind", ["sync", "async", "late"])
async def test_a_hook_that_raises_anything_changes_nothing(stray: BaseException, name: str, kind: str) -> None:
    def sync() -> None:
        raise stray

    async def late() -> None:
        await asyncio.sleep(0.1)
        raise stray

    async with a_world() as world:
        world.manager.register_conversation_hooks(
            hooks_that(name, {"sync": sync, "async": lambda: _raise(stray), "late": late}[kind])
        )
        await _a_life(world)


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("seconds", [30.0, 100_000.0])
async def test_a_hook_that_hangs_and_swallows_cancellation_changes_nothing(name: str, seconds: float) -> None:
    async with a_world() as world:
        hooks = world.manager.register_conversation_hooks(hooks_that(name, lambda: swallow(seconds)))
        await _a_life(world)
        hooks.dispose()
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("name", HOOKS)
async def test_a_hook_that_raises_when_it_is_cancelled_changes_nothing(name: str) -> None:
    async def sulk() -> None:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            raise RuntimeError("sulking") from None

    async with a_world() as world:
        world.manager.register_conversation_hooks(hooks_that(name, sulk))
        await _a_life(world)


async def test_a_hook_that_refuses_to_die_does_not_hold_up_dispose(caplog: pytest.LogCaptureFixture) -> None:
    freed = asyncio.Event()

    async def refuse() -> None:
        while not freed.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await freed.wait()

    async with a_world() as world:
        world.manager.register_conversation_hooks(hooks_that("on_session_ending", refuse))
        await world.manager.start_session()
        began = world.clock.now()
        await world.manager.dispose()
        assert world.clock.now() - began < 6
        assert "refuse to be cancelled" in caplog.text
        assert world.leftovers() == [name for name in world.leftovers() if name.startswith("voicepilot-")]
        freed.set()
        await asyncio.sleep(1)
        assert world.leftovers() == []


# --- handlers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stray", STRAYS, ids=repr)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_handler_that_raises_anything_hurts_nobody(stray: BaseException, kind: str) -> None:
    heard: list[str] = []

    def sync(event: Event) -> None:
        heard.append(event.type)
        raise stray

    async def slow(event: Event) -> None:
        await asyncio.sleep(0.01)
        heard.append(event.type)
        raise stray

    async with a_world() as world:
        handler = sync if kind == "sync" else slow
        world.manager.on_session_started(handler)
        world.manager.on_session_renewed(handler)
        world.manager.on_session_state_changed(handler)
        world.manager.on_session_ended(handler)
        await _a_life(world)
        await asyncio.sleep(1)
        assert sorted(heard) == sorted(world.recorder.types())


async def test_a_handler_that_hangs_is_cancelled_and_hears_the_next_event(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    async def hang(event: Event) -> None:
        heard.append(event.type)
        await asyncio.sleep(1_000)

    async with a_world() as world:
        world.manager.on_session_renewed(hang)
        session = await world.manager.start_session()
        await world.manager.renew_session(session.session_id)
        await asyncio.sleep(11)
        assert heard == ["renewal-started", "renewal-completed"]
        assert "took over 5 s" in caplog.text


async def test_a_handler_that_cancels_itself_hears_later_events() -> None:
    heard: list[str] = []

    async def suicidal(event: Event) -> None:
        heard.append(event.type)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with a_world() as world:
        world.manager.on_session_renewed(suicidal)
        session = await world.manager.start_session()
        for _ in range(2):
            await world.manager.renew_session(session.session_id)
            await asyncio.sleep(1)
        assert heard.count("renewal-started") == 2


async def test_a_handler_that_is_too_slow_has_a_bounded_queue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voicepilot.runtime.observers.QUEUE_LIMIT", 10)
    heard: list[float] = []

    async def slow(event: Event) -> None:
        heard.append(event.at)
        await asyncio.sleep(1)

    async with a_world() as world:
        world.manager.on_session_state_changed(slow)
        session = await world.manager.start_session()
        other = await world.manager.start_session()
        await asyncio.sleep(10)
        heard.clear()
        for _ in range(30):
            await world.manager.renew_session(session.session_id)
            await asyncio.sleep(0.001)
        await world.manager.renew_session(other.session_id)
        await asyncio.sleep(60)
        assert len(heard) == 1 + 10 + 2
        assert caplog.text.count("too slow: dropped state-changed") == 60 - 11


async def test_a_function_that_gives_an_awaitable_is_called_once_for_each_event() -> None:
    called: list[str] = []
    awaited: list[str] = []

    async def note(event: Event) -> None:
        awaited.append(event.type)

    def handler(event: Event) -> Coroutine[Any, Any, None]:
        called.append(event.type)
        return note(event)

    def spawner(event: Event) -> asyncio.Task[None]:
        return asyncio.ensure_future(note(event))

    async with a_world() as world:
        world.manager.on_session_renewed(handler)
        world.manager.on_session_started(spawner)
        session = await world.manager.start_session()
        await world.manager.renew_session(session.session_id)
        await asyncio.sleep(1)
        assert called == ["renewal-started", "renewal-completed"]
        assert sorted(awaited) == ["renewal-completed", "renewal-started", "session-started"]


# --- purgers and collaborators ----------------------------------------------------------------------------------------


class Purging(FakePurger):
    """Does what the test says instead of purging."""

    def __init__(self, work: Callable[[PurgeOrder], Any]) -> None:
        super().__init__()
        self._work = work

    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        await super().purge(order)
        return await self._work(order)  # type: ignore[no-any-return]  # hostile on purpose


async def _nonsense(_: PurgeOrder) -> str:
    return "done!"


@pytest.mark.parametrize("stray", [*STRAYS, None], ids=repr)
async def test_a_purger_that_fails_gives_an_incomplete_receipt(stray: BaseException | None) -> None:
    async with a_world() as world:
        work = _nonsense if stray is None else (lambda _: _raise(stray))
        world.manager.set_privacy_controller(Purging(work))
        await _a_life(world)
        (ended,) = world.recorder.of("session-ended")
        assert isinstance(ended, SessionEnded)
        assert not ended.receipt.complete


async def test_a_purger_that_ends_the_session_itself_does_not_deadlock() -> None:
    async with a_world() as world:

        async def end(order: PurgeOrder) -> PurgeReceipt:
            await world.manager.end_session(order.session_id)
            return PurgeReceipt(session_id=order.session_id, reason=order.reason)

        world.manager.set_privacy_controller(Purging(end))
        session = await world.manager.start_session()
        began = world.clock.now()
        await world.manager.end_session(session.session_id)
        assert world.clock.now() - began <= 2


async def test_what_a_key_service_does_to_a_request_does_not_reach_the_next() -> None:
    class Greedy(FakeKeyService):
        async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
            assert request.session == {"audio": {"voice": "alloy"}}
            request.session["audio"].clear()
            request.session.clear()  # type: ignore[attr-defined]  # hostile on purpose
            request.labels.clear()  # type: ignore[attr-defined]
            return await super()._answer(request, renewal=renewal)

    async with a_world(keys=Greedy(), max_retry_attempts=0) as world:
        options = {"audio": {"voice": "alloy"}}
        session = await world.manager.start_session(session=options, labels={"user": "ann"})
        options["audio"]["voice"] = "echo"
        assert (await world.manager.renew_session(session.session_id)).success
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert info.labels == {"user": "ann"}


async def test_a_failing_round_is_told_once_to_those_who_wait_for_it() -> None:
    async with a_world(max_retry_attempts=0) as world:
        session = await world.manager.start_session()
        world.keys.fail(StrayError())
        results = await asyncio.gather(*(world.manager.renew_session(session.session_id) for _ in range(5)))
        assert {result.success for result in results} == {False}
        (told,) = world.recorder.of("renewal-failed")
        assert isinstance(told, RenewalFailed)
        assert len({id(result) for result in results}) == 1
        logging.getLogger("voicepilot").debug("%s", told.result.error)


async def test_a_hook_that_comes_back_late_is_not_taken_for_the_next_one() -> None:
    told: list[str] = []

    async def resumed(_: object) -> None:
        await asyncio.sleep(1)
        told.append("resumed")

    async with a_world() as world:
        world.manager.register_conversation_hooks(
            ConversationLifecycleHooks(
                on_session_suspending=lambda *_: swallow(5.5),  # half a second over its time
                on_session_resumed=resumed,
            )
        )
        world.manager.on_session_renewed(lambda event: told.append(event.type))
        session = await world.manager.start_session()
        assert (await world.manager.renew_session(session.session_id)).success
        await asyncio.sleep(10)
        assert told == ["renewal-started", "resumed", "renewal-completed"]
