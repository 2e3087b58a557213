"""Turns at the key service: in order of arrival, taken in advance or by the request itself, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.credentials.test_service import Wire, ask, make, settled

from voicepilot import errors
from voicepilot.credentials import EphemeralKeyService, Limits
from voicepilot.network.reply import Reply
from voicepilot.ports import TakesTurns
from voicepilot.recovery import BreakerOptions, CircuitMoved, RecoveryExecutor
from voicepilot.testing import run_virtual
from voicepilot.testing.virtual import VirtualClock


@pytest.fixture
def wire() -> Wire:
    return Wire(VirtualClock())


async def free(service: EphemeralKeyService) -> int:
    """How many turns can be had now; afterwards as many as before."""
    taken: list[Callable[[], None]] = []
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.001):
                taken.append(await service.take_turn(f"counting {len(taken)}"))
    for give_back in taken:
        give_back()
    return len(taken)


async def test_a_request_in_its_turn_waits_for_no_second_one(wire: Wire) -> None:
    async with make(wire, limits=Limits(concurrent_mints=1)) as service:
        give_back = await service.take_turn("a")
        other = asyncio.ensure_future(service.request_ephemeral_key(ask("b")))
        await asyncio.sleep(100)
        began = asyncio.get_running_loop().time()
        assert (await service.renew_key(ask("a"))).issued_for == "a"
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.1)
        await service.renew_key(ask("a"))  # its turn is used, so it waits behind the other
        assert other.done()
        for _ in range(3):
            give_back()
        assert (wire.busiest, await free(service)) == (1, 1)


async def test_a_turn_that_is_not_used_is_the_next_ones(wire: Wire) -> None:
    async with make(wire, limits=Limits(concurrent_mints=1)) as service:
        give_back = await service.take_turn("a")
        give_back()
        await asyncio.gather(service.request_ephemeral_key(ask("b")), service.request_ephemeral_key(ask("a")))
        assert (wire.busiest, await free(service), service._taken) == (1, 1, {})


async def test_turns_and_requests_without_one_stand_in_the_same_queue(wire: Wire) -> None:
    done: list[str] = []

    async def in_turn(name: str) -> None:
        give_back = await service.take_turn(name)
        await service.request_ephemeral_key(ask(name))
        give_back()
        done.append(name)

    async def alone(name: str) -> None:
        await service.request_ephemeral_key(ask(name))
        done.append(name)

    async with make(wire, limits=Limits(concurrent_mints=2)) as service:
        await asyncio.gather(*((alone if number % 3 else in_turn)(str(number)) for number in range(20)))
        assert (wire.busiest, await free(service)) == (2, 2)
    assert done == [str(number) for number in range(20)]


async def test_a_turn_of_an_earlier_life_is_worth_nothing_in_the_next(wire: Wire) -> None:
    service = make(wire, limits=Limits(concurrent_mints=1))
    await service.initialize()
    old = await service.take_turn("a")
    await service.dispose()
    await service.initialize()
    now = await service.take_turn("b")
    first = asyncio.ensure_future(service.request_ephemeral_key(ask("a")))
    await asyncio.sleep(1)
    old()
    await asyncio.sleep(1)
    assert not first.done()
    now()
    await first
    assert await free(service) == 1
    await service.dispose()
    with pytest.raises(errors.NotInitializedError):
        await service.take_turn("a")


@pytest.mark.parametrize("how", ["cancel", "end_session", "dispose", "nothing"])
@pytest.mark.parametrize("rounds", range(6))
async def test_whoever_queues_can_be_stopped_at_every_point(wire: Wire, how: str, rounds: int) -> None:
    async with make(wire, limits=Limits(concurrent_mints=1)) as service:
        give_back = await service.take_turn("first")
        turn = asyncio.ensure_future(service.take_turn("a"))
        await settled()
        give_back()  # in this moment the turn comes
        await settled(rounds)
        if how == "cancel":
            turn.cancel()
        elif how == "end_session":
            await service.end_session("a")
        elif how == "dispose":
            await service.dispose()
        (came,) = await asyncio.gather(turn, return_exceptions=True)
        if callable(came):
            came()
        await service.initialize()
        assert (service._mints, service._taken, await free(service)) == ({}, {}, 1)
        assert callable(came) or how != "nothing"


async def test_who_queues_hears_why_the_queue_ended(wire: Wire) -> None:
    async with make(wire, limits=Limits(concurrent_mints=1)) as service:
        await service.take_turn("first")
        a, b = asyncio.ensure_future(service.take_turn("a")), asyncio.ensure_future(service.take_turn("b"))
        await settled()
        await service.end_session("a")
        with pytest.raises(errors.SessionEndedError):
            await a
        assert not b.done()
        await service.dispose()
        with pytest.raises(errors.NotInitializedError, match="disposed"):
            await b


class Day:
    """What many callers do with one service, and what is left of it."""

    def __init__(self, at_once: int) -> None:
        self.wire = Wire(VirtualClock())
        self.service = make(self.wire, limits=Limits(concurrent_mints=at_once))
        self.tasks: list[asyncio.Task[Any]] = []
        self.backs: list[Callable[[], None]] = []

    async def take(self, name: str) -> None:
        self.backs.append(await self.service.take_turn(name))

    async def do(self, what: str, number: int) -> None:
        match what:
            case "turn":
                self.tasks.append(asyncio.ensure_future(self.take(str(number))))
            case "request":
                self.tasks.append(asyncio.ensure_future(self.service.request_ephemeral_key(ask(str(number)))))
            case "back" if self.backs:
                self.backs[number % len(self.backs)]()
            case "cancel" if self.tasks:
                self.tasks[number % len(self.tasks)].cancel()
            case "end":
                await self.service.end_session(str(number))

    async def evening(self) -> None:
        """Everybody goes home, whose turn comes now gives it back."""
        while self.backs or not all(task.done() for task in self.tasks):
            while self.backs:
                self.backs.pop()()
            await asyncio.sleep(0.01)
        await asyncio.gather(*self.tasks, return_exceptions=True)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["turn", "request", "back", "cancel", "end", "wait"]),
        st.integers(0, 4),
        st.sampled_from([0.0, 0.05, 0.1, 0.2]),
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 3))
def test_whatever_happens_no_turn_is_lost_and_none_is_made(steps: list[tuple[str, int, float]], at_once: int) -> None:
    async def lived() -> None:
        day = Day(at_once)
        async with day.service as service:
            for what, number, pause in steps:
                await day.do(what, number)
                await asyncio.sleep(pause)
            await day.evening()
            assert (service._mints, service._taken, await free(service)) == ({}, {}, at_once)

    run_virtual(lived())


async def test_the_authentication_test_is_not_slow_because_it_had_to_queue(wire: Wire) -> None:
    executor, moved = RecoveryExecutor(breaker=BreakerOptions(failures_in_a_row=1)), list[CircuitMoved]()
    executor.subscribe(CircuitMoved, moved.append)
    async with make(wire, recovery_executor=executor, limits=Limits(concurrent_mints=1)) as service:
        mints = [asyncio.ensure_future(service.request_ephemeral_key(ask(str(number)))) for number in range(100)]
        await settled()
        report = await service.test_authentication()
        assert (report.success, moved) == (True, [])
        assert report.latency == pytest.approx(0.1)
        await asyncio.gather(*mints)


async def test_the_authentication_test_holds_no_turn_while_it_waits_to_try_again(wire: Wire) -> None:
    async def down() -> Reply:
        return wire.reply(503, {})

    wire.answers = [down]
    executor = RecoveryExecutor()
    async with make(wire, recovery_executor=executor, limits=Limits(concurrent_mints=1)) as service:
        test = asyncio.ensure_future(service.test_authentication())
        await asyncio.sleep(0.01)
        assert (len(wire.bodies), await free(service)) == (1, 1)
        assert (await test).success
        assert await free(service) == 1


def test_the_service_says_that_it_takes_turns(wire: Wire) -> None:
    takes: TakesTurns = make(wire)
    assert isinstance(takes, TakesTurns)
