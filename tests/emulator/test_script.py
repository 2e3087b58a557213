"""Answers written down, and recorded conversations played again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from voicepilot.emulator import Script
from voicepilot.errors import ConfigurationError

SCRIPT = """
turns:
  - say: Let me look.
    call: {name: get_weather, arguments: {city: Paris}}
  - wait: 2
    say: It is sunny.
  - fail: The model broke.
after: silence
"""


def answer(talk: Any) -> dict[str, Any]:
    events = talk.send("response.create") + talk.wait(5)
    (done,) = [event["response"] for event in events if event["type"] == "response.done"]
    return dict(done)


def words(response: dict[str, Any]) -> list[str]:
    return [
        item["arguments"] if item["type"] == "function_call" else item["content"][0]["transcript"]
        for item in response["output"]
    ]


def test_a_script_is_said_turn_by_turn(new_talk: Any) -> None:
    talk = new_talk(Script.parse(SCRIPT))
    assert words(answer(talk)) == ["Let me look.", '{"city":"Paris"}']
    began = talk.now
    assert words(answer(talk)) == ["It is sunny."]
    assert talk.now - began == 5
    failed = answer(talk)
    assert (failed["status"], failed["status_details"]["error"]["message"]) == ("failed", "The model broke.")
    assert (answer(talk)["output"], answer(talk)["status"]) == ([], "completed")


@pytest.mark.parametrize(("after", "said"), [("echo", "Hi"), ("repeat", "One")])
def test_what_comes_after_the_script(new_talk: Any, after: str, said: str) -> None:
    talk = new_talk(Script.parse(f"turns: [{{say: One}}]\nafter: {after}"))
    talk.say("Hi")
    answer(talk)
    assert words(answer(talk)) == [said]


def test_every_connection_starts_at_the_beginning(new_talk: Any) -> None:
    script = Script.parse("turns: [{say: One}, {say: Two}]")
    assert [words(answer(new_talk(script))) for _ in range(2)] == [["One"], ["One"]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("turns: [{says: Hi}]", "says"),
        ("turns: 3", "turns"),
        ("{}", "turns"),
        ("turns: [", "script cannot be read"),
        ("turns: []\nafter: dance", "after"),
    ],
)
def test_a_script_that_cannot_be_read_says_why(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Script.parse(text)


def test_a_recording_is_played_again(new_talk: Any, tmp_path: Path) -> None:
    talk = new_talk(Script.parse(SCRIPT.replace("turns:", "turns:\n  - {hear: Hello there, say: Hi}")))
    talk.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    events = talk.hear(1.0, loud=True) + talk.hear(0.3, loud=False)
    for _ in range(3):
        events += talk.send("response.create") + talk.wait(5)
    path = tmp_path / "conversation.jsonl"
    path.write_text("\n".join(json.dumps({"at": 0, "from": "server", "event": event}) for event in events))

    again = new_talk(Script.load(path))
    again.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    replayed = again.hear(1.0, loud=True) + again.hear(0.3, loud=False)
    for _ in range(3):
        replayed += again.send("response.create") + again.wait(5)
    assert said(replayed) == said(events)


def said(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (event["type"], event.get("transcript"), event.get("arguments"), event.get("response", {}).get("status"))
        for event in events
        if event["type"].endswith((".done", ".completed"))
    ]


def test_a_recording_that_cannot_be_read_says_where() -> None:
    with pytest.raises(ConfigurationError, match="line 2"):
        Script.replay(['{"from": "client"}', "{"])
    with pytest.raises(ConfigurationError, match="cannot read"):
        Script.load("/nowhere/script.yaml")
