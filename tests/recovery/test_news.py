from __future__ import annotations

import asyncio
import logging

import pytest

from tests.recovery.cast import DENIED, DOWN, QUICK, Operation, a_context
from voicepilot.recovery import AttemptFailed, OperationOver, RecoveryExecutor, RetryScheduled
from voicepilot.recovery.news import Newsroom


async def test_an_observer_hears_what_it_asked_for_until_it_is_disposed() -> None:
    executor = RecoveryExecutor(policies={"test": QUICK})
    heard: list[OperationOver] = []
    with executor.subscribe(OperationOver, heard.append) as subscription:
        await executor.execute(Operation(DOWN), a_context())
    subscription.dispose()
    await executor.execute(Operation(DOWN), a_context())
    assert len(heard) == 1


async def test_an_observer_that_raises_is_logged_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    executor = RecoveryExecutor(policies={"test": QUICK})
    heard: list[object] = []

    def broken(_: object) -> None:
        raise ValueError("mine")

    executor.subscribe(AttemptFailed, broken)
    executor.subscribe(RetryScheduled, broken)
    executor.subscribe(OperationOver, broken)
    executor.subscribe(AttemptFailed, heard.append)
    executor.subscribe(RetryScheduled, heard.append)
    executor.subscribe(OperationOver, heard.append)
    operation = Operation(DOWN)
    assert await executor.execute(operation, a_context()) == "done"
    assert len(operation.calls) == 2
    assert len(heard) == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3


async def test_an_async_observer_is_refused() -> None:
    class Callable:
        async def __call__(self, _: object) -> None: ...

    for handler in (Callable(), Callable().__call__):
        with pytest.raises(TypeError, match="plain function"):
            RecoveryExecutor().subscribe(OperationOver, handler)


def test_one_that_unsubscribes_another_is_obeyed_at_once() -> None:
    newsroom = Newsroom(logging.getLogger("test"))
    heard: list[str] = []

    def first(_: OperationOver) -> None:
        heard.append("first")
        second.dispose()

    newsroom.subscribe(OperationOver, first)
    second = newsroom.subscribe(OperationOver, lambda _: heard.append("second"))
    executor = asyncio.run(_over())
    newsroom.publish(executor)
    assert heard == ["first"]
    newsroom.clear()
    newsroom.publish(executor)
    assert heard == ["first"]


async def _over() -> OperationOver:
    executor = RecoveryExecutor()
    heard: list[OperationOver] = []
    executor.subscribe(OperationOver, heard.append)
    with pytest.raises(type(DENIED)):
        await executor.execute(Operation(DENIED), a_context())
    return heard[0]
