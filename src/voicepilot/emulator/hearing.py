"""The input audio buffer, and the turns heard in it.

Server VAD goes by loudness; semantic VAD, which cannot be had without a model, by longer silence
(realtime-wire.md D4). Time here is the audio's own: it passes with what is appended, never by a clock.
"""

from __future__ import annotations

import msgspec

from voicepilot.emulator.audio import Format, loudness
from voicepilot.emulator.checks import Json, WireError

FRAME = 0.02  # seconds looked at together
LOUD_FRAMES = 2  # a click is not speech
FULL_SCALE = 800  # loudness that a threshold of 1.0 asks for; speech close to a microphone is above it
LEAST_COMMIT = 0.1  # seconds; the provider refuses to commit less
MOST = 32 * 1024 * 1024  # bytes of one turn that are kept
# The provider waits at most 8, 4 and 2 s (auto: 4) for more words. We know no words, so every pause is judged to
# be the end of a sentence, at a quarter of that.
SEMANTIC_WAIT = {"low": 2.0, "medium": 1.0, "high": 0.5, "auto": 1.0}


class SpeechStarted(msgspec.Struct, frozen=True):
    """Somebody began to speak."""

    audio_start_ms: int


class SpeechStopped(msgspec.Struct, frozen=True):
    """The turn is over; `audio` is what was said."""

    audio_end_ms: int
    audio: bytes


Heard = SpeechStarted | SpeechStopped


class Ear:
    """Collects appended audio and, while turn detection is on, finds the turns in it."""

    def __init__(self) -> None:
        self.speaking = False
        self._kept = bytearray()
        self._unread = 0  # bytes at the end of _kept that make no whole frame yet
        self._heard = 0.0  # seconds of audio looked at since the session began
        self._loud = 0
        self._silent = 0.0

    @property
    def position_ms(self) -> int:
        """Where in the session's audio we are."""
        return round(self._heard * 1000)

    def append(self, data: bytes, vad: Json | None, form: Format) -> list[Heard]:
        """More audio from the client; gives what was heard in it."""
        if vad is None and len(self._kept) + len(data) > MOST:
            message = f"The input audio buffer is full: it holds at most {MOST} bytes. Commit or clear it."
            raise WireError(message, "input_audio_buffer_full", "audio")
        self._kept += data
        if vad is None:
            self._heard += form.seconds(len(data))
            return []
        return self._listen(len(data), vad, form)

    def commit(self, form: Format) -> bytes:
        """The buffer as a turn, which empties it."""
        seconds = form.seconds(len(self._kept))
        if seconds < LEAST_COMMIT:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {seconds * 1000:.2f}ms of audio."
            )
            raise WireError(message, "input_audio_buffer_commit_empty")
        return self._take()

    def clear(self) -> None:
        """Forget what was not committed."""
        self._take()

    def _listen(self, added: int, vad: Json, form: Format) -> list[Heard]:
        found: list[Heard] = []
        frame = form.size(FRAME)
        at = len(self._kept) - added - self._unread
        while at + frame <= len(self._kept):
            loud = loudness(self._kept[at : at + frame], form) > vad.get("threshold", 0.5) * FULL_SCALE
            at += frame
            self._heard += FRAME
            if self._turn_began(loud):
                start = self.position_ms - round(LOUD_FRAMES * FRAME * 1000) - vad.get("prefix_padding_ms", 300)
                found.append(SpeechStarted(max(0, start)))
                at = self._trim(at, vad, form)
            elif self._turn_ended(vad, at):
                found.append(SpeechStopped(self.position_ms, bytes(self._kept[:at])))
                del self._kept[:at]
                at = 0
        self._unread = len(self._kept) - at
        if not self.speaking:
            self._trim(at, vad, form)
        return found

    def _turn_began(self, loud: bool) -> bool:
        self._loud = self._loud + 1 if loud else 0
        self._silent = 0.0 if loud else self._silent + FRAME
        if self.speaking or self._loud < LOUD_FRAMES:
            return False
        self.speaking = True
        return True

    def _turn_ended(self, vad: Json, size: int) -> bool:
        if not self.speaking:
            return False
        wait = SEMANTIC_WAIT[vad["eagerness"]] if "eagerness" in vad else vad["silence_duration_ms"] / 1000
        # A frame's length does not add up exactly in binary fractions.
        if (self._silent and self._silent >= wait - FRAME / 2) or size > MOST:
            self.speaking = False
            self._loud = 0
            return True
        return False

    def _trim(self, at: int, vad: Json, form: Format) -> int:
        """Keep only the padding before `at`, which is where we are; gives where that is now."""
        padding = form.size(vad.get("prefix_padding_ms", 300) / 1000 + LOUD_FRAMES * FRAME)
        surplus = max(0, at - padding)
        del self._kept[:surplus]
        return at - surplus

    def _take(self) -> bytes:
        audio = bytes(self._kept)
        self._kept.clear()
        self._unread = 0
        self._loud = 0
        self._silent = 0.0
        self.speaking = False
        return audio
