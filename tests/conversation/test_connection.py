"""Conversation: what it takes, what it sends for each of its methods, and how its stream ends."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.conversation.world import BY_HAND, TEXT, a_talk

from voicepilot import ConfigurationError, ConversationClosedError, ConversationFullError
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.happenings import ConversationEnded, InputDropped, LimitWarning
from voicepilot.ports import Usage

Json = dict[str, Any]
APPEND = "input_audio_buffer.append"


class TestWhatItTakes:
    @pytest.mark.parametrize(
        ("event", "field", "message"),
        [
            ({}, "type", "type: an event needs one, such as 'response.create'"),
            ({"type": 5}, "type", "type: an event needs one, such as 'response.create'"),
            ({"type": APPEND}, "audio", "audio: must be a text in base64; append_audio() takes bytes"),
            (
                {"type": APPEND, "audio": b"AAAA"},
                "audio",
                "audio: must be a text in base64; append_audio() takes bytes",
            ),
            ({"type": APPEND, "audio": "no"}, "audio", "audio: must be a text in base64; append_audio() takes bytes"),
            ({"type": "conversation.item.create"}, "item", "item: conversation.item.create needs one"),
            ({"type": "conversation.item.create", "item": "a"}, "item", "item: conversation.item.create needs one"),
            ({"type": "session.update"}, "session", "session: session.update needs one"),
            ({"type": "session.update", "session": []}, "session", "session: session.update needs one"),
        ],
    )
    async def test_what_is_no_event_is_refused_by_its_field(self, event: Json, field: str, message: str) -> None:
        async with a_talk() as talk:
            before = len(talk.line.record.frames(direction="in"))
            with pytest.raises(ConfigurationError) as caught:
                await talk.conversation.send(event)
            await talk.hear_out()
            assert len(talk.line.record.frames(direction="in")) == before
        assert (caught.value.field, str(caught.value)) == (field, message)

    async def test_no_more_text_than_may_wait_but_audio_still_which_makes_room(self) -> None:
        async with a_talk(config={"max_queued_bytes": 1_024}) as talk:
            talk.line.outage(5)
            await talk.until(lambda: talk.conversation.phase != "live")
            await talk.conversation.say("x" * 2_000, respond=False)
            with pytest.raises(ConversationFullError) as caught:
                await talk.conversation.say("more", respond=False)
            assert (str(caught.value), caught.value.session_id) == (
                "too much input waits for a connection",
                talk.session_id,
            )
            await talk.conversation.append_audio(bytes(480))
            await talk.hear_out()
        assert talk.user_words() == ["x" * 2_000]


class TestWhatItSends:
    @pytest.mark.parametrize(
        ("say", "sent"),
        [
            (lambda talk: talk.update(instructions="i"), [{"session": {"type": "realtime", "instructions": "i"}}]),
            (
                lambda talk: talk.say("hello", respond=False),
                [
                    {
                        "item": {
                            "type": "message",
                            "role": "user",
                            "content": [{"type": "input_text", "text": "hello"}],
                        }
                    }
                ],
            ),
            (lambda talk: talk.clear(), [{"type": "input_audio_buffer.clear"}]),
            (lambda talk: talk.commit(), [{"type": "input_audio_buffer.commit"}]),
            (lambda talk: talk.create_response(), [{"type": "response.create"}]),
            (lambda talk: talk.create_response(metadata={"a": "b"}), [{"response": {"metadata": {"a": "b"}}}]),
            (lambda talk: talk.cancel(), [{"type": "response.cancel"}]),
            (lambda talk: talk.cancel("r"), [{"type": "response.cancel", "response_id": "r"}]),
        ],
    )
    async def test_each_method_is_one_event(
        self, say: Callable[[Conversation], Awaitable[None]], sent: list[Json]
    ) -> None:
        async with a_talk(BY_HAND) as talk:
            before = len(talk.line.record.frames(direction="in"))
            await say(talk.conversation)
            await talk.hear_out()
            events = [frame.event for frame in talk.line.record.frames(direction="in")[before:]]
        told = zip(events, sent, strict=True)
        assert [{name: _bare(event.get(name)) for name in wanted} for event, wanted in told] == sent

    async def test_audio_is_sent_in_base64(self) -> None:
        async with a_talk(BY_HAND) as talk:
            await talk.conversation.append_audio(b"\1\0\2\0")
            await talk.conversation.append_audio("AQA=")
            assert [entry.event for entry in talk.conversation._driver.state.journal] == [
                {"type": APPEND, "audio": "AQACAA=="},
                {"type": APPEND, "audio": "AQA="},
            ]

    async def test_what_is_said_is_answered_unless_told_otherwise(self) -> None:
        async with a_talk() as talk:
            await talk.conversation.say("one", respond=False)
            await talk.conversation.say("two")
            await talk.hear_out()
            kinds = [frame.type for frame in talk.line.record.frames(direction="in")]
        assert kinds[-3:] == ["conversation.item.create", "conversation.item.create", "response.create"]


def _bare(value: Any) -> Any:
    """Without the id that an item was given."""
    return {name: field for name, field in value.items() if name != "id"} if isinstance(value, dict) else value


class TestItsStream:
    async def test_pieces_of_lost_audio_that_follow_each_other_are_one(self) -> None:
        pieces = [(1.0, 0.0, 1.0), (2.0, 1.0, 2.0), (3.0, 2.5, 3.0)]
        async with a_talk(read=False) as talk:
            for at, start, end in pieces:
                talk.conversation.tell(InputDropped(at=at, start=start, end=end))
            await talk.conversation.close()
            told = [event async for event in talk.conversation]
        assert [event for event in told if isinstance(event, InputDropped)] == [
            InputDropped(at=2.0, start=0.0, end=2.0),
            InputDropped(at=3.0, start=2.5, end=3.0),
        ]

    async def test_it_ends_with_the_reason_and_what_was_used(self) -> None:
        async with a_talk(TEXT) as talk:
            at = talk.clock.now()
            await talk.conversation.close()
        assert talk.happenings() == [ConversationEnded(at=at, reason="closed", usage=Usage())]
        with pytest.raises(ConversationClosedError) as caught:
            await talk.conversation.recv()
        assert (str(caught.value), caught.value.session_id) == ("the conversation is over", talk.session_id)

    async def test_it_is_warned_of_a_limit_until_it_is_over(self) -> None:
        async with a_talk() as talk:
            at = talk.clock.now()
            talk.conversation._warn("max_total_tokens", 8, 10)
            await asyncio.sleep(1)
        talk.conversation._warn("max_total_tokens", 9, 10)
        assert talk.happenings()[0] == LimitWarning(at=at, limit="max_total_tokens", used=8, allowed=10)
        assert [one.type for one in talk.happenings()] == ["voicepilot.limit-approaching", "voicepilot.ended"]

    async def test_before_it_is_opened_nothing_can_be_said(self) -> None:
        async with a_talk() as talk:
            another = talk.manager.connect(talk.session_id, url=talk.line.url)
            with pytest.raises(ConversationClosedError) as caught:
                await another.commit()
        assert (str(caught.value), caught.value.session_id) == (
            "the conversation is not open: use `async with`",
            talk.session_id,
        )

    async def test_it_says_where_it_is(self) -> None:
        async with a_talk() as talk:
            assert repr(talk.conversation) == f"Conversation(session_id={talk.session_id!r}, phase='live')"
            assert talk.conversation.connections == 1
            talk.line.cut()
            await talk.hear_out()
            assert talk.conversation.connections == 2


async def test_what_is_over_is_let_go_of_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with a_talk(session_life=600.0) as talk:
            await talk.conversation.say("Hello")
            await asyncio.sleep(700)  # a handover, too
            assert talk.conversation.connections == 2
            mirror = talk.conversation._driver.state.mirror
            parts = (talk.conversation, talk.conversation._driver, mirror, mirror._recordings)
            watched = [weakref.ref(part) for part in parts]
        del talk, parts, mirror
        assert [ref() for ref in watched] == [None] * 4
    finally:
        gc.enable()
