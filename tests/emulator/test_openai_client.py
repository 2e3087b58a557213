"""The official `openai` client, unchanged, against the emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from voicepilot.emulator import RealtimeEmulator

pytestmark = pytest.mark.sockets


@pytest.fixture
async def client(emulator: RealtimeEmulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="sk-test-0123456789", base_url=emulator.base_url, max_retries=0) as client:
        yield client


async def test_it_mints_a_key_and_holds_a_text_turn(emulator: RealtimeEmulator) -> None:
    async with AsyncOpenAI(api_key="sk-test-0123456789", base_url=emulator.base_url) as client:
        minted = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "model": "gpt-realtime", "output_modalities": ["text"]},
        )
    async with (
        AsyncOpenAI(api_key=minted.value, base_url=emulator.base_url) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Good morning"}]}
        )
        await connection.response.create()
        kinds, text = [], ""
        async for event in connection:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type == "response.done":
                break
    assert text == "Good morning"
    assert kinds == [
        "session.created",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
