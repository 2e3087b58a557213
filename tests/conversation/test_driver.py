"""What the driver does where the core is of no help: dials that hang, addresses, and events it cannot make sense of."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.conversation.world import a_manager, a_talk

from voicepilot.conversation import driver as shell
from voicepilot.conversation.driver import CONFUSED
from voicepilot.conversation.inputs import Heard
from voicepilot.conversation.machine import step
from voicepilot.conversation.ports import Socket
from voicepilot.conversation.restoring import NOT_READY
from voicepilot.errors import AttemptRefusedError, ConversationLostError, Fault, FaultDomain
from voicepilot.testing import EmulatedLine, FakeKeyService, VirtualClock


class Hanging:
    """A dialler whose dials never come to anything."""

    async def dial(self, _: str, __: str) -> Socket:
        never: asyncio.Future[Socket] = asyncio.get_running_loop().create_future()
        return await never

    async def dispose(self) -> None: ...


async def test_a_dial_that_hangs_is_given_up_by_itself_at_its_limit() -> None:
    async with a_talk() as talk:
        driver = talk.conversation._driver
        driver._dialler, began = Hanging(), asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await driver._dial(7.0)
        assert asyncio.get_running_loop().time() - began == pytest.approx(7.0)


def test_and_counts_as_a_connection_that_was_not_ready() -> None:
    assert shell._fault_of(TimeoutError()) is NOT_READY


def test_a_provider_that_is_given_a_rest_says_when_to_come_back() -> None:
    refusal = AttemptRefusedError("it rests", retry_in=7.5, remediation="Wait.")
    assert shell._fault_of(refusal) == Fault(
        code=AttemptRefusedError.code,
        message="it rests",
        remediation="Wait.",
        retryable=True,
        domain=FaultDomain.TRANSPORT,
        retry_after=7.5,
    )


async def test_what_is_no_event_is_noted_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with a_talk() as talk:
        driver = talk.conversation._driver
        for text in ("{", "[]", "{}", '{"type": 5}', '{"type": "response.created"}'):
            driver._hear(1, text)
            driver._hear(2, text)
        assert talk.conversation.phase == "live"
    none = f"the provider sent something that is no event to session {talk.session_id}"
    incomplete = f"the provider sent an incomplete event to session {talk.session_id}"
    assert [record.getMessage() for record in caplog.records if record.name == "voicepilot"] == [
        *[none] * 8,
        *[incomplete] * 2,
    ]
    assert len(talk.of("response.created")) == 1, "the reader is told, of the connection that carries the conversation"


async def test_without_an_address_the_application_is_told_to_give_one() -> None:
    clock = VirtualClock()
    async with a_manager(EmulatedLine(clock=clock), FakeKeyService(), clock) as talk:
        with pytest.raises(ConversationLostError) as caught:
            async with talk.manager.connect(talk.session_id):
                pass
    assert str(caught.value) == "the key service does not say where a realtime connection is opened"
    assert caught.value.remediation == "Give connect() the address: url='wss://…/realtime?model=…'."
    assert caught.value.session_id == talk.session_id


class TestAMistakeOfOurs:
    async def test_costs_the_connection_and_not_the_conversation(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def wrong(state: Any, given: Any, now: float) -> Any:
            if isinstance(given, Heard) and given.event["type"] == "response.created":
                monkeypatch.setattr(shell, "step", step)
                raise ZeroDivisionError
            return step(state, given, now)

        async with a_talk() as talk:
            monkeypatch.setattr(shell, "step", wrong)
            await talk.conversation.say("hello")
            await talk.hear_out()
        assert [one.type for one in talk.happenings()] == [
            "voicepilot.reconnecting",
            "voicepilot.restored",
            "voicepilot.ended",
        ]
        assert talk.of("voicepilot.reconnecting")[0].fault is CONFUSED
        assert talk.answered() == ["re hello"]
        (noted,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert noted.getMessage() == f"response.created could not be taken in for session {talk.session_id}"
        assert noted.exc_info
