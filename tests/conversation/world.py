"""A managed conversation in virtual time: the real manager and core over the emulator in memory, what came of it."""

from __future__ import annotations

import array
import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import groupby
from typing import Any, TypeVar

from tests.conversation.numbered import FRAME, SAMPLES
from tests.fuzzing import TIMES

from voicepilot import (
    ConversationConfig,
    PrivacyController,
    SessionConfig,
    SessionManager,
    SessionNotFoundError,
    TranscriptStore,
)
from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.happenings import Happening
from voicepilot.emulator.answers import Turn
from voicepilot.recovery import BreakerOptions, RecoveryExecutor
from voicepilot.testing import EmulatedLine, FakeKeyService, Recorder, VirtualClock

Json = dict[str, Any]
T = TypeVar("T")

TEXT: Json = {"output_modalities": ["text"]}
WHISPER = {"model": "whisper-1"}
VAD: Json = {"audio": {"input": {"turn_detection": {"type": "server_vad"}, "transcription": WHISPER}}, **TEXT}
VAD_UNWRITTEN: Json = {"audio": {"input": {"turn_detection": {"type": "server_vad"}, "transcription": None}}, **TEXT}
BY_HAND: Json = {"audio": {"input": {"turn_detection": None, "transcription": None}}, **TEXT}


def answer(turn: Turn) -> str:
    """What the emulated model says: so that each answer can be told from all others."""
    return f"re {said_as(turn.text)}"


def said_as(words: str) -> str:
    """The user's words; of audio neither a transcript nor its absence says how it was cut into items."""
    return "speech" if not words or words.startswith("(") else words


def some(cases: Iterable[T], of: int) -> list[T]:
    """Every so many of them in `make test`, and all of them under VOICEPILOT_FUZZ."""
    return list(cases)[:: of if TIMES == 1 else 1]


class Talk:
    """A conversation, its surroundings, and everything that its reader got."""

    def __init__(self, line: EmulatedLine, keys: FakeKeyService, clock: VirtualClock) -> None:
        self.line = line
        self.keys = keys
        self.clock = clock
        self.stream: list[tuple[float, Any]] = []
        self.lost: Exception | None = None
        self.written: list[str] = []  # the transcript
        self.manager: SessionManager
        self.recorder: Recorder
        self.session_id = ""
        self.conversation: Conversation

    async def read(self) -> None:
        try:
            async for event in self.conversation:
                self.stream.append((self.clock.now(), event))
        except Exception as error:
            self.lost = error

    # --- what the reader got ----------------------------------------------------------------------------------------

    def types(self) -> list[str]:
        return [event.type for _, event in self.stream]

    def of(self, *kinds: str) -> list[Any]:
        return [event for _, event in self.stream if event.type in kinds]

    def happenings(self) -> list[Happening]:
        return [event for _, event in self.stream if isinstance(event, Happening)]

    def answered(self) -> list[str]:
        """The words of each answer that was heard to its end."""
        return [event["text"] for event in self.of("response.output_text.done")]

    # --- what the server has ----------------------------------------------------------------------------------------

    def said(self) -> list[str]:
        """The last connection's conversation: `user: …`, `assistant: …`, calls and outputs."""
        return [_said(item) for item in self.line.items()]

    def user_words(self) -> list[str]:
        return [said_as(_words(item)) for item in self.line.items() if item.get("role") == "user"]

    def spoken_frames(self) -> list[int]:
        """The numbers of the frames in the last connection's items, in order; it fails if one is not whole."""
        items = [item for item in self.line.items() if item.get("role") == "user"]
        conversation = self.line.conversation()
        return whole_frames(conversation.audio_of(item["id"]) for item in items)

    def committed_frames(self) -> list[int]:
        """The numbers of the frames in all items that the client was told of, on whatever connection."""
        told = {event["item_id"] for event in self.of("input_audio_buffer.committed")}
        return whole_frames(one.audio for one in self.line.committed_audio() if one.item_id in told)

    def errors(self) -> list[Json]:
        """What the emulator refused."""
        return [frame.event["error"] for frame in self.line.record.frames("error", direction="out")]

    def dials(self) -> int:
        return len(self.line.record.connections()) + len(self.line.record.refusals())

    # --- acting -----------------------------------------------------------------------------------------------------

    async def until(self, done: Callable[[], bool], *, limit: float = 600.0) -> None:
        """Let time pass until something is so."""
        async with asyncio.timeout(limit):
            while not done():  # noqa: ASYNC110 - it is the stream that is looked at, and virtual time costs nothing
                await asyncio.sleep(0.01)

    async def speak(self, audio: Iterable[bytes], *, pace: float = FRAME) -> None:
        for frame in audio:
            await self.conversation.append_audio(frame)
            if pace:
                await asyncio.sleep(pace)

    async def hear_out(self) -> None:
        """Wait until everything has settled."""
        await asyncio.sleep(20)


def _words(item: Json) -> str:
    parts = item.get("content") or ()
    return " ".join(str(part.get("text") or part.get("transcript") or "") for part in parts)


def _said(item: Json) -> str:
    match item["type"]:
        case "message":
            return f"{item['role']}: {said_as(_words(item))}"
        case "function_call":
            return f"call {item['call_id']}: {item['arguments']}"
        case _:
            return f"output {item['call_id']}: {item['output']}"


def whole_frames(audio: Iterable[bytes]) -> list[int]:
    """The numbers of the frames in it; silence is passed over, and a piece of a frame is a failure."""
    samples = array.array("h", b"".join(audio))
    runs = [(value - 2_000, len(list(run))) for value, run in groupby(sample for sample in samples if sample)]
    assert {length for _, length in runs} <= {SAMPLES}, [run for run in runs if run[1] != SAMPLES]
    return [number for number, _ in runs]


class _Defaults:
    is_initialized = True
    max_concurrent_sessions = 10

    def session_config(self) -> SessionConfig:
        return SessionConfig(inactivity_timeout_minutes=1_440)


@asynccontextmanager
async def a_manager(
    line: EmulatedLine, keys: FakeKeyService, clock: VirtualClock, executor: RecoveryExecutor | None = None
) -> AsyncIterator[Talk]:
    """A manager with everything a conversation is woven into; checked to leave nothing."""
    talk = Talk(line, keys, clock)
    async with PrivacyController(clock=clock) as controller:
        store = TranscriptStore(controller, clock=clock)
        manager = SessionManager(
            keys,
            configuration=_Defaults(),
            privacy_controller=controller,
            transcripts=store,
            recovery_executor=executor,
            clock=clock,
            dialler=line,
        )
        talk.manager, talk.recorder = manager, Recorder(manager)
        async with manager:
            talk.session_id = (await manager.start_session()).session_id
            yield talk
        await asyncio.sleep(5)  # for the goodbyes to arrive
        assert leftovers() == []
        assert line.connected == 0


def leftovers() -> list[str]:
    """Tasks of ours that should be gone."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("voicepilot")]


@asynccontextmanager
async def a_talk(
    options: Json | None = None,
    *,
    config: Json | None = None,
    keys: FakeKeyService | None = None,
    clock: VirtualClock | None = None,
    breaker: BreakerOptions | None = None,
    read: bool = True,
    **line_options: Any,
) -> AsyncIterator[Talk]:
    """A conversation that is open, and read by somebody."""
    clock = clock or VirtualClock()
    line = EmulatedLine(clock=clock, **{"answers": answer, "latency": 0.01, "keep_audio": True, **line_options})
    executor = None if breaker is None else RecoveryExecutor(breaker=breaker, clock=clock)
    async with a_manager(line, keys or FakeKeyService(), clock, executor) as talk:
        settings = ConversationConfig(**(config or {}))
        given = TEXT if options is None else options
        async with talk.manager.connect(talk.session_id, url=line.url, config=settings, **given) as conversation:
            talk.conversation = conversation
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(talk.read()) if read else None
                yield talk
                with suppress(SessionNotFoundError):
                    turns = talk.manager.transcript(talk.session_id)
                    talk.written = [f"{turn.role}: {said_as(turn.text)}" for turn in turns]
                await conversation.close()
                if reader is not None:
                    await reader
