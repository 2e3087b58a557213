"""Whatever a client sends, the conversation answers in JSON and lives on, and HTTP never answers 5xx of its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzzing import Tally, fuzzed, little_kept

from voicepilot.emulator import Call, Faults, Options, Record, Say
from voicepilot.emulator.admission import Admitted, admit
from voicepilot.emulator.answers import FunctionAnswers
from voicepilot.emulator.client_events import CLIENT_EVENTS
from voicepilot.emulator.effects import Send
from voicepilot.emulator.faults import KINDS
from voicepilot.emulator.http import Reply, Request
from voicepilot.emulator.ids import Ids
from voicepilot.emulator.keys import Keys
from voicepilot.emulator.minting import mint
from voicepilot.emulator.options import Backend
from voicepilot.emulator.preview import PreviewConversation
from voicepilot.emulator.routes import answer

NOW = 1_800_000_000.0

WORDS = [
    *("type", "id", "role", "content", "text", "audio", "transcript", "call_id", "name", "arguments", "output"),
    *("item", "session", "response", "event_id", "item_id", "previous_item_id", "content_index", "audio_end_ms"),
    *("input", "conversation", "format", "voice", "speed", "turn_detection", "silence_duration_ms", "eagerness"),
    *("transcription", "tools", "tool_choice", "output_modalities", "max_output_tokens", "metadata", "truncation"),
    *("expires_after", "anchor", "seconds", "model", "instructions", "image_url", "rate", "threshold", "include"),
]
VALUES = [
    *("message", "function_call", "function_call_output", "item_reference", "user", "system", "assistant"),
    *("input_text", "input_audio", "output_text", "output_audio", "root", "none", "auto", "inf", "realtime"),
    *("server_vad", "semantic_vad", "audio/pcm", "audio/pcmu", "low", "one", "AAAA", "AAAAAAAA" * 3_000, ""),
    *("created_at", "function", "data:image/png;base64,AAAA", "\ud7ff", "\U0001f600", "x" * 600),
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-10, 10_000)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(VALUES)
    | st.text(max_size=5)
)
names = st.sampled_from(WORDS) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)

# Events close enough to right to get past the first check.
text_part = st.fixed_dictionaries({"type": st.sampled_from(["input_text", "output_text"])}, optional={"text": scalars})
items = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call", "function_call_output"])},
    optional={
        "id": st.sampled_from(["one", "two", ""]) | scalars,
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.lists(text_part | values, max_size=2),
        "call_id": st.sampled_from(["c1", "c2"]),
        "name": st.just("f"),
        "arguments": st.just("{}"),
        "output": st.just("done"),
    },
)
sessions = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "output_modalities": st.sampled_from([["text"], ["audio"]]),
        "audio": values,
        "tools": values,
        "max_output_tokens": scalars,
        "instructions": scalars,
    },
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "item": items | values,
    "session": sessions | values,
    "response": st.dictionaries(names, values, max_size=3) | st.just({"conversation": "none"}),
    "audio": st.sampled_from(["AAAA", "AAAA" * 4_000, "/38AgP9/" * 3_000]) | scalars,
    "item_id": st.sampled_from(["one", "two"]) | scalars,
    "content_index": st.integers(0, 1) | scalars,
    "audio_end_ms": st.integers(0, 100) | scalars,
    "previous_item_id": st.sampled_from([None, "root", "one"]) | scalars,
    "response_id": st.none() | scalars,
    "event_id": st.just("mine") | scalars,
}
events = st.fixed_dictionaries({"type": st.sampled_from(sorted(CLIENT_EVENTS))}, optional=FIELDS)
nested = st.builds(
    lambda kind, field, depth: b'{"type":"%b","%b":%b%b}' % (kind, field, b"[" * depth, b"]" * depth),
    st.sampled_from([name.encode() for name in CLIENT_EVENTS]),
    st.sampled_from([b"item", b"session", b"response", b"x"]),
    st.integers(1, 1_200),
)
frames = st.one_of(events.map(msgspec.json.encode), values.map(msgspec.json.encode), st.binary(max_size=40), nested)


@given(st.lists(frames, min_size=20, max_size=40))
@fuzzed(20)
def test_a_conversation_survives_every_frame(new_talk: Any, tally: Tally, sent: list[bytes]) -> None:
    tally("client frames", len(sent))
    talk = new_talk()
    for frame in sent:
        for effect in talk.raw(frame):
            assert isinstance(effect, Send)
            assert msgspec.json.decode(msgspec.json.encode(effect.event))["event_id"]
        talk.wait(0.5)
    assert talk.send("session.update", session={"type": "realtime"})[-1]["type"] == "session.updated"


@given(st.lists(frames, min_size=20, max_size=40))
@fuzzed(7)
def test_the_preview_survives_every_frame(new_talk: Any, tally: Tally, sent: list[bytes]) -> None:
    tally("client frames", len(sent))
    talk = new_talk(protocol=PreviewConversation)
    for frame in sent:
        for effect in talk.raw(frame):
            assert isinstance(effect, Send)
            assert msgspec.json.encode(effect.event)
        talk.wait(0.5)


@given(st.lists(st.lists(events, max_size=6), max_size=4))
@fuzzed(20)
def test_what_begins_also_ends(new_talk: Any, tally: Tally, rounds: list[list[dict[str, Any]]]) -> None:
    tally("client frames", sum(map(len, rounds)))
    talk = new_talk(FunctionAnswers(lambda turn: (Say("a few words " * 20), Call("f", {"text": turn.text}))))
    seen: list[str] = []
    for sent in rounds:
        for event in sent:
            # One slice of what is due, so that the next event may come in the middle of an answer.
            effects = talk.conversation.receive(msgspec.json.encode(event), talk.now) + talk.conversation.wake(talk.now)
            seen += [effect.event["type"] for effect in effects]
        seen += [event["type"] for event in talk.wait(1.0)]
    for began, ended in (
        ("response.created", "response.done"),
        ("response.output_item.added", "response.output_item.done"),
        ("response.content_part.added", "response.content_part.done"),
        ("response.output_audio.done", "response.output_audio_transcript.done"),
        ("conversation.item.added", "conversation.item.done"),
    ):
        assert seen.count(began) == seen.count(ended)


def test_a_record_keeps_no_more_than_it_says(new_talk: Any, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicepilot.emulator.record.MOST_HELD", 50_000)
    kept = Record()

    @given(st.lists(events, min_size=5, max_size=10))
    @fuzzed(5)
    def converse(sent: list[dict[str, Any]]) -> None:
        tally("client frames", len(sent))
        talk = new_talk()
        for event in sent:
            kept.frame(talk.now, 1, "in", event)
            for said in talk.events(talk.raw(msgspec.json.encode(event))):
                kept.frame(talk.now, 1, "out", said)

    with little_kept(2_000_000):
        converse()
    assert len(msgspec.json.encode([frame.event for frame in kept.frames()])) < 60_000


def backend() -> Backend:
    return Backend(options=Options(), keys=Keys(), faults=Faults(), record=Record(), ids=Ids(), calls={})


bodies = st.one_of(
    values.map(msgspec.json.encode),
    st.binary(max_size=60),
    st.fixed_dictionaries(
        {},
        optional={
            "session": sessions | values,
            "expires_after": st.fixed_dictionaries(
                {}, optional={"anchor": st.just("created_at") | scalars, "seconds": st.integers(0, 8_000) | scalars}
            ),
        },
    ).map(msgspec.json.encode),
)


@given(bodies)
@fuzzed(150)
def test_every_mint_is_answered(tally: Tally, body: bytes) -> None:
    tally("HTTP requests", 1)
    home = backend()
    request = Request(
        method="POST",
        path="/v1/realtime/client_secrets",
        headers={"authorization": "Bearer sk-test-0123456789"},
        body=body,
    )
    reply = mint(home, request, NOW)
    answered = msgspec.json.decode(reply.body)
    if reply.status == 200:
        assert NOW < answered["expires_at"] <= NOW + 7_200
        assert home.keys.find(answered["value"], NOW)
    else:
        assert reply.status == 400
        assert answered["error"]["message"]


paths = st.sampled_from(
    [
        "/v1/realtime/calls",
        "/openai/v1/realtime/calls",
        "/v1/realtime/calls/rtc_1/hangup",
        "/openai/realtimeapi/sessions",
        "/_emulator/faults",
        "/_emulator/record",
        "/v1/realtime/sessions",
    ]
)
kinds = st.sampled_from(
    ["application/sdp", "application/json", "multipart/form-data; boundary=x", "multipart/form-data"]
)
offers = st.binary(max_size=60) | st.just(
    b'--x\r\nContent-Disposition: form-data; name="sdp"\r\n\r\nv=0\r\nm=audio\r\n--x\r\n'
    b'Content-Disposition: form-data; name="session"\r\n\r\n{"type": 1}\r\n--x--\r\n'
)


@given(st.sampled_from(["GET", "POST", "DELETE", "PUT"]), paths, kinds, bodies | offers)
@fuzzed(150)
def test_every_request_is_answered(tally: Tally, method: str, path: str, kind: str, body: bytes) -> None:
    tally("HTTP requests", 1)
    headers = {"authorization": "Bearer sk-test-0123456789", "content-type": kind}
    reply = answer(
        backend(), Request(method=method, path=path, headers=headers, query={"api-version": "x"}, body=body), NOW
    )
    assert 200 <= reply.status < 500


# What a fault may hold, in ranges around those that are good.
amounts = st.sampled_from([0, 1, -1, 0.5, 1e9, 1e10, 1e300, "3", "inf", "nan", "all", None, ""])
texts = st.text(max_size=8) | st.sampled_from(["a\r\nb: c", "\x00", "insufficient_quota"])
faults = st.sampled_from(sorted((place, kind) for place, kinds in KINDS.items() for kind in kinds)).flatmap(
    lambda at: st.fixed_dictionaries(
        {"place": st.just(at[0]), "kind": st.just(at[1])},
        optional={
            **dict.fromkeys(("seconds", "after", "low", "high", "median", "p99", "retry_after", "count"), amounts),
            "status": st.integers(200, 700) | amounts,
            "code": texts,
            "message": texts,
            "headers": st.dictionaries(texts | st.just("X-Fault"), texts, max_size=2),
            "body": texts,
        },
    )
)


@given(st.lists(faults, min_size=1, max_size=4))
@fuzzed(50)
def test_whatever_fault_is_commanded_the_answers_are_fit_to_send(tally: Tally, commanded: list[dict[str, Any]]) -> None:
    tally("HTTP requests", len(commanded) + 3)
    home = backend()
    for fault in commanded:
        body = msgspec.json.encode(fault)
        reply = answer(home, Request(method="POST", path="/_emulator/faults", body=body), NOW)
        assert reply.status in {201, 400}
    key = {"authorization": "Bearer sk-test-0123456789", "content-type": "application/sdp"}
    mint_of = Request(method="POST", path="/v1/realtime/client_secrets", headers=key)
    call = Request(method="POST", path="/v1/realtime/calls", headers=key, body=b"v=0\r\nm=audio 9 X 0\r\n")
    socket = Request(method="GET", path="/v1/realtime", headers=key, query={"model": "m"})
    for got in (answer(home, mint_of, NOW), answer(home, call, NOW), admit(home, socket, NOW)):
        assert 0 <= got.delay <= 3e9
        if isinstance(got, Reply):
            web.Response(status=got.status or 503, body=got.body, headers=got.headers)
        elif isinstance(got, Admitted):
            assert got.conversation.open(NOW)
    assert msgspec.json.encode(home.record.entries())
    assert answer(home, Request(method="GET", path="/_emulator/faults"), NOW).status == 200


@pytest.mark.parametrize("text", ['{"type": "\\ud800"}', '{"a": 1e400}', '{"a": ' + "9" * 5_000 + "}", "\x00", ""])
def test_odd_json_is_an_error_event(talk: Any, text: str) -> None:
    (effect,) = talk.raw(text)
    assert effect.event["type"] == "error"
    assert msgspec.json.encode(effect.event)
