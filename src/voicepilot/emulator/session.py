"""The session object: its defaults as recorded, and how `session.update` changes it.

Defaults: realtime-wire.md A1 (recordings of `POST /v1/realtime/client_secrets`). Merging: D4.
"""

from __future__ import annotations

import copy

from voicepilot.emulator.checks import (
    Json,
    WireError,
    anything,
    array,
    choice,
    either,
    flag,
    nullable,
    number,
    record,
    tagged,
    text,
)

DEFAULT_MODEL = "gpt-realtime"
DEFAULT_INSTRUCTIONS = (
    "Your knowledge cutoff is 2023-10. You are a helpful, witty, and friendly AI. Act like a human, but remember that "
    "you aren't a human."
)
# 200 ms of silence is what both providers answer, whatever the SDK's docstring says (realtime-wire.md A1).
SERVER_VAD: Json = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: Json = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}
VAD_DEFAULTS = {"server_vad": SERVER_VAD, "semantic_vad": SEMANTIC_VAD}

_function = record(
    {"type": anything, "name": text(64), "description": nullable(text()), "parameters": anything},
    required=("name",),
)
_tool = tagged("type", {"function": _function, "mcp": lambda value, _: value})
_format = tagged(
    "type",
    {
        "audio/pcm": record({"type": anything, "rate": number(24_000, 24_000, whole=True)}),
        "audio/pcmu": record({"type": anything}),
        "audio/pcma": record({"type": anything}),
    },
)
_milliseconds = number(0, 60_000, whole=True)
_vad = record(
    {
        "type": choice("server_vad", "semantic_vad"),
        "threshold": number(0, 1),
        "prefix_padding_ms": _milliseconds,
        "silence_duration_ms": _milliseconds,
        "idle_timeout_ms": nullable(number(5_000, 30_000, whole=True)),
        "eagerness": choice("low", "medium", "high", "auto"),
        "create_response": flag,
        "interrupt_response": flag,
    }
)
_transcription = record(
    {"model": nullable(text()), "language": nullable(text()), "prompt": nullable(text()), "delay": anything}
)
_input = record(
    {
        "format": _format,
        "transcription": nullable(_transcription),
        "noise_reduction": nullable(record({"type": choice("near_field", "far_field")})),
        "turn_detection": nullable(_vad),
    }
)
_voice = either((), lambda value, path: text()(value, path) if not isinstance(value, dict) else value)
_output = record({"format": _format, "voice": _voice, "speed": number(0.25, 1.5)})


def _modalities(value: object, path: str) -> list[str]:
    names: list[str] = array(choice("text", "audio"), 2)(value, path)
    if len(names) != 1:
        found = ", ".join(f"'{name}'" for name in names)
        raise WireError(
            f"Invalid modalities: [{found}]. Supported combinations are: ['text'] and ['audio'].", "invalid_value", path
        )
    return names


# What a session and a single response have in common.
GENERATION = {
    "output_modalities": _modalities,
    "instructions": text(),
    "tools": array(_tool, 128),
    "tool_choice": either(
        ("auto", "none", "required"), record({"type": anything, "name": text(), "server_label": text()})
    ),
    "max_output_tokens": either(("inf",), number(1, 4096, whole=True)),
    "prompt": anything,
    "reasoning": anything,
    "parallel_tool_calls": flag,
}
RESPONSE_AUDIO = record({"output": record({"format": _format, "voice": _voice})})

_session = record(
    {
        **GENERATION,
        "type": choice("realtime", "transcription"),
        "model": text(),
        "audio": record({"input": _input, "output": _output}),
        "tracing": nullable(either(("auto",), anything)),
        "truncation": either(
            ("auto", "disabled"), record({"type": anything, "retention_ratio": number(0, 1), "token_limits": anything})
        ),
        "include": nullable(array(text())),
    },
    required=("type",),
)


def new_session(session_id: str, model: str = DEFAULT_MODEL) -> Json:
    """A session as the provider makes it when nothing was asked; `expires_at` is 0 until somebody connects."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": 0,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(SERVER_VAD),
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "alloy", "speed": 1.0},
        },
        "include": None,
    }


def merged(session: Json, changes: object, *, spoke: bool = False, minting: bool = False) -> Json:
    """`session` with a client's `changes`; what they omit stays.

    `spoke` locks the voice: the provider keeps it once audio was heard (realtime-wire.md D4). The model is settled
    when the session is made, so it changes only while `minting` and is ignored afterwards.
    """
    asked: Json = _session(changes, "session")
    result = copy.deepcopy(session)
    audio = asked.pop("audio", {})
    model = asked.pop("model", None)
    if model and minting:
        result["model"] = model
    if "tools" in asked:
        asked["tools"] = [normal_tool(tool) for tool in asked["tools"]]
    result.update(asked)
    _merge_input(result["audio"]["input"], audio.get("input", {}))
    _merge_output(result["audio"]["output"], audio.get("output", {}), locked=spoke)
    return result


def normal_tool(tool: Json) -> Json:
    """A tool as the provider gives it back: `description` is null where there was none."""
    if tool.get("type") != "function":
        return tool
    return {
        "type": "function",
        "name": tool["name"],
        "description": tool.get("description"),
        "parameters": tool.get("parameters"),
    }


def _merge_input(current: Json, changes: Json) -> None:
    changes = dict(changes)
    if "format" in changes:
        current["format"] = _normal_format(changes.pop("format"))
    if changes.get("transcription"):
        changes["transcription"] = {"language": None, "prompt": None, **changes["transcription"]}
    if changes.get("turn_detection"):
        changes["turn_detection"] = _normal_vad(current["turn_detection"], changes["turn_detection"])
    current.update(changes)


def _normal_vad(current: Json | None, changes: Json) -> Json:
    kind = changes.get("type") or (current or SERVER_VAD)["type"]
    base = current if current and current["type"] == kind else VAD_DEFAULTS[kind]
    for name in changes:
        if name not in base:
            path = f"session.audio.input.turn_detection.{name}"
            raise WireError(f"Unknown parameter: '{path}'.", "unknown_parameter", path)
    return {**base, **changes}


def _merge_output(current: Json, changes: Json, *, locked: bool) -> None:
    if locked and changes.get("voice", current["voice"]) != current["voice"]:
        raise WireError(
            "Cannot update a conversation's voice if assistant audio is present.",
            "cannot_update_voice",
            "session.audio.output.voice",
        )
    if "format" in changes:
        changes = {**changes, "format": _normal_format(changes["format"])}
    current.update(changes)


def _normal_format(asked: Json) -> Json:
    return {"type": "audio/pcm", "rate": 24_000} if asked["type"] == "audio/pcm" else asked
