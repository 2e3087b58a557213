"""A conversation in lines: what is typed is said, what is answered is written, what happens to it is noted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable

from voicepilot.cli.audio import Headset
from voicepilot.cli.codes import FAILED
from voicepilot.cli.screen import sentence
from voicepilot.cli.words import told
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.events import ServerEvent
from voicepilot.conversation.happenings import Happening, TurnInterrupted
from voicepilot.errors import ConversationClosedError, ConversationFullError, ConversationLostError

PATIENCE = 30.0
"""Seconds that the end of the input waits for the last answer."""


class Page:
    """Standard output. `lost` is called when it cannot be written."""

    def __init__(self, lost: Callable[[OSError], None]) -> None:
        self._lost = lost
        self._open = False  # a line of the assistant's is not ended yet

    def say(self, text: str) -> None:
        """Go on with the assistant's line, or begin one."""
        self._put(text if self._open else f"< {text}")
        self._open = True

    def end_line(self) -> None:
        """The assistant has said it."""
        if self._open:
            self._open = False
            self._put("\n")

    def note(self, text: str) -> None:
        """Something about the conversation, not in it."""
        self.end_line()
        self._put(f"-- {text}\n")

    def _put(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            self._lost(error)


class Terminal:
    """Lines in, words out. `drop` cuts the connection, where somebody can."""

    def __init__(
        self,
        conversation: Conversation,
        page: Page,
        *,
        drop: Callable[[], None] | None = None,
        headset: Headset | None = None,
    ) -> None:
        self._conversation = conversation
        self._page = page
        self._drop = drop
        self._headset = headset
        self._lost = False
        self._turns = 0
        self._awaited = 0  # answers
        self._answered = asyncio.Event()
        self._answered.set()

    async def run(self, lines: AsyncIterator[str]) -> int:
        """Until the lines end, or the conversation does; 1 if it was lost."""
        self._help()
        async with asyncio.TaskGroup() as tasks:
            hearing, speaking = tasks.create_task(self._hear()), tasks.create_task(self._speak(lines))
            others = [speaking]
            if self._headset is not None:
                others.append(tasks.create_task(self._headset.listen(self._conversation)))
            await asyncio.wait({hearing, speaking}, return_when=asyncio.FIRST_COMPLETED)
            await self._conversation.close()
            for task in others:
                task.cancel()
        self._sum_up()
        return FAILED if self._lost else 0

    def _help(self) -> None:
        aloud = ", or speak" if self._headset else ""
        drop = " /drop cuts the connection." if self._drop else ""
        self._page.note(f"Say something: type a line{aloud}.{drop} /quit ends.")

    # --- speaking ---------------------------------------------------------------------------------------------------

    async def _speak(self, lines: AsyncIterator[str]) -> None:
        async for line in lines:
            if not await self._obey(line.strip()):
                break
        try:
            async with asyncio.timeout(PATIENCE):
                await self._answered.wait()
        except TimeoutError:
            self._page.note(f"no answer in {PATIENCE:.0f} s")

    async def _obey(self, line: str) -> bool:
        if line == "/drop" and self._drop is not None:
            self._drop()
        elif line.startswith("/") and line != "/quit":
            self._help()
        elif line != "/quit" and line:
            await self._say(line)
        return line != "/quit"

    async def _say(self, line: str) -> None:
        try:
            await self._conversation.say(line)
        except ConversationFullError as error:
            self._page.note(f"not said: {sentence(error.message)} {error.remediation}")
        except (ConversationClosedError, ConversationLostError):
            return  # whoever hears says why
        else:
            self._awaited += 1
            self._answered.clear()

    # --- hearing ----------------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        try:
            async for event in self._conversation:
                if isinstance(event, Happening):
                    self._happened(event)
                else:
                    self._show(event)
                if self._headset is not None:
                    await self._headset.hear(event, self._conversation)
        except ConversationLostError as error:
            self._lost = True
            self._page.note(f"the conversation is lost: {sentence(error.message)} {error.remediation}")

    def _happened(self, event: Happening) -> None:
        if words := told(event):
            self._page.note(words)
        if isinstance(event, TurnInterrupted) and event.action != "retry":
            self._answer_over()

    def _show(self, event: ServerEvent) -> None:
        match event.type:
            case "response.output_text.delta" | "response.output_audio_transcript.delta":
                self._page.say(event.delta)
            case "response.done":
                self._done(event)
            case "conversation.item.input_audio_transcription.completed":
                self._page.note(f"you said: {event.transcript}")
            case "error":
                self._page.note(f"the provider says: {event['error'].get('message')}")
                self._answer_over()

    def _done(self, event: ServerEvent) -> None:
        self._page.end_line()
        status, details = event.response.get("status"), event.response.get("status_details") or {}
        if status not in {"completed", "cancelled"}:
            why = (details.get("error") or {}).get("message") or details.get("reason") or "no reason was given"
            self._page.note(f"the answer is {status}: {why}")
        self._answer_over()

    def _answer_over(self) -> None:
        self._turns += 1
        self._awaited = max(0, self._awaited - 1)
        if not self._awaited:
            self._answered.set()

    def _sum_up(self) -> None:
        usage, connections = self._conversation.usage, self._conversation.connections
        over = f"over {connections} connections" if connections > 1 else "over one connection"
        answers = "1 answer" if self._turns == 1 else f"{self._turns} answers"
        self._page.note(f"{answers} {over}; {usage.total_tokens} tokens, {usage.audio_seconds:.1f} s of audio")
