"""One response being given: a generator of events and pauses, in the order of realtime-wire.md D3.

The generator can be left at any pause; `cut` then closes what is open, as the provider does for a cancelled response.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable, Iterator

import msgspec

from voicepilot.emulator.answers import Call, Fail, Part, Say, Wait
from voicepilot.emulator.audio import Format, spoken
from voicepilot.emulator.checks import Json
from voicepilot.emulator.items import Entry, Items
from voicepilot.emulator.usage import audio_out_tokens, text_tokens, usage_of

KEPT_AUDIO = 8 * 1024 * 1024  # bytes of one answer kept for conversation.item.retrieve

Step = Json | float  # an event, or seconds to wait before the next


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How a response is given."""

    audio: bool
    form: Format
    pace: float = 0.0  # seconds that pass for each second of audio: 0 sends all at once, 1 is real time
    speed: float = 1.0
    limit: int | None = None  # max_output_tokens


class Run:
    """A response in the making; `items` is None for one out of band (`conversation: "none"`)."""

    def __init__(
        self,
        response: Json,
        parts: tuple[Part, ...],
        manner: Manner,
        *,
        items: Items | None,
        context: tuple[int, int],
        make: Callable[[str], str],
        token: Callable[[int], str],
    ) -> None:
        self.response = response
        self.over = False
        self.spoken = 0.0  # seconds of audio sent
        self.playing = False  # a WebRTC peer hears it
        self._parts = parts
        self._manner = manner
        self._items = items
        self._context = context
        self._make = make
        self._token = token
        self._entry: Entry | None = None  # the output item that is open
        self._part: Json | None = None  # the content part that is open
        self._out_text = 0

    @property
    def id(self) -> str:
        """The response's id."""
        return str(self.response["id"])

    @property
    def in_conversation(self) -> bool:
        """Whether the conversation remembers it; only one such response runs at a time."""
        return self._items is not None

    def made(self, item_id: str) -> bool:
        """Whether that item is output of this response."""
        return any(item["id"] == item_id for item in self.response["output"])

    def play(self) -> Iterator[Step]:
        """Everything after `response.created`."""
        for part in self._parts:
            match part:
                case Wait(seconds):
                    yield seconds
                case Say(text):
                    yield from self._say(text)
                case Call():
                    yield from self._call(part)
                case Fail(message, code, kind):
                    error = {"type": kind, "code": code, "message": message}
                    yield from self._finish("failed", {"type": "failed", "error": error})
            if self.over:
                return
        yield from self._finish("completed", None)

    def cut(self, reason: str) -> list[Json]:
        """End it early: `client_cancelled` or `turn_detected`."""
        closing = [*self._close_part(), *self._close_item("incomplete")]
        return [*closing, *self._finish("cancelled", {"type": "cancelled", "reason": reason})]

    def _say(self, text: str) -> Iterator[Step]:
        content = "output_audio" if self._manner.audio else "output_text"
        message = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
        yield from self._open_item({"id": self._make("item_"), **message})
        yield from self._open_part(content)
        for word in re.findall(r"\s*\S+|\s+$", text):
            if self._spent(word):
                yield from self._close_part()
                yield from self._close_item("incomplete")
                yield from self._finish("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
                return
            yield from self._word(word)
        yield from self._close_part()
        yield from self._close_item("completed")

    def _spent(self, word: str) -> bool:
        limit = self._manner.limit
        if limit is not None and self._out_text + text_tokens(word) > limit:
            return True
        self._out_text += text_tokens(word)
        return False

    def _word(self, word: str) -> Iterator[Step]:
        part, entry = self._part, self._entry
        if part is None or entry is None:
            return
        if not self._manner.audio:
            part["text"] += word
            yield self._delta("response.output_text.delta", word)
            yield 0.0
            return
        part["transcript"] += word
        yield self._delta("response.output_audio_transcript.delta", word)
        for chunk in spoken(word, self._manner.form, self._manner.speed):
            yield from self._sound(chunk, entry)

    def _sound(self, chunk: bytes, entry: Entry) -> Iterator[Step]:
        seconds = self._manner.form.seconds(len(chunk))
        self.spoken += seconds
        entry.audio_ms += round(seconds * 1000)
        if len(entry.audio) < KEPT_AUDIO:
            entry.audio += chunk
        yield self._event("response.output_audio.delta", **self._place, delta=base64.b64encode(chunk).decode())
        yield seconds * self._manner.pace

    def _call(self, call: Call) -> Iterator[Step]:
        item = {
            "type": "function_call",
            "status": "in_progress",
            "name": call.name,
            "call_id": f"call_{self._token(16)}",
        }
        yield from self._open_item({"id": self._make("item_"), **item, "arguments": ""})
        entry = self._entry
        if entry is None:
            return
        place = {name: self._place[name] for name in ("response_id", "item_id", "output_index")}
        place["call_id"] = entry.item["call_id"]
        for piece in re.findall(r"(?s).{1,16}", call.json):
            entry.item["arguments"] += piece
            yield self._event(
                "response.function_call_arguments.delta", **place, delta=piece, obfuscation=self._pad(piece)
            )
            yield 0.0
        self._out_text += text_tokens(call.json)
        yield self._event(
            "response.function_call_arguments.done", **place, name=call.name, arguments=entry.item["arguments"]
        )
        yield from self._close_item("completed")

    def _open_item(self, item: Json) -> Iterator[Json]:
        self._entry = Entry(item)
        yield self._event("response.output_item.added", response_id=self.id, output_index=self._index, item=_copy(item))
        if self._items is not None:
            previous = self._items.add(self._entry)
            yield self._event("conversation.item.added", previous_item_id=previous, item=_copy(item))

    def _close_item(self, status: str) -> Iterator[Json]:
        entry, self._entry = self._entry, None
        if entry is None:
            return
        entry.item["status"] = status
        item, item_id = _copy(entry.item), entry.item["id"]
        if self._items is not None and self._items.get(item_id):
            previous = self._items.before(item_id)
            yield self._event("conversation.item.done", previous_item_id=previous, item=item)
        yield self._event("response.output_item.done", response_id=self.id, output_index=self._index, item=item)
        self.response["output"].append(item)

    def _open_part(self, content: str) -> Iterator[Json]:
        # The part's type is `audio` or `text`; the item's content says `output_audio` or `output_text`.
        words = "transcript" if self._manner.audio else "text"
        self._part = {"type": content, words: ""}
        if self._entry is not None:
            self._entry.item["content"].append(self._part)
        yield self._event("response.content_part.added", **self._place, part=self._shown_part())

    def _close_part(self) -> Iterator[Json]:
        if self._part is None:
            return
        if self._manner.audio:
            yield self._event("response.output_audio.done", **self._place)
            transcript = self._part["transcript"]
            yield self._event("response.output_audio_transcript.done", **self._place, transcript=transcript)
        else:
            yield self._event("response.output_text.done", **self._place, text=self._part["text"])
        yield self._event("response.content_part.done", **self._place, part=self._shown_part())
        if self._entry is not None:
            self._entry.words = self._part.get("transcript") or self._part.get("text", "")
        self._part = None

    def _shown_part(self) -> Json:
        part = self._part or {}
        return {**part, "type": str(part.get("type", "")).removeprefix("output_")}

    def _finish(self, status: str, details: Json | None) -> Iterator[Json]:
        self.over = True
        self.response["status"] = status
        self.response["status_details"] = details
        self.response["usage"] = usage_of(self._context, (self._out_text, audio_out_tokens(self.spoken)))
        yield self._event("response.done", response=_copy(self.response))

    @property
    def _index(self) -> int:
        return len(self.response["output"])

    @property
    def _place(self) -> Json:
        item_id = self._entry.item["id"] if self._entry else None
        return {"response_id": self.id, "item_id": item_id, "output_index": self._index, "content_index": 0}

    def _delta(self, kind: str, delta: str) -> Json:
        return self._event(kind, **self._place, delta=delta, obfuscation=self._pad(delta))

    def _pad(self, delta: str) -> str:
        return self._token(max(1, 16 - len(delta) % 16))

    @staticmethod
    def _event(kind: str, **fields: object) -> Json:
        return {"type": kind, **fields}


def _copy(value: Json) -> Json:
    return copy.deepcopy(value)
