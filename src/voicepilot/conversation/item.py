"""What is known of one item of a conversation, and the form in which a new connection takes it.

Forms: realtime-wire.md D2 ("wire quirks") and F ("carry-over on reconnect"). The assistant's sound cannot be given to
a new connection; its words can, as text, and only those that were heard.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from voicepilot.conversation.audio import PCM

# Items are JSON of which we read a part and pass on the rest.
Json = dict[str, Any]
Sound = Callable[[str, int], str | None]  # the base64 audio kept of an item's content part

CALL_ID_LIMIT = 32
"""Characters a `call_id` may have when a client sends it."""

_LEGAL_CALL_ID = re.compile(rf"[a-zA-Z0-9_-]{{1,{CALL_ID_LIMIT}}}")

# Reasons, for people.
NOTHING_HEARD = "none of it was heard"
NOT_TRANSCRIBED = "it has no transcript, and its sound is not kept"
UNKNOWN_IMAGE = "its image is not known"
EMPTY = "it has no content"
NOTHING_SAID = "its transcript is empty"
CUT_CALL = "the call was cut off before its arguments were complete"
NO_CALL = "there is no call that it answers"


class Speech(msgspec.Struct):
    """One content part of what the assistant says: its words, and how much sound of it came."""

    rate: int = PCM  # bytes a second
    pieces: list[str] = []
    sound: int = 0  # bytes
    final: bool = False
    shortened: bool = False

    @property
    def text(self) -> str:
        """The words so far."""
        return "".join(self.pieces)

    @property
    def milliseconds(self) -> int:
        """The length of the sound so far."""
        return self.sound * 1_000 // self.rate

    def hear(self, delta: str) -> None:
        """More sound came, in base64."""
        if not self.shortened:
            self.sound += len(delta) * 3 // 4 - delta.count("=", -2)

    def say(self, delta: str) -> None:
        """More words came."""
        if not self.final:
            self.pieces.append(delta)

    def settle(self, text: str | None) -> None:
        """All of it has been said. What was not heard stays unsaid, whatever the server says later."""
        if not self.shortened and text:
            self.pieces = [text]
        self.final = True

    def shorten(self, end: float) -> None:
        """Only the first `end` milliseconds were heard; without any sound known, nothing was."""
        share = end / self.milliseconds if self.milliseconds else 0.0
        self.pieces = [heard_words(self.text, share)]
        self.sound = min(self.sound, int(end) * self.rate // 1_000)
        self.shortened = self.final = True


def heard_words(text: str, share: float) -> str:
    """The words of the first `share` (0 to 1) of the sound, as if all characters took equally long to say.

    A word of which only a part was heard is left out. Chinese, Japanese and Korean characters are words of their own.
    """
    at = round(len(text) * min(share, 1.0))
    if at >= len(text):
        return text
    while at > 0 and not _between_words(text[at - 1], text[at]):
        at -= 1
    return text[:at].rstrip()


def _between_words(left: str, right: str) -> bool:
    return any(one.isspace() or unicodedata.east_asian_width(one) in "WF" for one in (left, right))


class Entry(msgspec.Struct):
    """An item as far as it is known. The words of an assistant's message are in `speech`, by content index."""

    item: Json
    response_id: str | None = None
    done: bool = False
    placed: bool = False  # it stands in the conversation; out of band output never does
    speech: dict[int, Speech] = {}
    size: int = 0  # bytes, about

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.item["id"])

    @property
    def kind(self) -> str:
        """The item's type."""
        return str(self.item.get("type"))

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to come of it."""
        return self.done or (bool(self.speech) and all(part.final for part in self.speech.values()))

    @property
    def is_assistants(self) -> bool:
        """Whether the assistant says it."""
        return self.item.get("role") == "assistant"

    @property
    def is_typed(self) -> bool:
        """Whether a client created it, at any place it liked."""
        if any(part.get("type") == "input_audio" for part in self.content):
            return False
        return self.item.get("role") in {"user", "system"} or self.kind == "function_call_output"

    @property
    def is_systems(self) -> bool:
        """Whether it is a system message, which is never left out."""
        return self.item.get("role") == "system"

    @property
    def text(self) -> str:
        """What the assistant said in it so far."""
        return " ".join(part.text for _, part in sorted(self.speech.items()) if part.text)

    @property
    def is_unheard(self) -> bool:
        """Whether it was interrupted before its first word."""
        return not self.text and any(part.shortened for part in self.speech.values())

    def learn(self, item: Json) -> None:
        """What the server says of it, added to what is known: an echo often knows less."""
        old = self.item
        self.item = {**old, **{name: value for name, value in item.items() if value is not None}}
        if old.get("call_id"):
            self.item["call_id"] = old["call_id"]  # the echo of a replay has the shortened one
        if self.is_assistants:
            self.item.pop("content", None)
            self._learn_words(item.get("content"))
        elif "content" in self.item:
            self.item["content"] = _merged(old.get("content"), item.get("content"))
        self.done = self.done or _is_over(self.item)

    def _learn_words(self, content: object) -> None:
        for index, part in enumerate(_parts(content)):
            words = part.get("text") or part.get("transcript")
            if isinstance(words, str):
                self.part(index).settle(words)

    def settle(self) -> None:
        """Nothing more comes of it."""
        if not self.finished:
            self.item["status"] = "incomplete"
        self.done = True

    def part(self, index: int, rate: int = PCM) -> Speech:
        """The speech at that content index."""
        if index not in self.speech:
            self.speech[index] = Speech(rate)
        return self.speech[index]

    def transcribed(self, index: int, transcript: str) -> None:
        """The words of the user's speech are known."""
        content = self.content
        if 0 <= index < len(content):
            content[index]["transcript"] = transcript

    def is_transcribed(self, index: int) -> bool:
        """Whether they are."""
        content = self.content
        return 0 <= index < len(content) and content[index].get("transcript") is not None

    @property
    def content(self) -> list[Json]:
        """The parts of a user's or system message."""
        found: list[Json] = self.item.get("content") or []
        return found

    def weigh(self) -> int:
        """About how many bytes it occupies."""
        self.size = 1_000 + len(msgspec.json.encode(self.item)) + sum(len(part.text) for part in self.speech.values())
        return self.size


def _is_over(item: Json) -> bool:
    """Whether the item says by itself that it is whole; what the model makes is so only when it says so."""
    if status := item.get("status"):
        return bool(status != "in_progress")
    return item.get("role") in {"user", "system"} or item.get("type") == "function_call_output"


def _parts(content: object) -> list[Json]:
    return [dict(part) for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _merged(old: object, new: object) -> list[Json]:
    """The old parts with what the new ones add; parts of other kinds are a replay's, which knows no better."""
    known, told = _parts(old), _parts(new)
    if not known:
        return told
    if [part.get("type") for part in known] == [part.get("type") for part in told]:
        for part, more in zip(known, told, strict=True):
            part.update({name: value for name, value in more.items() if value})
    return known


# --- said again ---------------------------------------------------------------------------------------------------


class Again(msgspec.Struct, frozen=True):
    """An item as a client may create it, or None; and why something of it is missing."""

    item: Json | None
    missing: tuple[str, ...] = ()


def again(entry: Entry, sound: Sound, spoken: str = "output_text") -> Again:
    """The item in the form a new connection takes; `spoken` is the type of the assistant's text there."""
    item = entry.item
    match item.get("type"), item.get("role"):
        case "message", "assistant":
            words = [{"type": spoken, "text": part.text} for _, part in sorted(entry.speech.items()) if part.text]
            return _message(item, words, (NOTHING_HEARD,) if entry.is_unheard else ())
        case "message", "user" | "system":
            parts = [_part_again(item, index, part, sound) for index, part in enumerate(entry.content)]
            missing = tuple(part for part in parts if isinstance(part, str))
            return _message(item, [part for part in parts if isinstance(part, dict)], missing)
        case "function_call", _:
            return _call(item)
        case "function_call_output", _:
            return _output(item)
        case "message", role:
            return Again(None, (f"messages of the role {role} cannot be created by a client",))
        case kind, _:
            return Again(None, (f"items of the type {kind} cannot be created by a client",))


def _message(item: Json, parts: list[Json], missing: tuple[str, ...]) -> Again:
    if not parts:
        return Again(None, missing or (EMPTY,))
    return Again({"id": item["id"], "type": "message", "role": item["role"], "content": parts}, missing)


def _part_again(item: Json, index: int, part: Mapping[str, Any], sound: Sound) -> Json | str:
    """A part of a user's or system message, or why there is none."""
    words = part.get("text") or part.get("transcript")
    match part.get("type"):
        case "input_image":
            shown = {name: part[name] for name in ("type", "image_url", "detail") if part.get(name)}
            return shown if "image_url" in shown else UNKNOWN_IMAGE
        case "input_audio" if audio := sound(item["id"], index):
            return {"type": "input_audio", "audio": audio, **({"transcript": words} if words else {})}
        case "input_audio" if not words:
            return NOT_TRANSCRIBED if words is None else NOTHING_SAID
        case _:
            return {"type": "input_text", "text": words} if words else EMPTY


def _call(item: Json) -> Again:
    if not isinstance(item.get("name"), str) or not isinstance(item.get("arguments"), str):
        return Again(None, ("its name or its arguments are not known",))
    call = {"id": item["id"], "type": "function_call", "name": item["name"], "arguments": item["arguments"]}
    return Again({**call, "call_id": legal_call_id(item["call_id"])} if item.get("call_id") else call)


def _output(item: Json) -> Again:
    if not item.get("call_id"):
        return Again(None, (NO_CALL,))
    call_id, output = legal_call_id(item["call_id"]), str(item.get("output") or "")
    return Again({"id": item["id"], "type": "function_call_output", "call_id": call_id, "output": output})


def legal_call_id(call_id: str) -> str:
    """The call id itself, or where the provider would refuse it, always the same other one in its place."""
    if _LEGAL_CALL_ID.fullmatch(call_id):
        return call_id
    return made_id("call_", call_id)


def made_id(prefix: str, *facts: str) -> str:
    """An id that is always the same for the same facts, and short enough for the provider."""
    digest = hashlib.sha256("\0".join(facts).encode(errors="surrogatepass")).hexdigest()
    return prefix + digest[: CALL_ID_LIMIT - len(prefix)]
