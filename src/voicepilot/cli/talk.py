"""`voicepilot talk`: a conversation in the terminal, over a managed connection that is seen to move and to recover."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from voicepilot.cli.audio import Headset, open_headset
from voicepilot.cli.codes import FAILED
from voicepilot.cli.running import Stopper, run
from voicepilot.cli.words import told
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.events import ServerEvent
from voicepilot.conversation.happenings import Happening, TurnInterrupted
from voicepilot.emulator import RealtimeEmulator
from voicepilot.errors import ConversationClosedError, ConversationLostError
from voicepilot.runtime.manager import SessionManager

EMULATED_KEY = "sk-talk-the-emulator-takes-any"
EMULATED_LIFE = 30.0
"""Seconds an emulated connection lives unless told otherwise: short, so that a handover is seen."""

PATIENCE = 30.0
"""Seconds that the end of the input waits for the last answer."""

IDLE_MINUTES = 30.0


def talk(
    *, emulated: bool, connection_life: float | None, instructions: str | None, audio: bool, **settings: Any
) -> int:  # Any: the keywords of Settings.load
    """Talk until the input ends, /quit, or Ctrl-C."""

    async def command(_: Stopper) -> int:
        async with AsyncExitStack() as stack:
            headset = open_headset() if audio else None
            emulator = None
            if emulated:
                emulator = await stack.enter_async_context(
                    RealtimeEmulator(session_life=connection_life or EMULATED_LIFE)
                )
            manager = await stack.enter_async_context(_manager(emulator, settings))
            session = await stack.enter_async_context(manager.session({"inactivity_timeout_minutes": IDLE_MINUTES}))
            config = {} if emulated or connection_life is None else {"max_connection_seconds": connection_life}
            options = _options(instructions, audio=audio, emulated=emulated)
            conversation = await stack.enter_async_context(
                manager.connect(session.session_id, config=config, **options)
            )
            return await Terminal(conversation, emulator, headset).run()

    return run(command)


def _manager(emulator: RealtimeEmulator | None, settings: Mapping[str, Any]) -> SessionManager:
    if emulator is None:
        return SessionManager.from_settings(**settings)
    address = {"profile": "openai", "base_url": emulator.base_url}
    return SessionManager.from_settings(**{**settings, **address}, credential=EMULATED_KEY)


def _options(instructions: str | None, *, audio: bool, emulated: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"output_modalities": ["audio" if audio else "text"]}
    if instructions is not None:
        options["instructions"] = instructions
    if audio and not emulated:
        options["audio"] = {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}
    return options


class Terminal:
    """Lines in, words out."""

    def __init__(self, conversation: Conversation, emulator: RealtimeEmulator | None, headset: Headset | None) -> None:
        self._conversation = conversation
        self._emulator = emulator
        self._headset = headset
        self._lost = False
        self._line = ""  # what is written of the assistant's line
        self._turns = 0
        self._awaited = 0  # answers
        self._answered = asyncio.Event()
        self._answered.set()

    async def run(self) -> int:
        """Until the input ends; 1 if the conversation was lost before."""
        where = "an emulated provider on this machine" if self._emulator else "the provider"
        note(f"connected to {where}. {self._help()}")
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(self._hear())
            others = [tasks.create_task(self._speak())]
            if self._headset is not None:
                others.append(tasks.create_task(self._headset.listen(self._conversation)))
            await asyncio.wait({hearing, others[0]}, return_when=asyncio.FIRST_COMPLETED)
            await self._conversation.close()
            for task in others:
                task.cancel()
        self._sum_up()
        return FAILED if self._lost else 0

    def _help(self) -> str:
        drop = " /drop cuts the connection," if self._emulator else ""
        return f"Say something: type a line.{drop} /quit ends."

    # --- speaking ---------------------------------------------------------------------------------------------------

    async def _speak(self) -> None:
        with suppress(ConversationClosedError, ConversationLostError):  # whoever hears says why
            async for line in typed_lines():
                if not await self._obey(line.strip()):
                    break
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._answered.wait()

    async def _obey(self, line: str) -> bool:
        if line == "/quit":
            return False
        if line == "/drop" and self._emulator is not None:
            self._emulator.faults.add("live:drop")
        elif line.startswith("/"):
            note(self._help())
        elif line:
            self._awaited += 1
            self._answered.clear()
            await self._conversation.say(line)
        return True

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
            note(f"the conversation is lost: {error.message}. {error.remediation}")

    def _happened(self, event: Happening) -> None:
        self._end_line()
        if words := told(event):
            note(words)
        if isinstance(event, TurnInterrupted) and event.action != "retry":
            self._answer_over()

    def _show(self, event: ServerEvent) -> None:
        match event.type:
            case "response.output_text.delta" | "response.output_audio_transcript.delta":
                self._write(event["delta"])
            case "response.done":
                self._end_line()
                self._answer_over()
            case "conversation.item.input_audio_transcription.completed":
                self._end_line()
                note(f"you said: {event.get('transcript')}")
            case "error":
                self._end_line()
                note(f"the provider says: {event['error'].get('message')}")
                self._answer_over()

    def _answer_over(self) -> None:
        self._turns += 1
        self._awaited = max(0, self._awaited - 1)
        if not self._awaited:
            self._answered.set()

    def _write(self, text: str) -> None:
        sys.stdout.write(text if self._line else f"< {text}")
        sys.stdout.flush()
        self._line += text

    def _end_line(self) -> None:
        if self._line:
            self._line = ""
            print(flush=True)

    def _sum_up(self) -> None:
        usage, connections = self._conversation.usage, self._conversation.connections
        over = f"over {connections} connections" if connections > 1 else "over one connection"
        note(f"{self._turns} answers {over}; {usage.total_tokens} tokens, {usage.audio_seconds:.1f} s of audio")


def note(text: str) -> None:
    """Something about the conversation, not in it."""
    print(f"-- {text}", flush=True)


async def typed_lines() -> AsyncIterator[str]:
    """What is typed, line by line, to the end of the input."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        # A thread of its own, that nobody waits for: a terminal's line cannot be waited for on every system.
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            for line in _lines():
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="voicepilot-typing", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line


def _lines() -> Iterator[str]:
    with suppress(ValueError, OSError):  # closed
        yield from sys.stdin
