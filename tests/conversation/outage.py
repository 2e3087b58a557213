"""A conversation over real sockets while the server is away in earnest; `make soak` runs it for a minute.

`python -m tests.conversation.outage 60` runs it alone and prints what came of it.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec
from tests.conversation.wire import Wire, answer

from voicepilot.emulator import RealtimeEmulator


class Survived(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an outage."""

    away: float  # seconds that nobody listened
    outage: float  # seconds until the conversation was restored, from the fall
    attempts: int  # dials
    said: list[str]  # while nobody heard it
    answered: list[str]  # afterwards
    dials: int
    keys: int  # that those dials were made with

    @property
    def unharmed(self) -> bool:
        """Whether everything was answered once and in order, and no key was sent twice."""
        return self.answered == [f"re {words}" for words in self.said] and self.dials == self.keys


async def survive_outage(seconds: float) -> Survived:
    """Stop the server for so long, with something said every second; wait until all of it is answered."""
    async with RealtimeEmulator(answers=answer) as emulator, Wire.of(emulator, retry_backoff_ms=1_000) as wire:
        async with wire.talking(session={"enable_inactivity_timeout": False}) as talk:
            await talk.ask("before")
            await emulator.stop()
            said: list[str] = []
            while len(said) < seconds:
                said.append(f"words {len(said)}")
                await talk.conversation.say(said[-1])
                await asyncio.sleep(min(1.0, seconds))
            await emulator.start()
            async with asyncio.timeout(60):  # the longest break of a circuit, and more
                while len(talk.answers()) <= len(said) and not talk.lost:  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(0.01)
            (restored,) = talk.of("voicepilot.restored")
        return Survived(
            away=seconds,
            outage=restored.outage,
            attempts=restored.attempts,
            said=said,
            answered=talk.answers()[1:],
            dials=len(wire.dials()),
            keys=len(set(wire.dials())),
        )


if __name__ == "__main__":
    survived = asyncio.run(survive_outage(float(sys.argv[1])))
    print(f"away {survived.away:g} s, restored after {survived.outage:.1f} s with {survived.attempts} attempts")
    sys.exit(not survived.unharmed)
