"""What a server says, in short: events to feed a mirror, and emulated connections that say them."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.emulator.conftest import Talk

from voicepilot.conversation.mirror import Mirror
from voicepilot.conversation.replay import Replay
from voicepilot.emulator.answers import Answers

Json = dict[str, Any]


def message(item_id: str, role: str, text: str | None = None, **fields: Any) -> Json:
    """A whole message: typed, or the assistant's."""
    kind = "output_text" if role == "assistant" else "input_text"
    content = [] if text is None else [{"type": kind, "text": text}]
    return {"id": item_id, "type": "message", "status": "completed", "role": role, "content": content, **fields}


def user(item_id: str, text: str) -> Json:
    return message(item_id, "user", text)


def system(item_id: str, text: str) -> Json:
    return message(item_id, "system", text)


def assistant(item_id: str, text: str) -> Json:
    return message(item_id, "assistant", text)


def speech(item_id: str, transcript: str | None = None) -> Json:
    """The user's audio."""
    return message(item_id, "user", content=[{"type": "input_audio", "transcript": transcript}])


def call(item_id: str, call_id: str, arguments: str = "{}", **fields: Any) -> Json:
    item = {"id": item_id, "type": "function_call", "status": "completed", "name": "look", "call_id": call_id}
    return {**item, "arguments": arguments, **fields}


def output(item_id: str, call_id: str, text: str = "found") -> Json:
    return {"id": item_id, "type": "function_call_output", "status": "completed", "call_id": call_id, "output": text}


def added(item: Json, after: str | None = None) -> Json:
    return {"type": "conversation.item.added", "previous_item_id": after, "item": item}


def done(item: Json, after: str | None = None) -> Json:
    return {"type": "conversation.item.done", "previous_item_id": after, "item": item}


def transcribed(item_id: str, words: str) -> Json:
    kind = "conversation.item.input_audio_transcription.completed"
    return {"type": kind, "item_id": item_id, "content_index": 0, "transcript": words}


def begun(item_id: str, response_id: str = "resp", after: str | None = None) -> list[Json]:
    """The assistant begins to speak, or to call a function if the item says so."""
    item = {"id": item_id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    return outgoing(item, response_id, after)


def outgoing(item: Json, response_id: str = "resp", after: str | None = None) -> list[Json]:
    first = {"type": "response.output_item.added", "response_id": response_id, "output_index": 0, "item": item}
    return [first, added(item, after)]


def words(item_id: str, *deltas: str) -> list[Json]:
    kind = "response.output_audio_transcript.delta"
    return [{"type": kind, "item_id": item_id, "content_index": 0, "delta": delta} for delta in deltas]


def sound(item_id: str, size: int) -> Json:
    data = base64.b64encode(bytes(size)).decode()
    return {"type": "response.output_audio.delta", "item_id": item_id, "content_index": 0, "delta": data}


def said(item_id: str, transcript: str) -> Json:
    kind = "response.output_audio_transcript.done"
    return {"type": kind, "item_id": item_id, "content_index": 0, "transcript": transcript}


def truncated(item_id: str, end: int) -> Json:
    return {"type": "conversation.item.truncated", "item_id": item_id, "content_index": 0, "audio_end_ms": end}


def response_done(*output: Json, response_id: str = "resp", conversation_id: str | None = "conv") -> Json:
    response = {"id": response_id, "output": list(output), "conversation_id": conversation_id}
    return {"type": "response.done", "response": response}


def session(**audio: Any) -> Json:
    return {"type": "session.created", "session": {"type": "realtime", "audio": audio}}


def mirror_of(*items: Json, **options: Any) -> Mirror:
    """A mirror that heard these items, one behind the other."""
    mirror, last = Mirror(**options), None
    for item in items:
        mirror.hear(added(item, last))
        mirror.hear(done(item, last))
        last = item["id"]
    return mirror


def heard(mirror: Mirror, *events: Json | list[Json]) -> Mirror:
    for event in events:
        for one in event if isinstance(event, list) else [event]:
            mirror.hear(one)
    return mirror


def items_of(replay: Replay) -> list[Json]:
    return [event["item"] for event in replay.events]


def told(replay: Replay) -> list[str]:
    """The words, in order, each behind who says them."""
    lines = []
    for item in items_of(replay):
        parts = item.get("content", [])
        text = "/".join(part.get("text") or part.get("transcript") or part["type"] for part in parts)
        lines.append(f"{item.get('role', item['type'])}: {text or item.get('output') or item.get('arguments')}")
    return lines


class Line(Talk):
    """An emulated connection whose ids begin where those of the one before it ended."""

    def __init__(self, answers: Answers | None = None, *, number: int = 0, **terms: Any) -> None:
        super().__init__(answers, **terms)
        for _ in range(10_000 * number):
            self.conversation._stage.ids.token(1)
        self.greeting = self.events(self.conversation.open(self.now))

    def take(self, replay: Replay) -> list[Json]:
        """Send a replay; what comes must be its acknowledgement, item by item."""
        answers: list[Json] = []
        for event in replay.events:
            got = self.events(self.raw(json.dumps(event)))
            expected = [f"conversation.item.{kind}" for kind in ("added", "done")]
            assert [one["type"] for one in got] == expected, got
            assert [one["item"]["id"] for one in got] == [event["item"]["id"]] * 2
            before = event["previous_item_id"]
            assert {one["previous_item_id"] for one in got} == {None if before == "root" else before}
            answers += got
        return answers

    def item_ids(self) -> list[str]:
        return [entry.item["id"] for entry in self.conversation._items]
