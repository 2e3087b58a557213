"""A microphone and a speaker for `voicepilot talk --audio`. Needs the extra `audio` (sounddevice)."""

from __future__ import annotations

import asyncio
import base64
import importlib
import threading
from collections import deque
from contextlib import suppress
from typing import Any

from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.events import ServerEvent
from voicepilot.errors import ConversationClosedError, ConversationLostError, VoicePilotError

RATE = 24_000  # samples a second, 16 bit, one channel: the provider's audio/pcm (realtime-wire.md D4)
FRAME = RATE // 25  # samples in 40 ms
MOST_UNSENT = 250  # frames of the microphone that wait for the conversation: 10 s


class Headset:
    """What is heard is played, what is said is sent; who interrupts the assistant silences it."""

    def __init__(self, sounddevice: Any) -> None:  # Any: an optional extra without types
        self._sounddevice = sounddevice
        self._player = Player()

    async def listen(self, conversation: Conversation) -> None:
        """Send the microphone's frames, and play what comes, until cancelled or until the conversation is over."""
        loop, frames = asyncio.get_running_loop(), asyncio.Queue[bytes](MOST_UNSENT)

        def spoken(data: Any, *_: object) -> None:
            loop.call_soon_threadsafe(_put, frames, bytes(data))

        form = {"samplerate": RATE, "channels": 1, "dtype": "int16", "blocksize": FRAME}
        with (
            suppress(ConversationClosedError, ConversationLostError),
            self._sounddevice.RawInputStream(callback=spoken, **form),
            self._sounddevice.RawOutputStream(callback=self._player.fill, **form),
        ):
            while True:
                await conversation.append_audio(await frames.get())

    async def hear(self, event: ServerEvent, conversation: Conversation) -> None:
        """Play an answer's audio; stop when the user begins to speak, and say how much of it was heard."""
        if event.type == "response.output_audio.delta":
            self._player.add(event["item_id"], base64.b64decode(event["delta"]))
        elif event.type == "input_audio_buffer.speech_started" and (cut := self._player.silence()):
            item_id, heard = cut
            await conversation.conversation.item.truncate(item_id=item_id, audio_end_ms=heard)


def _put(frames: asyncio.Queue[bytes], data: bytes) -> None:
    if frames.full():
        frames.get_nowait()
    frames.put_nowait(data)


class Player:
    """The audio that waits to be played, and how much of the item in front was. Filled and emptied by two threads."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._played: dict[str, int] = {}  # bytes, of the items that still wait
        self._lock = threading.Lock()

    def add(self, item_id: str, audio: bytes) -> None:
        """Play this after what waits."""
        with self._lock:
            self._waiting.append((item_id, audio))

    def silence(self) -> tuple[str, int] | None:
        """Play nothing more; the item that was being played and its milliseconds that were, if there was one."""
        with self._lock:
            if not self._waiting:
                return None
            item_id = self._waiting[0][0]
            heard = self._played.get(item_id, 0) * 1000 // (RATE * 2)
            self._waiting.clear()
            self._played.clear()
            return item_id, heard

    def fill(self, out: Any, *_: object) -> None:
        """Fill a buffer of the device; silence where nothing waits."""
        wanted, given = len(out), bytearray()
        with self._lock:
            while self._waiting and len(given) < wanted:
                item_id, audio = self._waiting.popleft()
                taken, left = audio[: wanted - len(given)], audio[wanted - len(given) :]
                given += taken
                self._played = {item_id: self._played.get(item_id, 0) + len(taken)}
                if left:
                    self._waiting.appendleft((item_id, left))
        out[:] = bytes(given) + bytes(wanted - len(given))


def open_headset() -> Headset:
    """The default microphone and speaker. Raises VoicePilotError when there are none, or no sounddevice."""
    try:
        sounddevice = importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:
        raise VoicePilotError(
            "audio needs the package sounddevice, and the system's PortAudio library",
            remediation="Install voicepilot-sessions[audio], or talk without --audio.",
        ) from error
    return Headset(sounddevice)
