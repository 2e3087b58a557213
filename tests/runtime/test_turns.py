"""A key service that serves only so many at once: waiting for a turn is nobody's slowness, and loses nobody's turn."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from tests.support import Defaults

from voicepilot import (
    KeyRequest,
    Phase,
    SessionConfig,
    SessionEndedError,
    SessionError,
    SessionManager,
    SessionStartError,
)
from voicepilot.credentials import ApiKey, EphemeralKeyService, Limits, OpenAIProfile
from voicepilot.network.reply import Reply
from voicepilot.ports import EphemeralKey
from voicepilot.recovery import (
    AttemptFailed,
    AttemptRefused,
    BreakerOptions,
    Circuit,
    CircuitMoved,
    RecoveryExecutor,
)
from voicepilot.telemetry import WatchedKeyService
from voicepilot.testing import FakeKeyService, Recorder, VirtualClock

ANSWER = 0.3
"""Seconds in which the provider answers."""


class Provider:
    """A transport that answers in 0.3 s, well or not, and remembers who was asked when."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.status = 200
        self.hangs = False
        self.key_life = 600
        self.asked: list[float] = []
        self.voices: list[str] = []
        self.busy = self.busiest = 0

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        self.asked.append(self.clock.now())
        self.voices.append(json.loads(body)["session"].get("voice", ""))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await (asyncio.Event().wait() if self.hangs else asyncio.sleep(ANSWER))
        finally:
            self.busy -= 1
        answer = {"value": f"ek_{len(self.asked)}", "expires_at": self.clock.wall() + self.key_life}
        return Reply(self.status, {"content-type": "application/json"}, json.dumps(answer).encode(), self.clock.wall())

    async def close(self) -> None:
        pass


class Town:
    """A manager with the real key service and executor, and a provider of our own."""

    def __init__(self, *, at_once: int, credential: Any, breaker: BreakerOptions | None, config: SessionConfig) -> None:
        self.clock = VirtualClock()
        self.provider = Provider(self.clock)
        self.executor = RecoveryExecutor(clock=self.clock, breaker=breaker)
        self.keys = EphemeralKeyService(
            OpenAIProfile(),
            credential=credential,
            clock=self.clock,
            limits=Limits(concurrent_mints=at_once),
            transport=lambda: self.provider,
        )
        self.manager = SessionManager(
            self.keys, configuration=Defaults(10_000, config), clock=self.clock, recovery_executor=self.executor
        )
        self.recorder = Recorder(self.manager)
        self.news: list[Any] = []
        self.executor.subscribe(CircuitMoved, self.news.append)
        self.executor.subscribe(AttemptFailed, self.news.append)
        self.executor.subscribe(AttemptRefused, self.news.append)

    def heard(self, kind: type[Any]) -> list[Any]:
        return [news for news in self.news if isinstance(news, kind)]

    def starts(self, count: int) -> list[asyncio.Task[Any]]:
        """So many starts, in order; each asks with its number for a voice."""
        return [
            asyncio.ensure_future(self.manager.start_session(session={"voice": str(number)})) for number in range(count)
        ]

    async def free_turns(self) -> int:
        """How many turns can be had now; afterwards as many as before."""
        taken: list[Callable[[], None]] = []
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.001):
                    taken.append(await self.keys.take_turn("counting"))
        for give_back in taken:
            give_back()
        return len(taken)


@asynccontextmanager
async def town(
    *, at_once: int = 16, credential: Any = "key-1", breaker: BreakerOptions | None = None, **config: Any
) -> AsyncIterator[Town]:
    config = {"enable_inactivity_timeout": False, "start_timeout_seconds": 300} | config
    made = Town(at_once=at_once, credential=credential, breaker=breaker, config=SessionConfig(**config))
    async with made.keys, made.executor, made.manager:
        yield made
    assert made.provider.busy == 0
    left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("voicepilot")]
    assert left == []
    assert (made.keys._mints, made.keys._taken) == ({}, {})


async def settled(rounds: int = 10) -> None:
    for _ in range(rounds):
        await asyncio.sleep(0)


# --- a healthy provider -----------------------------------------------------------------------------------------------


async def test_two_thousand_starts_at_once_find_a_healthy_provider_healthy() -> None:
    async with town() as world:
        started = await asyncio.gather(*world.starts(2_000))
        assert {info.state for info in started} == {Phase.ACTIVE}
        assert world.news == []  # no attempt failed, none was refused, the circuit never moved
        assert world.executor.breakers()[world.keys.endpoint].circuit is Circuit.CLOSED
        assert (world.provider.busiest, len(world.provider.asked)) == (16, 2_000)
        assert world.clock.now() - world.provider.asked[0] == pytest.approx(2_000 / 16 * ANSWER)
        assert world.provider.voices == [str(number) for number in range(2_000)]  # first come, first served
        assert await world.free_turns() == 16


async def test_a_renewal_that_had_to_queue_is_no_timeout() -> None:
    async with town(at_once=1) as world:
        session_id = (await world.manager.start_session()).session_id
        others = world.starts(100)  # 30 s of requests
        await settled()
        result = await world.manager.renew_session(session_id)
        assert (result.success, result.attempts) == (True, 1)
        assert result.latency_ms == pytest.approx(101 * ANSWER * 1_000)
        assert world.news == []
        await asyncio.gather(*others)


async def test_a_session_whose_key_lapses_while_it_queues_gets_the_next_in_its_turn() -> None:
    async with town(at_once=1, key_life_seconds=60, renewal_margin_seconds=5) as world:
        world.provider.key_life = 20
        session_id = (await world.manager.start_session()).session_id  # due at 15 s, lapses at 20 s
        world.provider.key_life = 600
        await asyncio.sleep(13)
        others = world.starts(50)  # 15 s
        await asyncio.sleep(10)
        states = [world.manager.get_session_info(session_id).state]  # type: ignore[union-attr]
        await asyncio.gather(*others)
        await asyncio.sleep(ANSWER)
        states.append(world.manager.get_session_info(session_id).state)  # type: ignore[union-attr]
        assert (states, world.news) == ([Phase.RECOVERING, Phase.ACTIVE], [])
        assert world.recorder.types(session_id).count("renewal-failed") == 0


async def test_the_limit_of_an_attempt_begins_when_its_turn_has_come() -> None:
    async with town(at_once=1, max_retry_attempts=0) as world:
        others = world.starts(40)  # 12 s
        late = asyncio.ensure_future(world.manager.start_session())
        await asyncio.sleep(39.5 * ANSWER)
        world.provider.hangs = True
        await asyncio.gather(*others)
        began = world.clock.now()
        with pytest.raises(SessionStartError, match=r"no answer .*within 10"):
            await late
        assert world.clock.now() - began == pytest.approx(10)
        world.provider.hangs = False
        await world.manager.start_session()


async def test_a_watched_key_service_takes_turns_too_and_is_seen_as_quick_as_the_provider() -> None:
    async with town(at_once=1) as world:
        watched = WatchedKeyService(world.keys)
        took: list[float] = []

        def watch(_: KeyRequest) -> Callable[[BaseException | None], None]:
            began = world.clock.now()
            return lambda _: took.append(world.clock.now() - began)

        watched.watch(watch)
        manager = SessionManager(
            watched,
            configuration=Defaults(100, SessionConfig(start_timeout_seconds=300)),
            clock=world.clock,
            recovery_executor=world.executor,
        )
        async with manager:
            await asyncio.gather(*(manager.start_session() for _ in range(50)))
        assert world.news == []
        assert took == [pytest.approx(ANSWER)] * 50


async def test_without_an_executor_turns_are_taken_all_the_same() -> None:
    clock = VirtualClock()
    provider = Provider(clock)
    keys = EphemeralKeyService(
        OpenAIProfile(),
        credential=ApiKey("key-1"),
        clock=clock,
        limits=Limits(concurrent_mints=1),
        transport=lambda: provider,
    )
    defaults = Defaults(100, SessionConfig(start_timeout_seconds=60))
    async with keys, SessionManager(keys, configuration=defaults, clock=clock) as manager:
        await asyncio.gather(*(manager.start_session() for _ in range(50)))  # 15 s
    assert (provider.busiest, len(provider.asked)) == (1, 50)


# --- a provider that falls ill ----------------------------------------------------------------------------------------


async def test_who_queues_when_the_circuit_opens_is_not_sent_to_a_provider_that_is_ill() -> None:
    async with town() as world:
        starts = world.starts(200)
        await asyncio.sleep(1.1)  # 48 have their key, 152 queue or are under way
        world.provider.status = 503
        opened: list[float] = []
        world.executor.subscribe(CircuitMoved, lambda _: opened.append(world.clock.now()))
        await asyncio.sleep(120)
        moves = world.heard(CircuitMoved)
        probes = sum(move.now is Circuit.HALF_OPEN for move in moves)
        after = [at for at in world.provider.asked if at > opened[0]]
        assert moves[0].now is Circuit.OPEN
        assert probes >= 5
        assert len(after) == probes
        assert len(world.heard(AttemptRefused)) >= 136
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, return_exceptions=True)
        assert await world.free_turns() == 16


async def test_a_crowd_that_was_refused_gets_its_keys_when_the_provider_is_well_again() -> None:
    async with town() as world:
        starts = world.starts(200)
        await asyncio.sleep(1.1)
        world.provider.status = 503
        await asyncio.sleep(20)
        world.provider.status = 200
        assert {info.state for info in await asyncio.gather(*starts)} == {Phase.ACTIVE}
        assert world.provider.busiest == 16
        assert await world.free_turns() == 16


# --- who leaves the queue ---------------------------------------------------------------------------------------------


async def test_a_start_that_queues_is_ended_by_its_own_timeout_and_asks_nobody() -> None:
    async with town(at_once=1, start_timeout_seconds=5) as world:
        world.provider.hangs = True
        first, second = world.starts(2)
        await asyncio.sleep(4.9)
        assert not second.done()
        with pytest.raises(SessionStartError, match="within 5 s"):
            await second
        with pytest.raises(SessionStartError):
            await first
        world.provider.hangs = False
        await world.manager.start_session()
        assert world.provider.voices == ["0", ""]


@pytest.mark.parametrize("rounds", range(8))
async def test_a_session_that_ends_while_it_queues_leaves_the_queue(rounds: int) -> None:
    async with town(at_once=1) as world:
        starts = world.starts(5)
        await settled(rounds + 1)
        _, second, third, *_ = [info.session_id for info in world.manager.get_all_sessions()]
        await world.manager.end_session(second)
        starts[2].cancel()
        with pytest.raises(SessionEndedError):
            await starts[1]
        with pytest.raises(asyncio.CancelledError):
            await starts[2]
        await asyncio.gather(starts[0], *starts[3:])
        assert world.provider.voices == ["0", "3", "4"]
        assert world.manager.get_session_info(third) is None
        assert (world.provider.busiest, await world.free_turns()) == (1, 1)


@pytest.mark.parametrize("rounds", range(12))
async def test_an_end_at_the_moment_of_the_turn_costs_no_turn_and_makes_none(rounds: int) -> None:
    async with town(at_once=2) as world:
        starts = world.starts(6)
        await asyncio.sleep(ANSWER)  # two are answered, and the next two get their turns now
        await settled(rounds)
        for info in world.manager.get_all_sessions()[2:4]:
            await world.manager.end_session(info.session_id)
        await asyncio.gather(*starts, return_exceptions=True)
        assert [start.exception() is None for start in starts] == [True, True, False, False, True, True]
        assert (world.provider.busiest, await world.free_turns()) == (2, 2)


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 5, 8, 13])
async def test_dispose_while_hundreds_queue_leaves_nothing(rounds: int) -> None:
    async with town() as world:
        world.provider.hangs = True
        starts = world.starts(300)
        await settled(rounds)
        began = world.clock.now()
        await world.manager.dispose()
        assert world.clock.now() - began < 2
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        assert all(isinstance(outcome, SessionError) for outcome in outcomes)
        assert len(world.provider.asked) <= 16
        assert await world.free_turns() == 16


async def test_a_key_service_that_is_disposed_first_ends_who_queues() -> None:
    async with town(max_retry_attempts=0) as world:
        world.provider.hangs = True
        starts = world.starts(100)
        await asyncio.sleep(1)
        await world.keys.dispose()
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {SessionStartError}
        assert len(world.provider.asked) == 16
        await world.keys.initialize()
        world.provider.hangs = False
        assert await world.free_turns() == 16
        await world.manager.start_session()


# --- who does not leave ----------------------------------------------------------------------------------------------


class Clinging:
    """A credential that hangs, and does not heed its cancellation until it is let go."""

    def __init__(self, hanging: int) -> None:
        self.hanging = hanging
        self.release = asyncio.Event()

    async def __call__(self) -> str:
        if self.hanging:
            self.hanging -= 1
            while not self.release.is_set():
                with suppress(asyncio.CancelledError):
                    await self.release.wait()
        return "key-1"


@pytest.mark.parametrize("leave", ["limit", "end"])
async def test_who_hangs_in_his_turn_and_refuses_to_be_cancelled_loses_it(leave: str) -> None:
    clinging = Clinging(2)
    async with town(at_once=2, credential=clinging, max_retry_attempts=0) as world:
        starts = world.starts(6)
        if leave == "end":
            await asyncio.sleep(1)
            for info in world.manager.get_all_sessions()[:2]:
                await world.manager.end_session(info.session_id)
        done, _ = await asyncio.wait(starts, timeout=20)
        assert len(done) == 6
        assert [start.exception() is None for start in starts] == [False] * 2 + [True] * 4
        clinging.release.set()  # they come back at last, and have nothing to give back
        await asyncio.sleep(1)
        assert (world.provider.busiest, await world.free_turns()) == (2, 2)


class Queueing(FakeKeyService):
    """Takes turns as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: Callable[[], Any] = asyncio.Event().wait
        self.given_back = 0
        self.broken = False

    async def take_turn(self, session_id: str) -> Callable[[], None]:
        await self.queue()
        return self._give_back

    def _give_back(self) -> None:
        self.given_back += 1
        if self.broken:
            raise RuntimeError("ek_secret")


@asynccontextmanager
async def managed(keys: FakeKeyService, **config: Any) -> AsyncIterator[SessionManager]:
    async with SessionManager(keys, configuration=Defaults(10, SessionConfig(**config)), clock=VirtualClock()) as made:
        yield made


class StrayError(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize(
    "stray", [RuntimeError("no"), asyncio.CancelledError("of their own"), StrayError("no")], ids=repr
)
async def test_a_queue_that_breaks_fails_the_attempt(stray: BaseException) -> None:
    keys = Queueing()

    async def breaks() -> None:
        raise stray

    keys.queue = breaks
    async with managed(keys, max_retry_attempts=0) as manager:
        with pytest.raises(SessionStartError):
            await manager.start_session()
    assert (keys.mints, keys.given_back) == ([], 0)


async def test_a_queue_that_hangs_ends_a_renewal_too() -> None:
    keys = Queueing()
    keys.queue = lambda: asyncio.sleep(0)
    async with managed(keys, max_retry_attempts=0, key_life_seconds=7_200, enable_inactivity_timeout=False) as manager:
        session_id = (await manager.start_session()).session_id
        keys.queue = asyncio.Event().wait
        result = await manager.renew_session(session_id)
        assert result.error is not None
        assert (result.success, result.error.cause) == (False, "KEY_REQUEST_TIMEOUT")
        assert "no turn within 600" in result.error.message
        assert len(keys.mints) == 1


async def test_a_turn_that_comes_after_the_end_is_given_back_unused() -> None:
    keys, come = Queueing(), asyncio.Event()

    async def stubborn() -> None:
        while not come.is_set():
            with suppress(asyncio.CancelledError):
                await come.wait()

    keys.queue = stubborn
    async with managed(keys, start_timeout_seconds=1) as manager:
        with pytest.raises(SessionStartError):
            await manager.start_session()
        come.set()
        await settled()
        assert (keys.mints, keys.given_back) == ([], 1)


async def test_a_turn_that_is_not_taken_back_costs_no_key(caplog: pytest.LogCaptureFixture) -> None:
    keys = Queueing()
    keys.queue, keys.broken = lambda: asyncio.sleep(0), True
    async with managed(keys) as manager:
        assert (await manager.start_session()).state is Phase.ACTIVE
    assert keys.given_back == 1
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert "RuntimeError" in told
    assert "ek_secret" not in caplog.text


class Hoarding(Queueing):
    """Never answers a request, and heeds no cancellation."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = lambda: asyncio.sleep(0)
        self.release = asyncio.Event()

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        while not self.release.is_set():
            with suppress(asyncio.CancelledError):
                await self.release.wait()
        return await super()._answer(request, renewal=renewal)


async def test_a_turn_is_given_back_once_whoever_gives_it_back() -> None:
    keys = Hoarding()
    async with managed(keys, max_retry_attempts=0) as manager:
        with pytest.raises(SessionStartError, match="no answer within 10"):
            await manager.start_session()
        assert keys.given_back == 0  # it is given a moment to leave by itself
        await asyncio.sleep(1.1)
        assert keys.given_back == 1
        keys.release.set()
        await asyncio.sleep(1)
        assert keys.given_back == 1
