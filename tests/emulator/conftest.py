from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from voicepilot.emulator import Faults, RealtimeEmulator
from voicepilot.emulator.answers import Answers, FunctionAnswers
from voicepilot.emulator.audio import FORMATS, silence, tone
from voicepilot.emulator.checks import Json
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.effects import Effect, Send
from voicepilot.emulator.ids import Ids
from voicepilot.emulator.session import new_session
from voicepilot.emulator.stage import Terms

Until = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
async def emulator() -> AsyncIterator[RealtimeEmulator]:
    async with RealtimeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


@pytest.fixture
def until() -> Until:
    """Wait for something that other tasks bring about; what never comes fails the test."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - nobody tells us, so we look
                await asyncio.sleep(0.001)

    return wait


class Talk:
    """A conversation without a socket: what it says, and the time it thinks it is."""

    def __init__(
        self, answers: Answers | None = None, *, protocol: type[Conversation] = Conversation, **terms: Any
    ) -> None:
        numbers = itertools.count()
        ids = Ids(lambda length: str(next(numbers)).zfill(length)[-length:])
        self.now = 1_800_000_000.0
        self.faults = Faults()
        session = new_session("sess_test")
        answerer = (answers or FunctionAnswers()).begin()
        self.conversation = protocol(session, answerer, terms=Terms(**terms), ids=ids, faults=self.faults, now=self.now)

    def send(self, kind: str, **fields: Any) -> list[Json]:
        """Send an event, and let everything happen that is due at once."""
        return self.events(self.raw(json.dumps({"type": kind, **fields})))

    def raw(self, data: str | bytes) -> list[Effect]:
        return self.conversation.receive(data, self.now) + self.due()

    def due(self) -> list[Effect]:
        effects: list[Effect] = []
        while (at := self.conversation.wake_at()) is not None and at <= self.now:
            effects += self.conversation.wake(self.now)
        return effects

    def wait(self, seconds: float) -> list[Json]:
        """Let time pass, stopping wherever something is due."""
        until, events = self.now + seconds, []
        while (at := self.conversation.wake_at()) is not None and at <= until:
            self.now = max(self.now, at)
            events += self.events(self.due())
        self.now = until
        return events

    def update(self, **changes: Any) -> list[Json]:
        return self.send("session.update", session={"type": "realtime", **changes})

    def say(self, text: str, **item: Any) -> list[Json]:
        content = [{"type": "input_text", "text": text}]
        return self.send(
            "conversation.item.create", item={"type": "message", "role": "user", "content": content, **item}
        )

    def hear(self, seconds: float, *, loud: bool) -> list[Json]:
        pcm = FORMATS["audio/pcm"]
        data = tone(seconds, pcm) if loud else silence(seconds, pcm)
        return self.send("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    @staticmethod
    def events(effects: list[Effect]) -> list[Json]:
        return [effect.event for effect in effects if isinstance(effect, Send)]


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.fixture
def new_talk() -> type[Talk]:
    return Talk
