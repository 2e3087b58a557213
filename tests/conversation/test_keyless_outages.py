"""What a conversation does when there is neither a line nor a key: how soon it is back, and how often it asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.conversation.world import Talk, a_talk

from voicepilot import ConversationLifecycleHooks, KeyServiceError
from voicepilot.conversation.state import LONGEST_PAUSE
from voicepilot.events import RenewalStarted
from voicepilot.lifecycle.session import Trigger
from voicepilot.recovery import BreakerOptions
from voicepilot.testing import EmulatedLine, FakeKeyService

DOWN = KeyServiceError("busy", code="MINT_503", retryable=True)
OUTAGES = [3, 10, 20, 45, 70, 95, 130, 170, 215, 260, 285]

EACH_AGAIN = 0.75 * LONGEST_PAUSE
"""Seconds between two dials in a long outage, at least."""


async def an_outage_of_both(talk: Talk, seconds: float) -> float:
    """Both are down so long; seconds until the conversation is restored after both are back."""
    talk.keys.fail(DOWN, 10_000)
    talk.line.outage(seconds)
    await asyncio.sleep(seconds)
    talk.keys.heal()
    back = talk.clock.now()
    await talk.until(lambda: bool(talk.of("voicepilot.restored")), limit=120)
    return talk.clock.now() - back


@pytest.mark.parametrize("seconds", OUTAGES)
class TestBoth:
    async def test_it_is_back_with_the_next_dial(self, seconds: float) -> None:
        async with a_talk(keys=FakeKeyService(key_life=120)) as talk:
            before = len(talk.keys.mints)
            assert await an_outage_of_both(talk, seconds) <= LONGEST_PAUSE + 0.2
            asked = len(talk.keys.mints) - before
            # A dial asks once; the first six come sooner, and so may the attempts of a session whose key is good.
            assert asked <= seconds / EACH_AGAIN + 10

    async def test_it_is_so_with_circuits_that_are_open(self, seconds: float) -> None:
        async with a_talk(keys=FakeKeyService(key_life=120), breaker=BreakerOptions()) as talk:
            before = len(talk.keys.mints)
            assert await an_outage_of_both(talk, seconds) <= LONGEST_PAUSE + 1.5  # and what a probe makes others wait
            assert len(talk.keys.mints) - before <= seconds / EACH_AGAIN + 10


@pytest.mark.parametrize("seconds", OUTAGES)
async def test_a_line_that_is_down_is_tried_by_who_talks_although_its_circuit_is_open(seconds: float) -> None:
    async with a_talk(session_life=3_600.0, breaker=BreakerOptions()) as talk:
        talk.line.outage(seconds)
        await asyncio.sleep(seconds)
        back = talk.clock.now()
        await talk.until(lambda: bool(talk.of("voicepilot.restored")), limit=120)
        assert talk.clock.now() - back <= LONGEST_PAUSE + 1.5


async def test_a_dial_that_a_circuit_refuses_costs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = 0
    dial = EmulatedLine.dial

    async def counted(*given: Any, **more: Any) -> Any:
        nonlocal dialled
        dialled += 1
        return await dial(*given, **more)

    monkeypatch.setattr(EmulatedLine, "dial", counted)
    async with a_talk(session_life=3_600.0, breaker=BreakerOptions(urgent_break=None)) as talk:
        before = (dialled, len(talk.keys.mints))
        talk.line.outage(250)
        await asyncio.sleep(250)
        assert (dialled - before[0]) >= 8
        assert len(talk.keys.mints) - before[1] <= dialled - before[0] + 1


async def test_a_round_that_the_timer_began_is_not_waited_out() -> None:
    async with a_talk(keys=FakeKeyService(key_life=60)) as talk:
        talk.keys.fail(DOWN, 10_000)
        await asyncio.sleep(200)
        talk.line.cut()
        await asyncio.sleep(50)
        talk.keys.heal()
        back = talk.clock.now()
        await talk.until(lambda: bool(talk.of("voicepilot.restored")), limit=120)
        assert talk.clock.now() - back <= LONGEST_PAUSE + 0.2


async def test_a_handover_and_a_fall_are_each_told_once_and_the_key_of_a_dial_is_not() -> None:
    told: list[str] = []
    async with a_talk(session_life=600.0) as talk:
        hooks = ConversationLifecycleHooks(
            on_session_suspending=lambda _, reason: told.append(reason),
            on_session_resumed=lambda _: told.append("resumed"),
        )
        talk.manager.register_conversation_hooks(hooks)
        await asyncio.sleep(550)
        talk.line.cut()
        await talk.hear_out()
        assert told == ["handover", "resumed", "reconnect", "resumed"]
        begun = [event.trigger for event in talk.recorder.events if isinstance(event, RenewalStarted)]
        assert begun == [Trigger.CONNECTION] * 2
