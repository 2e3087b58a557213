"""The official client's names for what may be said: each is one event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from voicepilot.conversation.resources import (
    ConversationResource,
    InputAudioBufferResource,
    ResponseResource,
    SessionResource,
)

Json = dict[str, Any]


class Sent:
    """Every resource, and the events that they sent."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.session = SessionResource(self._send)
        self.response = ResponseResource(self._send)
        self.buffer = InputAudioBufferResource(self._send)
        self.item = ConversationResource(self._send).item

    async def _send(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)


EVENTS: list[tuple[Callable[[Sent], Awaitable[None]], Json]] = [
    (lambda sent: sent.session.update(session={"voice": "v"}), {"type": "session.update", "session": {"voice": "v"}}),
    (
        lambda sent: sent.session.update(session={}, event_id="e"),
        {"type": "session.update", "session": {}, "event_id": "e"},
    ),
    (lambda sent: sent.response.create(), {"type": "response.create"}),
    (
        lambda sent: sent.response.create(response={"instructions": "i"}, event_id="e"),
        {"type": "response.create", "response": {"instructions": "i"}, "event_id": "e"},
    ),
    (lambda sent: sent.response.cancel(), {"type": "response.cancel"}),
    (
        lambda sent: sent.response.cancel(response_id="r", event_id="e"),
        {"type": "response.cancel", "response_id": "r", "event_id": "e"},
    ),
    (
        lambda sent: sent.buffer.append(audio="AAAA", event_id="e"),
        {"type": "input_audio_buffer.append", "audio": "AAAA", "event_id": "e"},
    ),
    (lambda sent: sent.buffer.commit(event_id="e"), {"type": "input_audio_buffer.commit", "event_id": "e"}),
    (lambda sent: sent.buffer.clear(event_id="e"), {"type": "input_audio_buffer.clear", "event_id": "e"}),
    (
        lambda sent: sent.item.create(item={"id": "i"}, previous_item_id="p", event_id="e"),
        {"type": "conversation.item.create", "item": {"id": "i"}, "previous_item_id": "p", "event_id": "e"},
    ),
    (
        lambda sent: sent.item.delete(item_id="i", event_id="e"),
        {"type": "conversation.item.delete", "item_id": "i", "event_id": "e"},
    ),
    (
        lambda sent: sent.item.retrieve(item_id="i", event_id="e"),
        {"type": "conversation.item.retrieve", "item_id": "i", "event_id": "e"},
    ),
    (
        lambda sent: sent.item.truncate(item_id="i", audio_end_ms=7),
        {"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": 7, "content_index": 0},
    ),
    (
        lambda sent: sent.item.truncate(item_id="i", audio_end_ms=7, content_index=1, event_id="e"),
        {
            "type": "conversation.item.truncate",
            "item_id": "i",
            "audio_end_ms": 7,
            "content_index": 1,
            "event_id": "e",
        },
    ),
]


@pytest.mark.parametrize(("call", "event"), EVENTS)
async def test_each_is_one_event(call: Callable[[Sent], Awaitable[None]], event: Json) -> None:
    sent = Sent()
    await call(sent)
    assert sent.events == [event]
