"""Answers written down: a YAML list of turns, or a recorded conversation played again.

A script in YAML, in which every key of a turn may be left out:

    turns:
      - hear: What is the weather in Paris?       # the words in the user's audio
        wait: 0.5                                 # seconds before the first word
        say: Let me look.
        call: {name: get_weather, arguments: {city: Paris}}
      - say: It is sunny.
      - fail: The model broke.
    after: echo                                   # when the turns are used up: echo, repeat or silence

A recording is JSON lines, one event each, in order; lines with other keys only are passed over:

    {"at": 12.5, "from": "server", "event": {"type": "response.done", …}}

Every connection starts its script at the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, Self

import msgspec

from voicepilot.emulator.answers import Call, Fail, Part, Reply, Say, Turn, Wait, echo
from voicepilot.emulator.checks import Json
from voicepilot.errors import ConfigurationError


class ScriptedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn: the words heard in the user's audio, and the parts of the answer."""

    hear: str | None = None
    parts: tuple[Part, ...] = ()


class _WrittenTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hear: str | None = None
    wait: float = 0.0
    say: str | None = None
    call: Call | list[Call] | None = None
    fail: str | Fail | None = None

    def scripted(self) -> ScriptedTurn:
        parts: list[Part] = [Wait(self.wait)] if self.wait else []
        if self.say is not None:
            parts.append(Say(self.say))
        if self.call is not None:
            parts += self.call if isinstance(self.call, list) else [self.call]
        if self.fail is not None:
            parts.append(Fail(self.fail) if isinstance(self.fail, str) else self.fail)
        return ScriptedTurn(hear=self.hear, parts=tuple(parts))


class _WrittenScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    turns: list[_WrittenTurn]
    after: Literal["echo", "repeat", "silence"] = "echo"


class Script(msgspec.Struct, frozen=True):
    """What the emulated model says, turn by turn."""

    turns: tuple[ScriptedTurn, ...]
    after: Literal["echo", "repeat", "silence"] = "echo"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A script from YAML."""
        try:
            written = msgspec.yaml.decode(text, type=_WrittenScript)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"the script cannot be read: {error}", field="script") from error
        return cls(tuple(turn.scripted() for turn in written.turns), written.after)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A script from a file: YAML, or a recording if its name ends in `.jsonl`."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the script {path}: {error}", field="script") from error
        return cls.replay(text.splitlines()) if path.suffix == ".jsonl" else cls.parse(text)

    @classmethod
    def replay(cls, lines: Iterable[str]) -> Self:
        """A script that says what the server said in a recording; silence afterwards."""
        turns: list[ScriptedTurn] = []
        heard: str | None = None
        for number, event in _server_events(lines):
            if event.get("type") == "conversation.item.input_audio_transcription.completed":
                heard = str(event.get("transcript", ""))
            elif event.get("type") == "response.done":
                turns.append(ScriptedTurn(hear=heard, parts=_parts(event, number)))
                heard = None
        return cls(tuple(turns), "silence")

    def begin(self) -> _Reader:
        """A reader at the first turn."""
        return _Reader(self)


class _Reader:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._next = 0

    def hear(self, seconds: float) -> str | None:
        turn = self._turn()
        return turn.hear if turn else None

    def answer(self, turn: Turn) -> Reply:
        scripted = self._turn()
        self._next += 1
        if scripted is None:
            return echo(turn) if self._script.after == "echo" else ()
        return scripted.parts

    def _turn(self) -> ScriptedTurn | None:
        turns = self._script.turns
        if self._script.after == "repeat" and turns:
            return turns[self._next % len(turns)]
        return turns[self._next] if self._next < len(turns) else None


def _server_events(lines: Iterable[str]) -> Iterable[tuple[int, Json]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ConfigurationError(f"line {number} of the recording is no JSON: {error}", field="script") from error
        if isinstance(entry, dict) and entry.get("from") == "server" and isinstance(entry.get("event"), dict):
            yield number, entry["event"]


# What is read of a recorded response; a recording may come from anywhere, and whatever else it holds is passed over.


class _RecordedPart(msgspec.Struct, frozen=True):
    text: str | None = None
    transcript: str | None = None


class _RecordedItem(msgspec.Struct, frozen=True):
    type: str = ""
    name: str = ""
    arguments: str = "{}"
    content: list[_RecordedPart] = []


class _RecordedError(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | None = None
    type: str | None = None


class _RecordedDetails(msgspec.Struct, frozen=True):
    error: _RecordedError | None = None


class _RecordedResponse(msgspec.Struct, frozen=True):
    status: str = ""
    output: list[_RecordedItem] = []
    status_details: _RecordedDetails | None = None


def _parts(event: Json, number: int) -> tuple[Part, ...]:
    try:
        response = msgspec.convert(event.get("response", {}), _RecordedResponse)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"line {number} of the recording is no response: {error}", field="script") from error
    return tuple(_said(response))


def _said(response: _RecordedResponse) -> Iterator[Part]:
    for item in response.output:
        if item.type == "function_call":
            yield Call(item.name, item.arguments)
        elif item.type == "message":
            yield Say("".join(part.text or part.transcript or "" for part in item.content))
    if response.status == "failed":
        error = (response.status_details and response.status_details.error) or _RecordedError()
        yield Fail(error.message or Fail().message, error.code, error.type or "server_error")
