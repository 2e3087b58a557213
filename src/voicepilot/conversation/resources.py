"""The names that the official client's connection has, so that code written for it finds them here.

`conversation.session.update(session=…)`, `conversation.response.create()`, `conversation.input_audio_buffer.append(…)`,
`conversation.conversation.item.create(item=…)`: openai-python `resources/realtime/realtime.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Resource:
    """A group of client events."""

    __slots__ = ("_say",)

    def __init__(self, send: Send) -> None:
        self._say = send

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._say({"type": kind, **{name: value for name, value in fields.items() if value is not None}})


class SessionResource(Resource):
    """`session.*`."""

    __slots__ = ()

    async def update(self, *, session: Mapping[str, Any], event_id: str | None = None) -> None:
        """Change the session's options; the next connections get them too."""
        await self._send("session.update", session=dict(session), event_id=event_id)


class ResponseResource(Resource):
    """`response.*`."""

    __slots__ = ()

    async def create(self, *, response: Mapping[str, Any] | None = None, event_id: str | None = None) -> None:
        """Ask for an answer."""
        await self._send("response.create", response=response, event_id=event_id)

    async def cancel(self, *, response_id: str | None = None, event_id: str | None = None) -> None:
        """Stop the answer under way."""
        await self._send("response.cancel", response_id=response_id, event_id=event_id)


class InputAudioBufferResource(Resource):
    """`input_audio_buffer.*`."""

    __slots__ = ()

    async def append(self, *, audio: str, event_id: str | None = None) -> None:
        """Add base64 audio to what the user says."""
        await self._send("input_audio_buffer.append", audio=audio, event_id=event_id)

    async def commit(self, *, event_id: str | None = None) -> None:
        """The user's turn is over."""
        await self._send("input_audio_buffer.commit", event_id=event_id)

    async def clear(self, *, event_id: str | None = None) -> None:
        """Forget the audio that was not committed."""
        await self._send("input_audio_buffer.clear", event_id=event_id)


class ItemResource(Resource):
    """`conversation.item.*`."""

    __slots__ = ()

    async def create(
        self, *, item: Mapping[str, Any], previous_item_id: str | None = None, event_id: str | None = None
    ) -> None:
        """Add an item to the conversation."""
        await self._send(
            "conversation.item.create", item=dict(item), previous_item_id=previous_item_id, event_id=event_id
        )

    async def delete(self, *, item_id: str, event_id: str | None = None) -> None:
        """Take an item out of it."""
        await self._send("conversation.item.delete", item_id=item_id, event_id=event_id)

    async def retrieve(self, *, item_id: str, event_id: str | None = None) -> None:
        """Ask for an item as the server has it, with its audio."""
        await self._send("conversation.item.retrieve", item_id=item_id, event_id=event_id)

    async def truncate(
        self, *, item_id: str, audio_end_ms: int, content_index: int = 0, event_id: str | None = None
    ) -> None:
        """Only so much of the assistant's audio was heard."""
        await self._send(
            "conversation.item.truncate",
            item_id=item_id,
            audio_end_ms=audio_end_ms,
            content_index=content_index,
            event_id=event_id,
        )


class ConversationResource:
    """`conversation.*`."""

    __slots__ = ("item",)

    def __init__(self, send: Send) -> None:
        self.item = ItemResource(send)
