"""The official blocking `openai` client, unchanged, against the emulator: the stories of its async sister."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.resources.realtime.realtime import RealtimeConnection

from voicepilot.emulator import Call, RealtimeEmulator, Turn, running_emulator
from voicepilot.emulator.audio import FORMATS, silence, tone

pytestmark = pytest.mark.sockets

PCM = FORMATS["audio/pcm"]
SPEECH = base64.b64encode(tone(0.5, PCM) + silence(0.5, PCM)).decode()


def answer(turn: Turn) -> Any:
    if "weather" in turn.text:
        return Call("get_weather", {"city": "Paris"})
    return "a very long answer " * 5 if "speech" in turn.text else turn.text or "Hello."


@pytest.fixture
def emulator() -> Iterator[RealtimeEmulator]:
    with running_emulator(answers=answer, pacing="realtime", time_scale=20) as running:
        yield running


@contextmanager
def connected(emulator: RealtimeEmulator, **session: Any) -> Iterator[RealtimeConnection]:
    """A connection on a key that was minted for this session."""
    options: Any = {"type": "realtime", **session}
    with OpenAI(api_key="sk-test", base_url=emulator.base_url) as client:
        key = client.realtime.client_secrets.create(session=options).value
    with OpenAI(api_key=key, base_url=emulator.base_url) as client, client.realtime.connect(model="m") as connection:
        assert connection.recv().type == "session.created"
        yield connection


def until(connection: RealtimeConnection, kind: str) -> list[Any]:
    events: list[Any] = []
    for event in connection:
        events.append(event)
        if event.type in {kind, "error"}:
            break
    return events


def response(connection: RealtimeConnection) -> Any:
    return until(connection, "response.done")[-1].response


def say(connection: RealtimeConnection, text: str) -> None:
    connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    )
    connection.response.create()


def test_it_mints_a_key_and_holds_a_text_turn(emulator: RealtimeEmulator) -> None:
    with connected(emulator, output_modalities=["text"]) as connection:
        say(connection, "Good morning")
        assert response(connection).output[0].content[0].text == "Good morning"
    assert [turn.text for turn in emulator.record.turns()] == ["Good morning"]


def test_a_spoken_turn_is_answered_in_sound(emulator: RealtimeEmulator) -> None:
    with connected(emulator) as connection:
        connection.input_audio_buffer.append(audio=SPEECH)
        events = until(connection, "response.done")
    assert events[0].type == "input_audio_buffer.speech_started"
    sound = b"".join(base64.b64decode(event.delta) for event in events if event.type == "response.output_audio.delta")
    assert PCM.seconds(len(sound)) > 0.1


def test_a_turn_may_be_committed_by_hand(emulator: RealtimeEmulator) -> None:
    with connected(emulator, audio={"input": {"turn_detection": None}}) as connection:
        connection.input_audio_buffer.append(audio=SPEECH)
        connection.input_audio_buffer.commit()
        assert connection.recv().type == "input_audio_buffer.committed"
        connection.response.create()
        assert response(connection).status == "completed"


def test_a_function_is_called_and_its_output_told(emulator: RealtimeEmulator) -> None:
    with connected(emulator, output_modalities=["text"]) as connection:
        say(connection, "What is the weather?")
        (call,) = response(connection).output
        assert (call.name, call.arguments) == ("get_weather", '{"city":"Paris"}')
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        connection.conversation.item.create(item=output)
        connection.response.create()
        assert response(connection).output[0].content[0].text == "sunny"


def test_speaking_over_an_answer_stops_it(emulator: RealtimeEmulator) -> None:
    with connected(emulator) as connection:
        say(connection, "a speech, please")
        until(connection, "response.output_audio.delta")
        connection.input_audio_buffer.append(audio=base64.b64encode(tone(0.3, PCM)).decode())
        stopped = response(connection)
        assert (stopped.status, stopped.status_details.reason) == ("cancelled", "turn_detected")
        connection.conversation.item.truncate(item_id=stopped.output[0].id, content_index=0, audio_end_ms=10)
        assert until(connection, "conversation.item.truncated")[-1].type == "conversation.item.truncated"


def test_an_expired_session_ends_the_loop(emulator: RealtimeEmulator) -> None:
    with connected(emulator) as connection:
        emulator.faults.expire_sessions()
        (expired,) = [event for event in connection if event.type == "error"]
    assert expired.error.code == "session_expired"


def test_a_wrong_event_is_an_error_and_no_more(emulator: RealtimeEmulator) -> None:
    with connected(emulator) as connection:
        connection.input_audio_buffer.commit(event_id="mine")
        error: Any = connection.recv()
        assert (error.error.code, error.error.event_id) == ("input_audio_buffer_commit_empty", "mine")
        connection.response.create()
        assert response(connection).status == "completed"


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, openai.AuthenticationError), (429, openai.RateLimitError), (503, openai.InternalServerError)],
)
def test_failed_mints_are_the_clients_own_errors(
    emulator: RealtimeEmulator, status: int, error: type[openai.APIStatusError]
) -> None:
    emulator.faults.fail_mints(status)
    with OpenAI(api_key="sk-test", base_url=emulator.base_url, max_retries=0) as client, pytest.raises(error):
        client.realtime.client_secrets.create()
