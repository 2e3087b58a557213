"""`voicepilot talk`: a conversation in the terminal, over a managed connection that is seen to move and to recover."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from voicepilot.cli.audio import open_headset
from voicepilot.cli.running import Stopper, run
from voicepilot.cli.terminal import Page, Terminal
from voicepilot.emulator import RealtimeEmulator
from voicepilot.errors import ConfigurationError, MissingCredentialsError, SessionStartError
from voicepilot.runtime.manager import SessionManager
from voicepilot.runtime.vault import SessionCredential

EMULATED_KEY = "sk-talk-the-emulator-takes-any"
EMULATED_LIFE = 30.0
"""Seconds an emulated connection lives unless told otherwise: short, so that a handover is seen."""

IDLE_MINUTES = 30.0

CHUNK = 65_536


def talk(
    *, emulated: bool, connection_life: float | None, instructions: str | None, audio: bool, **settings: Any
) -> int:  # Any: the keywords of Settings.load
    """Talk until the input ends, /quit, or Ctrl-C."""

    async def command(stopper: Stopper) -> int:
        async with AsyncExitStack() as stack:
            headset = stack.enter_context(open_headset()) if audio else None
            emulator = None
            if emulated:
                life = connection_life or EMULATED_LIFE
                emulator = await stack.enter_async_context(RealtimeEmulator(session_life=life))
            manager = await stack.enter_async_context(_manager(emulator, settings))
            session = await stack.enter_async_context(manager.session({"inactivity_timeout_minutes": IDLE_MINUTES}))
            conversation = await stack.enter_async_context(
                manager.connect(
                    session.session_id,
                    config={} if emulated or connection_life is None else {"max_connection_seconds": connection_life},
                    **_options(instructions, audio=audio, emulated=emulated),
                )
            )
            page = Page(stopper.lost)
            page.note(f"connected to {_provider(manager.credential(session.session_id), emulated=emulated)}")
            if headset is not None:
                headset.start()
            drop = partial(emulator.faults.add, "live:drop") if emulator else None
            return await Terminal(conversation, page, drop=drop, headset=headset).run(typed_lines())

    try:
        return run(command)
    except SessionStartError as error:
        if not isinstance(error.__cause__, MissingCredentialsError):
            raise
        remedy = f"{error.remediation} Or talk to an emulated provider: --emulator."
        raise ConfigurationError(error.message, remediation=remedy) from error


def _manager(emulator: RealtimeEmulator | None, settings: Mapping[str, Any]) -> SessionManager:
    if emulator is None:
        return SessionManager.from_settings(**settings)
    address = {"profile": "openai", "base_url": emulator.base_url}
    return SessionManager.from_settings(**{**settings, **address}, credential=EMULATED_KEY)


def _provider(credential: SessionCredential, *, emulated: bool) -> str:
    if emulated:
        return "an emulated provider on this machine"
    return f"{credential.model or 'a model'} at {urlsplit(credential.websocket_url or '').hostname or 'the provider'}"


def _options(instructions: str | None, *, audio: bool, emulated: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"output_modalities": ["audio" if audio else "text"]}
    if instructions is not None:
        options["instructions"] = instructions
    if audio and not emulated:
        options["audio"] = {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}
    return options


# --- what is typed ----------------------------------------------------------------------------------------------------


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
    # Not sys.stdin: at the end of the process Python would wait for the lock that this thread holds on it.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    left = ""
    with suppress(AttributeError, ValueError, OSError):  # there is none, or it is closed
        descriptor = sys.stdin.fileno()
        while data := os.read(descriptor, CHUNK):
            *whole, left = (left + decoder.decode(data)).split("\n")
            yield from whole
    if left := left + decoder.decode(b"", final=True):
        yield left
