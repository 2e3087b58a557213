"""A cancellation at every single await of opening, sending, reading and closing a conversation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.conversation.world import TEXT, Talk, a_manager, a_talk
from tests.runtime.test_cancellation import Injector

from voicepilot import KeyRequest
from voicepilot.conversation.connection import Conversation
from voicepilot.ports import EphemeralKey
from voicepilot.testing import EmulatedLine, FakeKeyService, VirtualClock, run_virtual
from voicepilot.testing.wire import ClientEnd

Act = Callable[["Stage"], Awaitable[None]]


class Slow(FakeKeyService):
    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        await asyncio.sleep(0.01)
        return await super()._answer(request, renewal=renewal)


class SlowEnd:
    """A socket that waits after it has sent something, as one over a network may."""

    def __init__(self, end: ClientEnd) -> None:
        self._end = end

    async def send(self, text: str) -> None:
        await self._end.send(text)
        await asyncio.sleep(0.001)

    async def receive(self) -> Any:
        return await self._end.receive()

    async def ping(self) -> None:
        await self._end.ping()

    async def close(self, code: int = 1000) -> None:
        try:
            await asyncio.sleep(0.1)
        finally:
            await self._end.close(code)


class SlowLine(EmulatedLine):
    async def dial(self, url: str, token: str) -> Any:
        await asyncio.sleep(0.01)
        return SlowEnd(await super().dial(url, token))


class Stage:
    def __init__(self, talk: Talk, injector: Injector) -> None:
        self.talk = talk
        self.injector = injector

    def conversation(self) -> Conversation:
        return self.talk.manager.connect(self.talk.session_id, url=self.talk.line.url, **TEXT)

    async def call(self, work: Any, name: str) -> None:
        """Have somebody do it who may be cancelled at any moment."""
        await asyncio.wait({asyncio.create_task(self.injector.watch(work, name))})


async def _use(conversation: Conversation) -> None:
    async with conversation:
        await conversation.say("one")
        async for event in conversation:
            if event.type == "response.done":
                break


async def use(stage: Stage) -> None:
    """Everything, in a task that is cancelled."""
    await stage.call(_use(stage.conversation()), "use")


async def speak(stage: Stage) -> None:
    """Somebody is cancelled while he sends; what he sent before, and others, is not lost."""
    async with stage.conversation() as conversation:
        done: list[str] = []

        async def many(name: str) -> None:
            for number in range(3):
                await conversation.say(f"{name}{number}", respond=False)
                done.append(f"{name}{number}")

        cancelled = asyncio.create_task(stage.call(many("a"), "speak"))
        await asyncio.sleep(0.0005)  # so that it writes what the other says
        await many("b")
        await cancelled
        await asyncio.sleep(1)
        texts = stage.talk.user_words()
        assert [text for text in texts if text[0] == "b"] == ["b0", "b1", "b2"]
        said = [text for text in texts if text[0] == "a"]
        assert said == ["a0", "a1", "a2"][: len(said)]
        assert set(done) <= set(texts)


async def read(stage: Stage) -> None:
    """A reader is cancelled, and the next one gets what he did not."""
    async with stage.conversation() as conversation:
        got: list[str] = []

        async def reading() -> None:
            async for event in conversation:
                got.append(event.type)  # noqa: PERF401 - what was got before the cancellation counts

        reader = asyncio.create_task(stage.injector.watch(reading(), "read"))
        await conversation.say("one")
        await asyncio.sleep(1)
        if stage.injector.hit:
            reader = asyncio.create_task(reading())
        await asyncio.sleep(1)
        await conversation.close()
        await asyncio.wait({reader})
        assert got.count("response.done") == 1
        assert got[-1] == "voicepilot.ended"


async def close(stage: Stage) -> None:
    conversation = await stage.conversation().__aenter__()
    await stage.call(conversation.close(), "close")
    with pytest.raises(Exception, match="over"):
        await conversation.say("too late")


async def close_while_dialling(stage: Stage) -> None:
    conversation = stage.conversation()
    opening = asyncio.create_task(conversation.__aenter__())
    await asyncio.sleep(0.015)
    await stage.call(conversation.close(), "close")
    await asyncio.wait({opening})
    assert opening.exception() is not None


ACTS: list[Act] = [use, speak, read, close, close_while_dialling]


async def _play(act: Act, injector: Injector) -> None:
    clock = VirtualClock()
    line = SlowLine(clock=clock, latency=0.01)
    async with asyncio.timeout(60), a_manager(line, Slow(), clock) as talk:
        stage = Stage(talk, injector)
        await act(stage)
        injector.at = 0
        await asyncio.sleep(2)
        assert talk.line.connected == 0, injector.hit
        async with stage.conversation() as another:  # nothing is in the way of another
            await another.say("again")
            async for event in another:
                if event.type == "response.done":
                    break
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_a_cancellation_at_any_await_leaves_nothing(act: Act) -> None:
    hits: Counter[str] = Counter()
    for at in range(1, 500):
        injector = Injector(at)
        run_virtual(_play(act, injector))
        if not injector.hit:
            break
        hits[injector.hit] += 1
    assert hits.total() >= (act is not close_while_dialling), "there is nothing to wait for yet"


async def test_a_reader_that_gives_up_takes_nothing_from_another() -> None:
    async with a_talk(read=False) as talk:
        conversation = talk.conversation
        while (await conversation.recv()).type != "session.updated":
            pass
        readers = [asyncio.create_task(conversation.recv()) for _ in range(2)]
        await asyncio.sleep(0.1)
        readers[0].cancel()
        await asyncio.sleep(0.1)
        await conversation.say("one", respond=False)
        assert (await readers[1]).type == "conversation.item.added"
