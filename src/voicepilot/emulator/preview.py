"""Azure's preview protocol, spoken by translating to and from the GA conversation.

Its session is flat, its events and content have shorter names, and items are `created`, not `added` and `done`.
Shapes: realtime-wire.md A3 and `types/beta/realtime` of the `openai` package, whose beta client speaks it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from voicepilot.emulator.checks import Json, WireError
from voicepilot.emulator.client_events import decoded
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.effects import Effect, Send

_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_FORMAT_NAMES = {wire: name for name, wire in _FORMATS.items()}
_EVENTS = {
    "response.output_text.": "response.text.",
    "response.output_audio.": "response.audio.",
    "response.output_audio_transcript.": "response.audio_transcript.",
}
# Where a flat field lives in a GA session.
_PLACES = {
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "output_audio_format": ("audio", "output", "format"),
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "modalities": ("output_modalities",),
    "max_response_output_tokens": ("max_output_tokens",),
}
_IGNORED = frozenset({"temperature", "client_secret", "expires_after"})  # nothing in the emulator depends on them


def nested(flat: Json) -> Json:
    """The GA form of a flat session or response."""
    result: Json = {}
    for name, value in flat.items():
        if name in _IGNORED:
            continue
        *path, last = _PLACES.get(name, (name,))
        place = result
        for step in path:
            place = place.setdefault(step, {})
        place[last] = _ga_value(name, value)
    return result


def _ga_value(name: str, value: Any) -> Any:
    if name == "modalities" and isinstance(value, list) and "audio" in value:
        return ["audio"]
    if name.endswith("_audio_format") and isinstance(value, str):
        return {"type": _FORMATS.get(value, value)}
    return value


def flat_session(session: Json) -> Json:
    """The preview's form of a GA session."""
    audio = session["audio"]
    return {
        "id": session["id"],
        "object": "realtime.session",
        "model": session["model"],
        "expires_at": session["expires_at"],
        "modalities": _modalities(session["output_modalities"]),
        "instructions": session["instructions"],
        "voice": audio["output"]["voice"],
        "input_audio_format": _FORMAT_NAMES[audio["input"]["format"]["type"]],
        "output_audio_format": _FORMAT_NAMES[audio["output"]["format"]["type"]],
        "input_audio_noise_reduction": audio["input"]["noise_reduction"],
        "input_audio_transcription": audio["input"]["transcription"],
        "turn_detection": audio["input"]["turn_detection"],
        "tools": session["tools"],
        "tool_choice": session["tool_choice"],
        "temperature": 0.8,
        "max_response_output_tokens": session["max_output_tokens"],
    }


def _modalities(names: list[str]) -> list[str]:
    return ["audio", "text"] if names == ["audio"] else names


def _flat_item(item: Json) -> Json:
    content = [{**part, "type": part["type"].removeprefix("output_")} for part in item.get("content", ())]
    return {**item, "object": "realtime.item"} | ({"content": content} if "content" in item else {})


def _flat_response(response: Json) -> Json:
    rest = {name: value for name, value in response.items() if name not in {"audio", "output_modalities"}}
    output = response["audio"]["output"]
    return {
        **rest,
        "output": [_flat_item(item) for item in response["output"]],
        "modalities": _modalities(response["output_modalities"]),
        "voice": output["voice"],
        "output_audio_format": _FORMAT_NAMES[output["format"]["type"]],
        "temperature": 0.8,
    }


def shown(event: Json) -> Json | None:
    """A server event as the preview sends it; None for one it does not know."""
    kind: str = event["type"]
    if kind == "conversation.item.done":
        return None
    if kind == "conversation.item.added":
        kind = "conversation.item.created"
    for name, short in _EVENTS.items():
        if kind.startswith(name):
            kind = short + kind.removeprefix(name)
    flat = {**event, "type": kind}
    flat.pop("obfuscation", None)
    for name, form in (("session", flat_session), ("item", _flat_item), ("response", _flat_response)):
        if name in flat:
            flat[name] = form(flat[name])
    return flat


def understood(event: Json) -> Json:
    """A client's event in the GA form."""
    result = dict(event)
    if isinstance(event.get("session"), dict):
        result["session"] = {"type": "realtime", **nested(event["session"])}
    if isinstance(event.get("response"), dict):
        response = nested(event["response"])
        if isinstance(response.get("input"), list):
            response["input"] = [_ga_item(item) for item in response["input"]]
        result["response"] = response
    if "item" in event:
        result["item"] = _ga_item(event["item"])
    return result


def _ga_item(item: Any) -> Any:
    if not isinstance(item, dict) or item.get("role") != "assistant" or not isinstance(item.get("content"), list):
        return item
    return {**item, "content": [_ga_part(part) for part in item["content"]]}


def _ga_part(part: Any) -> Any:
    if isinstance(part, dict) and part.get("type") in {"text", "audio"}:
        return {**part, "type": f"output_{part['type']}"}
    return part


class PreviewConversation(Conversation):
    """A conversation whose client speaks the preview."""

    def open(self, now: float) -> list[Effect]:
        """The first event of a new socket."""
        return _all_shown(super().open(now))

    def receive(self, data: str | bytes, now: float) -> list[Effect]:
        """A frame from a client."""
        with suppress(WireError):  # what cannot be understood, the conversation refuses itself
            data = msgspec.json.encode(understood(decoded(data)))
        return _all_shown(super().receive(data, now))

    def wake(self, now: float) -> list[Effect]:
        """What is due by now."""
        return _all_shown(super().wake(now))


def _all_shown(effects: list[Effect]) -> list[Effect]:
    result: list[Effect] = []
    for effect in effects:
        event = shown(effect.event) if isinstance(effect, Send) else None
        if event is not None:
            result.append(Send(event))
        elif not isinstance(effect, Send):
            result.append(effect)
    return result
