"""A microphone and a speaker for `voicepilot talk --audio`. Needs the extra `audio` (sounddevice)."""

from __future__ import annotations

import asyncio
import base64
import importlib
import threading
from collections import deque
from contextlib import ExitStack, suppress
from typing import Any, Self

from voicepilot.conversation.connection import Conversation
from voicepilot.conversation.events import ServerEvent
from voicepilot.conversation.happenings import Happening, TurnInterrupted
from voicepilot.errors import ConversationClosedError, ConversationLostError, VoicePilotError

RATE = 24_000  # samples a second, 16 bit, one channel: the provider's audio/pcm (realtime-wire.md D4)
FRAME = RATE // 25  # samples in 40 ms
MOST_UNSENT = 250  # frames of the microphone that wait for the conversation: 10 s


class Headset:
    """What is heard is played, what is said is sent; who interrupts the assistant silences it.

    Entering it opens the devices, `start()` switches them on, leaving it closes them.
    """

    def __init__(self, sounddevice: Any) -> None:  # Any: an optional extra without types
        self._sounddevice = sounddevice
        self._player = Player()
        self._devices = ExitStack()
        self._streams: list[Any] = []  # Any: as above
        self._frames = asyncio.Queue[bytes](MOST_UNSENT)

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def spoken(data: Any, *_: object) -> None:  # Any: a buffer of the device's, which is valid only now
            loop.call_soon_threadsafe(self._put, bytes(data))

        form = {"samplerate": RATE, "channels": 1, "dtype": "int16", "blocksize": FRAME}
        try:
            for kind, callback in (("RawInputStream", spoken), ("RawOutputStream", self._player.fill)):
                stream = getattr(self._sounddevice, kind)(callback=callback, **form)
                self._devices.callback(stream.close)
                self._streams.append(stream)
        except Exception as error:
            self._devices.close()
            raise _no_device(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._devices.close()

    def start(self) -> None:
        """Switch microphone and speaker on."""
        try:
            for stream in self._streams:
                stream.start()
        except Exception as error:
            raise _no_device(error) from error

    async def listen(self, conversation: Conversation) -> None:
        """Send the microphone's frames, until cancelled or until the conversation is over."""
        with suppress(ConversationClosedError, ConversationLostError):
            while True:
                await conversation.append_audio(await self._frames.get())

    async def hear(self, event: ServerEvent | Happening, conversation: Conversation) -> None:
        """Play an answer's audio; stop when the user begins to speak, and say how much of it was heard."""
        if isinstance(event, Happening):
            if isinstance(event, TurnInterrupted) and event.action == "retry":
                self._player.silence()  # it will be said again, from its beginning
        elif event.type == "response.output_audio.delta":
            self._player.add(event.item_id, base64.b64decode(event.delta))
        elif event.type == "input_audio_buffer.speech_started" and (cut := self._player.silence()):
            item_id, heard = cut
            await conversation.conversation.item.truncate(item_id=item_id, audio_end_ms=heard)

    def _put(self, data: bytes) -> None:
        if self._frames.full():
            self._frames.get_nowait()
        self._frames.put_nowait(data)


class Player:
    """The audio that waits to be played, and how much of the item in front was. Filled and emptied by two threads."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._played: dict[str, int] = {}  # bytes, of the item that was played last
        self._last = ""  # the item that audio came for last
        self._unwanted = ""  # the item that was silenced: more of it may still be on its way
        self._lock = threading.Lock()

    def add(self, item_id: str, audio: bytes) -> None:
        """Play this after what waits."""
        with self._lock:
            self._last = item_id
            if item_id != self._unwanted:
                self._waiting.append((item_id, audio))

    def silence(self) -> tuple[str, int] | None:
        """Play nothing more; the item that was being played and its milliseconds that were, if there was one."""
        with self._lock:
            self._unwanted = self._last
            if not self._waiting:
                return None
            item_id = self._waiting[0][0]
            heard = self._played.get(item_id, 0) * 1000 // (RATE * 2)
            self._waiting.clear()
            self._played.clear()
            return item_id, heard

    def fill(self, out: Any, *_: object) -> None:  # Any: a buffer of the device's
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
    """The default microphone and speaker. Raises VoicePilotError when there is no sounddevice."""
    try:
        return Headset(importlib.import_module("sounddevice"))
    except (ImportError, OSError) as error:
        raise VoicePilotError(
            "audio needs the package sounddevice, and the system's PortAudio library",
            remediation="Install voicepilot-sessions[audio] (on Linux also libportaudio2), or talk without --audio.",
        ) from error


def _no_device(error: Exception) -> VoicePilotError:
    return VoicePilotError(
        f"microphone and speaker cannot be used: {error}",
        remediation="Connect them, let this program use them, or talk without --audio.",
    )
