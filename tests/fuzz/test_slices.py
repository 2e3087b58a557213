"""A few seconds of hostile settings files, scripts and command lines; `make fuzz` tries more, guided by coverage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.command_line import try_arguments
from tests.fuzz.folders import SEEDS
from tests.fuzz.targets import try_script, try_settings_file
from tests.fuzzing import Tally, fuzzed

from voicepilot.config.settings import FIELDS

pytestmark = pytest.mark.usefixtures("bare_place")

numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 1, 0.5, 1e300])
texts = st.text(max_size=12) | st.sampled_from(["", "never", "azure", "https://x.openai.azure.com", "(a+)+$", "\x00"])
plain = st.booleans() | numbers | texts
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)
places = st.sampled_from([(section, field) for section, fields in FIELDS.items() for field in fields])
rules = st.fixed_dictionaries({}, optional={"label": texts | st.just("a"), "pattern": texts | values})


def toml(value: Any) -> str:
    """A value as TOML writes it; JSON is the same but for objects and floats."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(held)}" for key, held in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case float():
            return repr(value)
        case _:
            return json.dumps(value)


settings = st.lists(st.tuples(places, values), max_size=4).map(
    lambda given: "".join(f"[{section}]\n{field} = {toml(value)}\n" for (section, field), value in dict(given).items())
)
redaction = st.lists(rules, max_size=2).map(lambda given: f"[privacy]\nredaction_rules = {toml(given)}\n")


@given((settings | redaction).map(lambda text: text.encode(errors="replace")) | st.binary(max_size=40))
@fuzzed(150)
def test_any_settings_file_is_used_or_refused_in_words(tally: Tally, data: bytes) -> None:
    tally("settings files", 1)
    try_settings_file(data)


events = st.fixed_dictionaries(
    {"type": st.sampled_from(["response.done", "conversation.item.input_audio_transcription.completed"])},
    optional={
        "transcript": values,
        "response": st.dictionaries(st.sampled_from(["status", "output", "status_details"]), values, max_size=3)
        | values,
    },
)
recordings = st.lists(events, max_size=3).map(
    lambda events: "\n".join(["recording", *(json.dumps({"from": "server", "event": event}) for event in events)])
)
turns = st.dictionaries(st.sampled_from(["hear", "wait", "say", "call", "fail", "x"]), values, max_size=3)
scripts = st.lists(turns | values, max_size=3).map(lambda turns: "yaml\n" + json.dumps({"turns": turns}))


@given((recordings | scripts).map(lambda text: text.encode(errors="replace")) | st.binary(max_size=40))
@fuzzed(100)
def test_any_script_is_played_or_refused_in_words(tally: Tally, data: bytes) -> None:
    tally("scripts", 1)
    try_script(data)


WORDS = [word for file in (SEEDS / "command-lines").iterdir() for word in file.read_text().splitlines()]
WORDS += (SEEDS / "command-lines.words").read_text().splitlines()
words = st.sampled_from(WORDS) | st.sampled_from(WORDS) | st.text(max_size=6) | numbers.map(str)


@given(st.lists(words, max_size=6))
@fuzzed(60)
def test_any_command_line_is_done_or_refused_in_a_line(tally: Tally, arguments: list[str]) -> None:
    tally("command lines", 1)
    try_arguments("\n".join(arguments).encode(errors="replace"))
