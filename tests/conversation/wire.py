"""A managed conversation over real sockets: manager, key service and emulator together, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from voicepilot import ConnectionPhase, SessionInfo, SessionManager
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.happenings import Happening
from voicepilot.emulator import RealtimeEmulator
from voicepilot.emulator.answers import Turn
from voicepilot.emulator.record import Opened, Refused
from voicepilot.testing import Recorder

PATIENCE = 20.0
"""Seconds after which a test that waits for something on a socket gives up."""

TEXT: dict[str, Any] = {"output_modalities": ["text"]}
QUICK: dict[str, Any] = {"retry_backoff_seconds": 0.01}


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that sockets bring about."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - conditions of other people's objects have no Event to wait for
            await asyncio.sleep(0.002)


def open_sockets() -> int:
    """How many sockets this process holds; none are counted where the system does not say."""
    held = Path("/proc/self/fd")
    return sum(link.is_socket() for link in held.iterdir()) if held.exists() else 0


def answer(turn: Turn) -> str:
    """What the emulated model says."""
    return f"re {turn.text}"


class Hooks:
    """Remembers why it was called."""

    def __init__(self) -> None:
        self.suspended: list[str] = []
        self.resumed = 0

    def on_session_suspending(self, _: SessionInfo, reason: str) -> None:
        self.suspended.append(reason)

    def on_session_resumed(self, _: SessionInfo) -> None:
        self.resumed += 1

    @property
    def moves(self) -> list[str]:
        """The reasons that are about the connection, not about its key."""
        return [reason for reason in self.suspended if reason in {"handover", "reconnect"}]


class Talk:
    """One conversation and what its reader got."""

    def __init__(self, manager: SessionManager, session_id: str, conversation: Conversation) -> None:
        self.manager = manager
        self.session_id = session_id
        self.conversation = conversation
        self.stream: list[Any] = []
        self.phases: list[ConnectionPhase] = []
        self.lost: Exception | None = None

    async def read(self) -> None:
        try:
            async for event in self.conversation:
                self.stream.append(event)
                info = self.manager.get_session_info(self.session_id)
                if info is not None and self.phases[-1:] != [info.connection_phase]:
                    self.phases.append(info.connection_phase)
        except Exception as error:
            self.lost = error

    def of(self, *kinds: str) -> list[Any]:
        return [event for event in self.stream if event.type in kinds]

    async def heard(self, kind: str, count: int = 1) -> Any:
        """Wait until so many events of a type have come; gives the last of them."""
        await until(lambda: len(self.of(kind)) >= count or self.lost)
        if len(self.of(kind)) < count:
            raise AssertionError(f"no {kind}") from self.lost
        return self.of(kind)[count - 1]

    def answers(self) -> list[str]:
        """The words of each answer that was heard to its end."""
        return [event["text"] for event in self.of("response.output_text.done")]

    async def ask(self, words: str) -> str:
        """Say something, and wait for the answer to it."""
        done = self._answered()
        await self.conversation.say(words)
        await until(lambda: self._answered() > done or self.lost)
        return self.answers()[-1]

    def _answered(self) -> int:
        """How many answers are over: to the end, or to the end but for its confirmation."""
        cut = [event for event in self.of("voicepilot.turn-interrupted") if event.action == "complete"]
        return len(self.of("response.done")) + len(cut)

    def happened(self) -> list[str]:
        return [event.type for event in self.stream if isinstance(event, Happening)]

    def phase(self) -> ConnectionPhase:
        info = self.manager.get_session_info(self.session_id)
        assert info is not None
        return info.connection_phase

    def transcript(self) -> list[str]:
        return [turn.text for turn in self.manager.transcript(self.session_id)]


class Wire:
    """An emulator, and a manager that talks to it."""

    def __init__(self, emulator: RealtimeEmulator, manager: SessionManager) -> None:
        self.emulator = emulator
        self.manager = manager
        self.recorder = Recorder(manager)
        self.hooks = Hooks()
        manager.register_conversation_hooks(self.hooks)

    @classmethod
    @asynccontextmanager
    async def of(cls, emulator: RealtimeEmulator, **settings: Any) -> AsyncIterator[Self]:
        """A manager from settings; disposed at the end, and checked to leave no task, socket or key."""
        before, sockets = set(asyncio.all_tasks()), open_sockets()
        manager = SessionManager.from_settings(
            base_url=emulator.base_url, api_key="sk-test", **{"retry_backoff_ms": 10, **settings}
        )
        async with manager:
            yield cls(emulator, manager)
        assert len(manager._performer.vault) == 0
        left = {task for task in asyncio.all_tasks() - before if "voicepilot" in task.get_name()}
        assert left == set()
        await until(lambda: open_sockets() <= sockets)

    @asynccontextmanager
    async def talking(
        self, *, config: dict[str, Any] | None = None, session: dict[str, Any] | None = None, **options: Any
    ) -> AsyncIterator[Talk]:
        """A conversation of a new session, and somebody who reads it."""
        started = await self.manager.start_session(session)
        conversation = self.manager.connect(started.session_id, config={**QUICK, **(config or {})}, **(options or TEXT))
        async with asyncio.TaskGroup() as group:
            async with conversation:
                talk = Talk(self.manager, started.session_id, conversation)
                reading = group.create_task(talk.read())
                yield talk
            await reading

    # --- what the emulator saw --------------------------------------------------------------------------------------

    def dials(self) -> list[str | None]:
        """The credential of each dial, whatever came of it, in order."""
        return [
            entry.credential
            for entry in self.emulator.record.entries()
            if isinstance(entry, Opened) or (isinstance(entry, Refused) and entry.path.endswith("/realtime"))
        ]

    def items(self, connection: int) -> list[str]:
        """What the conversation of a connection holds: the words, calls and outputs, in order."""
        added = self.emulator.record.frames("conversation.item.done", direction="out")
        return [_shown(frame.event["item"]) for frame in added if frame.connection == connection]

    def refused_frames(self) -> list[str]:
        """The codes of the errors that the emulator answered with."""
        return [frame.event["error"]["code"] for frame in self.emulator.record.frames("error", direction="out")]

    def closings(self) -> list[tuple[int, str] | None]:
        """How each connection ended: code, and who closed it; None while it is open."""
        ended = [connection.closed for connection in self.emulator.record.connections()]
        return [(closed.code, closed.by) if closed else None for closed in ended]

    def troubles(self) -> list[str | None]:
        """The code of every connection-error that was told; each says what to do."""
        told = self.recorder.of("connection-error")
        assert all(event.error.remediation for event in told if hasattr(event, "error"))
        return [event.error.code for event in told if hasattr(event, "error")]


def _shown(item: dict[str, Any]) -> str:
    match item["type"]:
        case "function_call":
            return f"{item['name']}({item['arguments']})"
        case "function_call_output":
            return f"= {item['output']}"
        case _:
            return "".join(part.get("text") or part.get("transcript") or "" for part in item["content"])
