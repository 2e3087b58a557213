"""Who calls in a soak: sessions that are held for a while, some of them with a conversation, again and again."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from contextlib import suppress

from voicepilot import Conversation, ConversationConfig, Happening, SessionConfig, SessionManager, VoicePilotError

HELD = (40.0, 120.0)  # seconds of a session: two to six keys, one to three connections
PAUSE = (2.0, 4.0)  # seconds between two turns of a conversation
ANSWER = 20.0  # seconds an answer may take, outages included
SESSION = SessionConfig(key_life_seconds=30, renewal_margin_seconds=10, renewal_spread_seconds=3)
CONVERSATION = ConversationConfig(handover_margin_seconds=15, handover_deadline_seconds=5)


class Callers:
    """Keeps so many sessions and conversations going, and counts what happens to them."""

    def __init__(self, manager: SessionManager, seed: int) -> None:
        self.counted: Counter[str] = Counter()
        self._manager = manager
        self._seed = seed

    async def hold(self, number: int, *, talking: bool) -> None:
        """One caller, for ever: session after session."""
        chance = random.Random(f"{self._seed}/{number}")
        await asyncio.sleep(chance.uniform(0, 10))
        for life in itertools.count():
            try:
                await self._live(f"voice-{number}-{life}", chance, talking=talking)
            except VoicePilotError as error:
                self.counted[f"failed: {error.code} ({error.fault.code})"] += 1
                await asyncio.sleep(1)

    async def _live(self, name: str, chance: random.Random, *, talking: bool) -> None:
        async with self._manager.session(SESSION, model=name) as session:
            self.counted["sessions"] += 1
            held = chance.uniform(*HELD)
            if not talking:
                await asyncio.sleep(held)
                self._check(session.session_id)
                return
            async with self._manager.connect(session.session_id, config=CONVERSATION) as conversation:
                with suppress(TimeoutError):
                    async with asyncio.timeout(held):
                        await self._talk(conversation, chance)
            self.counted["connections"] += conversation.connections

    def _check(self, session_id: str) -> None:
        if not self._manager.is_session_active(session_id):
            self.counted["not active"] += 1

    async def _talk(self, conversation: Conversation, chance: random.Random) -> None:
        for number in itertools.count():
            self.counted["said"] += 1
            await conversation.say(f"Tell me of number {number}.")
            self.counted["answered" if await self._is_answered(conversation) else "unanswered"] += 1
            await asyncio.sleep(chance.uniform(*PAUSE))

    async def _is_answered(self, conversation: Conversation) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER) as limit:
                async for event in conversation:
                    if isinstance(event, Happening):
                        self.counted[event.type.removeprefix("voicepilot.")] += 1
                    elif event.type == "response.done" and event.response.status == "completed":
                        return True
                    elif event.type == "response.done":
                        await conversation.create_response()  # it failed at the provider
            assert limit.expired()
        return False
