"""The long call of the demo: one managed conversation, on connections that the provider cuts every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from voicepilot.cli.demo.history import LongCall
from voicepilot.cli.screen import sentence
from voicepilot.cli.words import told
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.events import ServerEvent
from voicepilot.conversation.happenings import ConversationRestored, Handover, Happening, TurnInterrupted
from voicepilot.emulator import Call, Say, Turn, Wait
from voicepilot.errors import ConversationClosedError, ConversationLostError

ANSWERING = 0.6
"""Seconds the emulated model thinks before it answers."""

BREATH = 0.3
"""Seconds between an answer and the caller's next line."""

TOOL = "find_table"
OPTIONS: dict[str, Any] = {
    "output_modalities": ["text"],
    "instructions": "You book tables.",
    "tools": [{"type": "function", "name": TOOL, "description": "Finds a free table.", "parameters": {}}],
}
FOUND = '{"table":"by the window"}'

GREETING = "Good evening, it is about a dinner."
ASKING = "Is there a table for four tonight?"
LAST = "What did I say first?"
CRASHING = 12
"""Events the provider sends after a line before the crash: by then it is in the middle of its answer."""


def answer(turn: Turn) -> tuple[Wait, Say | Call]:
    """What the emulated model says: it repeats, looks for a table when asked for one, and knows what was said."""
    if turn.items and turn.items[-1]["type"] == "function_call_output":
        return Wait(ANSWERING), Say("The one by the window is free.")
    if turn.text == ASKING:
        return Wait(ANSWERING), Call(TOOL, {"people": 4})
    if turn.text == LAST:
        mine = [item["content"][0]["text"] for item in turn.items if item.get("role") == "user"]
        return Wait(ANSWERING), Say(f"You have said {len(mine)} things, and the first was: {mine[0]}")
    return Wait(ANSWERING), Say(f"You said: {turn.text}")


class LongCaller:
    """Somebody in a conversation. `said` is what was said on both sides, as she heard it."""

    def __init__(self, who: str, conversation: Conversation, tell: Callable[[str, str, str], None]) -> None:
        self._who = who
        self._conversation = conversation
        self._tell = tell
        self._answered = asyncio.Event()
        self._news = asyncio.Event()
        self.said: list[tuple[str, str]] = []  # user, assistant, call or output; and the words
        self.handovers = self.falls = self.asked_again = 0
        self.outage = 0.0
        self.lost = ""

    async def say(self, line: str) -> None:
        """Say a line and hear the answer out."""
        self._answered.clear()
        self.said.append(("user", line))
        try:
            await self._conversation.say(line)
        except (ConversationClosedError, ConversationLostError):
            return  # whoever listens knows why
        if not self.lost:
            await self._answered.wait()
            await asyncio.sleep(BREATH)

    async def listen(self) -> None:
        """Hear everything until the end of the conversation."""
        try:
            async for event in self._conversation:
                if isinstance(event, Happening):
                    self._happened(event)
                elif event.type == "response.done":
                    await self._hear(event)
        except ConversationLostError as error:
            self.lost = error.message
            self._tell(self._who, f"the call is lost: {sentence(error.message)}", "bad")
        self._answered.set()

    async def _hear(self, event: ServerEvent) -> None:
        for item in event.response.output:
            if item.type == "function_call":
                await self._use_tool(item)
                return
            self.said.append(("assistant", "".join(part.text for part in item.content)))
        self._answered.set()

    async def _use_tool(self, call: ServerEvent) -> None:
        self.said += [("call", f"{call.name} {call.arguments}"), ("output", f"{call.name} {FOUND}")]
        output = {"type": "function_call_output", "call_id": call.call_id, "output": FOUND}
        await self._conversation.conversation.item.create(item=output)
        await self._conversation.create_response()

    def _happened(self, event: Happening) -> None:
        match event:
            case Handover():
                self.handovers += 1
            case ConversationRestored():
                self.falls += 1
                self.outage = max(self.outage, event.outage)
            case TurnInterrupted(action="retry"):
                self.asked_again += 1
            case TurnInterrupted():
                self._answered.set()
        if words := told(event):
            self._tell(self._who, words, "bad" if event.type.endswith("reconnecting") else "good")

    def told_of(self, *, lasted: float, transcript: tuple[tuple[str, str], ...]) -> LongCall:
        """The call, for the checks."""
        return LongCall(
            lasted=lasted,
            said=tuple(self.said),
            transcript=transcript,
            handovers=self.handovers,
            falls=self.falls,
            asked_again=self.asked_again,
            outage=self.outage,
            lost=self.lost,
        )
