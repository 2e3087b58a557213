"""The pure conversation: events in, events out, compared as values."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from voicepilot.emulator import Call, Fail, Fault, Say, Script, Turn, Wait
from voicepilot.emulator.answers import FunctionAnswers
from voicepilot.emulator.effects import Close, Drop

Events = list[dict[str, Any]]

SPOKEN_TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


def kinds(events: Events) -> list[str]:
    return [event["type"] for event in events]


def brief(events: Events) -> list[str]:
    """The types, each once where it repeats at once or takes turns."""
    short: list[str] = []
    for kind in kinds(events):
        if kind not in short[-2:]:
            short.append(kind)
    return short


def error_of(events: Events) -> dict[str, Any]:
    (event,) = events
    assert event["type"] == "error"
    return dict(event["error"])


def only(events: Events, kind: str) -> dict[str, Any]:
    (event,) = [event for event in events if event["type"] == kind]
    return event


# -- turns ------------------------------------------------------------------------------------------------------------


def test_the_first_event_is_the_session_with_its_end(talk: Any) -> None:
    (effect,) = talk.conversation.open(talk.now)
    assert effect.event["type"] == "session.created"
    assert effect.event["session"]["expires_at"] == 1_800_003_600


def test_a_spoken_turn_has_the_recorded_order(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "Yes"))
    events = talk.hear(1.0, loud=True) + talk.hear(0.3, loud=False)
    assert kinds(events) == SPOKEN_TURN


def test_azure_sends_no_rate_limits(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "Yes"), azure=True)
    events = talk.hear(1.0, loud=True) + talk.hear(0.3, loud=False)
    assert kinds(events) == SPOKEN_TURN[:-1]


def test_items_and_parts_name_their_types_differently(talk: Any) -> None:
    talk.say("Hello")
    events = talk.send("response.create")
    assert only(events, "response.content_part.added")["part"] == {"type": "audio", "transcript": ""}
    assert only(events, "response.content_part.done")["part"] == {"type": "audio", "transcript": "Hello"}
    item = only(events, "response.output_item.done")["item"]
    assert item["content"] == [{"type": "output_audio", "transcript": "Hello"}]
    assert "object" not in item


def test_only_words_are_obfuscated(talk: Any) -> None:
    talk.say("Hello")
    events = talk.send("response.create")
    assert "obfuscation" in only(events, "response.output_audio_transcript.delta")
    assert all("obfuscation" not in event for event in events if event["type"] == "response.output_audio.delta")


def test_audio_lasts_as_long_as_its_text(new_talk: Any) -> None:
    lengths = []
    for text in ("Hi", "Hi " * 10):
        talk = new_talk()
        talk.say(text)
        events = talk.send("response.create")
        audio = [base64.b64decode(event["delta"]) for event in events if event["type"] == "response.output_audio.delta"]
        lengths.append(sum(map(len, audio)) / 48_000)
    assert lengths[0] == pytest.approx(0.12, abs=0.01)
    assert lengths[1] == pytest.approx(10 * 0.18, abs=0.1)


def test_a_text_turn_speaks_no_audio(talk: Any) -> None:
    talk.update(output_modalities=["text"])
    talk.say("Good morning")
    events = talk.send("response.create")
    assert brief(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = only(events, "response.done")["response"]
    assert done["status"] == "completed"
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "Good morning"}]
    assert done["audio"] == {"output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "alloy"}}
    assert done["usage"]["output_token_details"] == {"text_tokens": 3 + 1 - 1, "audio_tokens": 0}
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"]


def test_usage_is_null_until_done(talk: Any) -> None:
    assert only(talk.send("response.create"), "response.created")["response"]["usage"] is None


def test_an_answer_cut_by_max_output_tokens_is_incomplete(talk: Any) -> None:
    talk.say("one two three four five")
    done = only(talk.send("response.create", response={"max_output_tokens": 2}), "response.done")["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert done["output"][0]["status"] == "incomplete"


def test_a_response_out_of_band_leaves_no_trace(talk: Any) -> None:
    talk.say("Hello")
    events = talk.send("response.create", response={"conversation": "none", "metadata": {"topic": "x"}})
    assert "conversation.item.added" not in kinds(events)
    done = only(events, "response.done")["response"]
    assert (done["conversation_id"], done["metadata"]) == (None, {"topic": "x"})
    item = error_of(talk.send("conversation.item.retrieve", item_id=done["output"][0]["id"]))
    assert item["code"] == "item_retrieve_invalid_item_id"


def test_a_response_may_bring_its_own_input(talk: Any) -> None:
    talk.say("Hello", id="first")
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Own"}]}
    own = talk.send("response.create", response={"conversation": "none", "input": [message]})
    assert only(own, "response.output_audio_transcript.done")["transcript"] == "Own"
    reference = [{"type": "item_reference", "id": "first"}]
    referred = talk.send("response.create", response={"conversation": "none", "input": reference})
    assert only(referred, "response.output_audio_transcript.done")["transcript"] == "Hello"
    unknown = talk.send("response.create", response={"input": [{"type": "item_reference", "id": "x"}]})
    assert error_of(unknown)["param"] == "response.input[0].id"


def test_a_function_call_waits_for_its_output(new_talk: Any) -> None:
    def answer(turn: Turn) -> Any:
        return turn.text if turn.number else Call("get_weather", {"city": "Paris"})

    talk = new_talk(FunctionAnswers(answer))
    talk.say("Weather?")
    events = talk.send("response.create")
    assert brief(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = only(events, "response.function_call_arguments.done")
    assert (done["name"], json.loads(done["arguments"])) == ("get_weather", {"city": "Paris"})
    output = {"type": "function_call_output", "call_id": done["call_id"], "output": "Sunny"}
    assert kinds(talk.send("conversation.item.create", item=output)) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert only(talk.send("response.create"), "response.output_audio_transcript.done")["transcript"] == "Sunny"


def test_an_early_function_output_is_acknowledged_after_the_response(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: (Call("now"), Wait(5), Say("There"))))
    call = only(talk.send("response.create"), "response.function_call_arguments.done")["call_id"]
    output = {"type": "function_call_output", "call_id": call, "output": "noon"}
    assert talk.send("conversation.item.create", item=output) == []
    late = kinds(talk.wait(5))
    assert late[-2:] == ["conversation.item.added", "conversation.item.done"]
    assert late.index("response.done") < len(late) - 2
    talk.send("response.create")
    assert "error" not in kinds(talk.wait(5)), "acknowledged once"


def test_an_answer_function_that_raises_fails_the_response(new_talk: Any) -> None:
    def broken(turn: Turn) -> str:
        raise LookupError(turn.text)

    events = new_talk(FunctionAnswers(broken)).send("response.create")
    assert kinds(events) == ["response.created", "response.done"]
    details = only(events, "response.done")["response"]["status_details"]
    assert (details["type"], details["error"]["type"]) == ("failed", "server_error")


def test_a_failed_answer_is_no_error_event(new_talk: Any) -> None:
    events = new_talk(FunctionAnswers(lambda _: (Say("Well"), Fail("out of luck")))).send("response.create")
    response = only(events, "response.done")["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["message"] == "out of luck"
    assert "error" not in kinds(events)


# -- interrupting -----------------------------------------------------------------------------------------------------


def test_speaking_over_an_answer_cancels_it(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "a long answer " * 10), pace=1.0)
    events = talk.send("response.create") + talk.wait(2.0)
    assert "response.done" not in kinds(events)
    events = talk.hear(0.5, loud=True)
    assert kinds(events)[0] == "input_audio_buffer.speech_started"
    done = only(events, "response.done")["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    assert kinds(talk.wait(100)) == []


def test_without_interrupt_response_the_answer_goes_on(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "a long answer " * 10), pace=1.0)
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    talk.send("response.create")
    assert kinds(talk.hear(0.5, loud=True)) == ["input_audio_buffer.speech_started"]


def test_a_client_may_cancel(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "a long answer " * 10), pace=1.0)
    talk.send("response.create")
    done = only(talk.send("response.cancel"), "response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert error_of(talk.send("response.cancel"))["code"] == "response_cancel_not_active"


def test_what_was_not_heard_can_be_truncated(talk: Any) -> None:
    talk.say("Hello there")
    item = only(talk.send("response.create"), "response.output_item.done")["item"]
    place = {"item_id": item["id"], "content_index": 0}
    too_long = talk.send("conversation.item.truncate", **place, audio_end_ms=60_000)
    assert "already shorter" in error_of(too_long)["message"]
    (truncated,) = talk.send("conversation.item.truncate", **place, audio_end_ms=100)
    assert truncated["type"] == "conversation.item.truncated"
    assert truncated["audio_end_ms"] == 100
    (retrieved,) = talk.send("conversation.item.retrieve", item_id=item["id"])
    (part,) = retrieved["item"]["content"]
    assert part["transcript"] == ""
    assert len(base64.b64decode(part["audio"])) == 4_800


def test_one_response_at_a_time(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "Hello"), pace=1.0)
    talk.send("response.create")
    assert error_of(talk.send("response.create"))["code"] == "conversation_already_has_active_response"


def test_paced_audio_takes_its_time(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "0123456789"), pace=1.0)
    talk.send("response.create")
    assert "response.done" not in kinds(talk.wait(0.5))
    assert "response.done" in kinds(talk.wait(0.11))


# -- audio in ---------------------------------------------------------------------------------------------------------


def test_speech_is_placed_in_the_audio(talk: Any) -> None:
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    events = talk.hear(1.0, loud=False) + talk.hear(0.5, loud=True) + talk.hear(0.5, loud=False)
    started, stopped, committed = events[:3]
    assert started["audio_start_ms"] == 700
    assert stopped["audio_end_ms"] == 1_700
    assert started["item_id"] == stopped["item_id"] == committed["item_id"]
    (retrieved,) = talk.send("conversation.item.retrieve", item_id=started["item_id"])
    audio = base64.b64decode(retrieved["item"]["content"][0]["audio"])
    assert len(audio) / 48_000 == pytest.approx(1.0, abs=0.05)  # 0.3 before, 0.5 of speech, 0.2 of silence


def test_two_turns_may_come_in_one_append(talk: Any) -> None:
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    pcm = b"".join((b"\x00\x20" * 12_000 + b"\0\0" * 12_000) for _ in range(2))
    events = talk.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())
    assert kinds(events).count("input_audio_buffer.committed") == 2


def test_semantic_detection_waits_longer(talk: Any) -> None:
    talk.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}})
    talk.hear(1.0, loud=True)
    assert kinds(talk.hear(1.9, loud=False)) == []
    assert kinds(talk.hear(0.2, loud=False))[0] == "input_audio_buffer.speech_stopped"


def test_by_hand_nothing_is_answered_before_it_is_asked(talk: Any) -> None:
    talk.update(audio={"input": {"turn_detection": None}})
    assert talk.hear(0.5, loud=True) == []
    assert kinds(talk.send("input_audio_buffer.commit")) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert kinds(talk.send("response.create"))[0] == "response.created"


def test_nothing_cannot_be_committed(talk: Any) -> None:
    talk.update(audio={"input": {"turn_detection": None}})
    talk.hear(1.0, loud=True)
    assert kinds(talk.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    error = error_of(talk.send("input_audio_buffer.commit"))
    assert error["code"] == "input_audio_buffer_commit_empty"
    assert "only has 0.00ms of audio" in error["message"]


def test_transcription_comes_between_the_answer_and_its_first_word(new_talk: Any) -> None:
    talk = new_talk(Script.parse("turns: [{hear: Hello there, say: Hi}]"))
    talk.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    events = talk.hear(1.0, loud=True) + talk.hear(0.3, loud=False)
    order = kinds(events)
    completed = order.index("conversation.item.input_audio_transcription.completed")
    assert order.index("response.created") < completed < order.index("response.output_item.added")
    assert events[completed]["transcript"] == "Hello there"
    deltas = [event["delta"] for event in events if event["type"].endswith("transcription.delta")]
    assert "".join(deltas) == "Hello there"
    assert only(events, "response.output_audio_transcript.done")["transcript"] == "Hi"


def test_a_transcription_session_only_listens(talk: Any) -> None:
    talk.send(
        "session.update",
        session={"type": "transcription", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}},
    )
    events = talk.hear(1.0, loud=True) + talk.hear(0.3, loud=False)
    assert kinds(events)[-1] == "conversation.item.input_audio_transcription.completed"
    assert "response.created" not in kinds(events)
    assert error_of(talk.send("response.create"))["code"] == "invalid_value"


def test_a_long_silence_is_answered_too(talk: Any) -> None:
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5_000}}})
    talk.say("Hi")
    talk.send("response.create")
    assert talk.wait(5.0) == []
    events = talk.wait(1.0)
    assert kinds(events)[:3] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
    ]
    assert "response.done" in kinds(events)


def test_whoever_speaks_starts_the_silence_anew(talk: Any) -> None:
    talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5_000}}})
    talk.say("Hi")
    talk.send("response.create")
    talk.wait(3.0)
    talk.send("response.create")
    assert talk.wait(5.0) == []
    assert "input_audio_buffer.timeout_triggered" in kinds(talk.wait(0.2))


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
def test_telephone_audio_is_understood(talk: Any, name: str) -> None:
    talk.update(audio={"input": {"format": {"type": name}}, "output": {"format": {"type": name}}})
    talk.say("Hi")
    events = talk.send("response.create")
    loud = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(loud) / 8_000 == pytest.approx(0.12, abs=0.01)
    quiet = (b"\xff" if name == "audio/pcmu" else b"\xd5") * 4_000
    audio = base64.b64encode(loud * 10 + quiet).decode()
    assert kinds(talk.send("input_audio_buffer.append", audio=audio))[:2] == SPOKEN_TURN[:2]


# -- items ------------------------------------------------------------------------------------------------------------


def test_items_stand_where_they_are_put(talk: Any) -> None:
    talk.say("one", id="one")
    talk.say("three", id="three")
    assert (
        talk.send("conversation.item.create", previous_item_id="one", item=message("two"))[0]["previous_item_id"]
        == "one"
    )
    assert (
        talk.send("conversation.item.create", previous_item_id="root", item=message("zero"))[0]["previous_item_id"]
        is None
    )
    error = error_of(talk.send("conversation.item.create", previous_item_id="nowhere", item=message("x")))
    assert error["param"] == "previous_item_id"


def message(text: str, role: str = "user") -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def test_an_id_is_taken_once(talk: Any) -> None:
    talk.say("one", id="one")
    assert error_of(talk.say("two", id="one"))["param"] == "item.id"


def test_a_conversation_holds_only_so_much(talk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicepilot.emulator.conversation.MOST_HELD", 1_000)
    assert len(talk.say("x" * 500)) == 2
    assert error_of(talk.say("x" * 500))["code"] == "conversation_too_large"


def test_the_audio_buffer_holds_only_so_much(talk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicepilot.emulator.hearing.MOST", 48_000)
    assert kinds(talk.hear(2.0, loud=True))[:2] == SPOKEN_TURN[:2]
    talk.send("input_audio_buffer.clear")
    talk.update(audio={"input": {"turn_detection": None}})
    assert error_of(talk.hear(2.0, loud=True))["code"] == "input_audio_buffer_full"


def test_old_sound_is_forgotten_before_memory_fills(talk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicepilot.emulator.conversation.MOST_AUDIO", 60_000)
    talk.update(audio={"input": {"turn_detection": None}})
    sizes = []
    for _ in range(2):
        talk.hear(1.0, loud=True)
        talk.send("input_audio_buffer.commit")
    for entry in talk.conversation._items:
        (retrieved,) = talk.send("conversation.item.retrieve", item_id=entry.item["id"])
        sizes.append(len(base64.b64decode(retrieved["item"]["content"][0]["audio"])))
    assert sizes == [0, 48_000]


def test_audio_is_counted_once(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: (Say("one"), Say("two"))))
    done = only(talk.send("response.create"), "response.done")["response"]
    assert done["usage"]["output_token_details"]["audio_tokens"] == 8, "0.36 s at 20 a second"


def test_items_can_be_deleted(talk: Any) -> None:
    talk.say("one", id="one")
    assert kinds(talk.send("conversation.item.delete", item_id="one")) == ["conversation.item.deleted"]
    assert error_of(talk.send("conversation.item.delete", item_id="one"))["code"] == "item_delete_invalid_item_id"


def test_a_whole_history_can_be_replayed(talk: Any) -> None:
    history = [
        message("Be kind", "system"),
        message("Hi"),
        message("Hello", "assistant"),
        {"type": "function_call", "name": "f", "call_id": "call_1", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "done"},
    ]
    for item in history:
        assert kinds(talk.send("conversation.item.create", item=item)) == [
            "conversation.item.added",
            "conversation.item.done",
        ]


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Hi"}]},
            "missing_required_parameter",
            "item.content[0].text",
        ),
        (
            {"type": "function_call", "name": "f", "call_id": "c" * 33, "arguments": "{}"},
            "string_above_max_length",
            "item.call_id",
        ),
        (
            {"type": "function_call", "name": "f", "call_id": "a/b", "arguments": "{}"},
            "invalid_value",
            "item.call_id",
        ),
        ({"type": "function_call_output", "call_id": "nobody", "output": ""}, "invalid_tool_call_id", None),
        ({"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
            "missing_required_parameter",
            "item.content[0].text",
        ),
        (
            {"type": "message", "role": "system", "content": [{"type": "input_audio", "audio": ""}]},
            "invalid_value",
            "item.content[0].type",
        ),
        ({"type": "surprise"}, "invalid_value", "item.type"),
        (7, "invalid_type", "item"),
    ],
)
def test_items_that_cannot_be_are_refused(talk: Any, item: object, code: str, param: str | None) -> None:
    error = error_of(talk.send("conversation.item.create", item=item, event_id="mine"))
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert error["event_id"] == "mine"


# -- session ----------------------------------------------------------------------------------------------------------


def test_an_update_changes_what_it_names(talk: Any) -> None:
    before = talk.conversation.session
    (updated,) = talk.update(instructions="", audio={"input": {"turn_detection": {"silence_duration_ms": 700}}})
    after = updated["session"]
    assert after["instructions"] == ""
    assert after["audio"]["input"]["turn_detection"] == {
        **before["audio"]["input"]["turn_detection"],
        "silence_duration_ms": 700,
    }
    assert after["audio"]["output"] == before["audio"]["output"]
    assert (after["id"], after["expires_at"]) == (before["id"], before["expires_at"])


def test_the_model_cannot_change(talk: Any) -> None:
    (updated,) = talk.update(model="another")
    assert updated["session"]["model"] == "gpt-realtime"


def test_the_voice_is_locked_once_it_was_heard(talk: Any) -> None:
    talk.update(audio={"output": {"voice": "verse"}})
    talk.say("Hi")
    talk.send("response.create")
    assert error_of(talk.update(audio={"output": {"voice": "alloy"}}))["code"] == "cannot_update_voice"
    assert talk.update(audio={"output": {"voice": "verse"}})[0]["type"] == "session.updated"
    other = talk.send("response.create", response={"audio": {"output": {"voice": "alloy"}}})
    assert error_of(other)["code"] == "cannot_update_voice"


def test_tools_come_back_normalised(talk: Any) -> None:
    (updated,) = talk.update(
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        audio={"input": {"transcription": {"model": "whisper-1"}}},
    )
    assert updated["session"]["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}}
    ]
    transcription = updated["session"]["audio"]["input"]["transcription"]
    assert transcription == {"model": "whisper-1", "language": None, "prompt": None}


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"modalities": ["text"]}, "unknown_parameter", "session.modalities"),
        ({"output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
        ({"audio": {"output": {"speed": 2}}}, "decimal_above_max_value", "session.audio.output.speed"),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "invalid_value", "session.audio.input.format.type"),
        ({"instructions": 1}, "invalid_type", "session.instructions"),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}}},
            "unknown_parameter",
            "session.audio.input.turn_detection.threshold",
        ),
    ],
)
def test_an_update_that_cannot_be_is_refused_whole(talk: Any, changes: Any, code: str, param: str) -> None:
    before = talk.conversation.session
    error = error_of(talk.update(**changes))
    assert (error["code"], error["param"]) == (code, param)
    assert talk.conversation.session == before


def test_an_update_needs_its_type(talk: Any) -> None:
    assert error_of(talk.send("session.update", session={}))["param"] == "session.type"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_type"),
        ("{}", "missing_required_parameter"),
        ('{"type": "session.delete"}', "invalid_value"),
        ('{"type": ["x"]}', "invalid_value"),
        ('{"type": "response.create", "extra": 1}', "unknown_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "AAA"}', "invalid_value"),
        (b"\xff\xfe", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"type": "response.create", "response": {"metadata": ' + "[" * 800 + "]" * 800 + "}}", "invalid_json"),
    ],
)
def test_nonsense_is_answered_with_an_error(talk: Any, data: str | bytes, code: str) -> None:
    assert error_of(talk.events(talk.raw(data)))["code"] == code


# -- the end, and faults ----------------------------------------------------------------------------------------------


def test_a_session_ends_on_time(new_talk: Any) -> None:
    talk = new_talk(life=60.0)
    assert talk.wait(59.9) == []
    talk.now += 0.1
    event, close = talk.due()
    assert event.event["error"] == {
        "type": "invalid_request_error",
        "code": "session_expired",
        "message": "Your session hit the maximum duration of 1 minutes.",
        "param": None,
        "event_id": None,
    }
    assert close == Close(1001, "Your session hit the maximum duration of 1 minutes.")


def test_faults_strike_in_time(talk: Any) -> None:
    talk.conversation.strike(Fault(place="session", kind="drop"), talk.now + 5)
    talk.now += 5
    assert talk.due() == [Drop()]
    talk.conversation.strike(Fault(place="session", kind="expire-silent"), talk.now)
    (close,) = talk.due()
    assert close.code == 1001


def test_an_update_may_be_acknowledged_late_or_never(talk: Any) -> None:
    talk.faults.add("update:slow:seconds=3")
    talk.faults.add("update:missing")
    assert talk.update(instructions="a") == []
    assert talk.update(instructions="b") == []
    (late,) = talk.wait(3)
    assert late["session"]["instructions"] == "b"


def test_responses_fail_on_command(talk: Any) -> None:
    talk.faults.fail_responses(message="Sorry")
    assert only(talk.send("response.create"), "response.done")["response"]["status"] == "failed"
    assert only(talk.send("response.create"), "response.done")["response"]["status"] == "completed"


@pytest.mark.parametrize(("fault", "code"), [("", "DeploymentNotFound"), (":code=audio_too_short", "audio_too_short")])
def test_a_transcription_fails_on_command_and_the_answer_comes(talk: Any, fault: str, code: str) -> None:
    talk.faults.add(f"transcription:failed{fault}")
    talk.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    events = talk.hear(1.0, loud=True) + talk.hear(0.3, loud=False)
    assert only(events, "conversation.item.input_audio_transcription.failed")["error"]["code"] == code
    assert only(events, "response.done")["response"]["status"] == "completed"
    again = talk.hear(1.0, loud=True) + talk.hear(0.3, loud=False)
    assert only(again, "conversation.item.input_audio_transcription.completed")


def test_a_long_answer_comes_in_slices(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "word " * 1_000))
    first = talk.conversation.receive('{"type": "response.create"}', talk.now)
    assert len(first) == 1
    assert 64 <= len(talk.conversation.wake(talk.now)) < 70
    cancelled = talk.conversation.receive('{"type": "response.cancel"}', talk.now)
    assert cancelled[-2].event["type"] == "response.done"
    assert talk.due() == []


def test_a_call_speaks_by_media_and_tells_when(new_talk: Any) -> None:
    talk = new_talk(FunctionAnswers(lambda _: "Hello"), call=True)
    order = kinds(talk.send("response.create"))
    assert "response.output_audio.delta" not in order
    assert order[order.index("response.content_part.added") + 1] == "output_audio_buffer.started"
    assert order[-1] == "output_audio_buffer.stopped"
    assert order.index("rate_limits.updated") < len(order) - 1
