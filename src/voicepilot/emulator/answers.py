"""What the emulated model says: an answerer hears a turn and gives a reply.

The default echoes. A Python callable or a `Script` (script.py) says anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from voicepilot.emulator.checks import Json


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What the model is asked to answer."""

    text: str  # the last thing the user typed or was heard to say; for a function's output, that output
    number: int = 0  # how many answers this connection gave before
    heard: float = 0.0  # seconds of audio in what the user said last; 0 when it was typed
    instructions: str = ""
    items: tuple[Json, ...] = ()  # the conversation, as on the wire
    response: Json = {}  # the parameters of `response.create`


class Say(msgspec.Struct, frozen=True):
    """Say this, in text or as audio, as the session or response asks."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """Call a function of the client's; `arguments` is JSON text, or an object that becomes it."""

    name: str
    arguments: str | Json = "{}"

    @property
    def json(self) -> str:
        """The arguments as the wire wants them."""
        return self.arguments if isinstance(self.arguments, str) else msgspec.json.encode(self.arguments).decode()


class Fail(msgspec.Struct, frozen=True):
    """The generation fails: `response.done` with status `failed` (realtime-wire.md D5)."""

    message: str = "The server had an error while processing your request. Sorry about that!"
    code: str | None = None
    kind: str = "server_error"


class Wait(msgspec.Struct, frozen=True):
    """Nothing for so many seconds."""

    seconds: float


Part = Say | Call | Fail | Wait
Reply = str | Part | Sequence[Part]


class Answerer(Protocol):
    """Answers the turns of one connection."""

    def hear(self, seconds: float) -> str | None:
        """The words in the audio the user just sent, so many seconds of it; None for our own description."""

    def answer(self, turn: Turn) -> Reply:
        """What to say to this turn."""


class Answers(Protocol):
    """Makes the answerer of each new connection; a `Script` is one."""

    def begin(self) -> Answerer:
        """An answerer that starts at the beginning."""


AnswerFunction = Callable[[Turn], Reply]


def echo(turn: Turn) -> Reply:
    """Say what was said; the default."""
    return turn.text or "Hello."


class FunctionAnswers(msgspec.Struct, frozen=True):
    """Answers by a plain function of the turn, which remembers nothing of ours."""

    function: AnswerFunction = echo

    def begin(self) -> Answerer:
        """Itself."""
        return self

    def hear(self, seconds: float) -> str | None:
        """Nothing of its own."""
        return None

    def answer(self, turn: Turn) -> Reply:
        """What the function says."""
        return self.function(turn)


def parts_of(reply: Reply) -> tuple[Part, ...]:
    """A reply in its one full form."""
    if isinstance(reply, str):
        return (Say(reply),)
    if isinstance(reply, Say | Call | Fail | Wait):
        return (reply,)
    return tuple(reply)
