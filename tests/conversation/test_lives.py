"""Random lives: a well-behaved client, a provider that is not, and what must be true at the end of each."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conversation.numbered import FRAME, frame, silence
from tests.conversation.world import BY_HAND, VAD_UNWRITTEN, Talk, a_talk
from tests.conversation.world import answer as plain_answer
from tests.fuzzing import fuzzed

from voicepilot.conversation.state import Phase
from voicepilot.emulator.answers import Call, Reply, Turn
from voicepilot.testing import run_virtual

Json = dict[str, Any]

ITS_OWN_FAULT = {"response_cancel_not_active"}  # a cancel that crossed the end of the answer on the wire
DROPPED_AT = ["response.created", "session.updated", "session.created", "conversation.item.added", "response.done"]
DROPPED_AT += ["input_audio_buffer.committed", "input_audio_buffer.speech_started", "input_audio_buffer.cleared"]

FAULTS = st.one_of(
    st.just(("cut",)),
    st.tuples(st.just("cut_after"), st.integers(0, 20)),
    st.tuples(st.just("cut_on"), st.sampled_from(DROPPED_AT), st.booleans()),
    st.just(("freeze",)),
    st.tuples(st.just("expire"), st.booleans()),
    st.tuples(st.just("refuse"), st.sampled_from([401, 429, 500, 503]), st.integers(1, 3)),
    st.tuples(st.just("outage"), st.sampled_from([0.5, 5.0, 40.0])),
    st.tuples(st.just("fault"), st.sampled_from(["session:drop:after=0.5", "update:missing", "update:slow:seconds=2"])),
)
ACTIONS = st.one_of(
    st.just(("type",)),
    st.just(("ask",)),
    st.tuples(st.just("speak"), st.integers(1, 40), st.sampled_from([0.0, FRAME])),
    st.just(("finish",)),
    st.just(("clear",)),
    st.just(("update",)),
    st.just(("cancel",)),
    st.just(("delete",)),
    st.just(("look",)),
    st.just(("truncate",)),
)
PAUSES = st.tuples(st.just("pause"), st.sampled_from([0.0, 0.02, 0.3, 2.0, 15.0]))
STEPS = st.lists(st.one_of(ACTIONS, ACTIONS, PAUSES, FAULTS), min_size=3, max_size=25)
LIVES = st.fixed_dictionaries(
    {
        "by_hand": st.booleans(),
        "aloud": st.booleans(),
        "life": st.sampled_from([12.0, 30.0, 3_600.0]),
        "latency": st.sampled_from([0.0, 0.02, 0.15]),
        "spread": st.sampled_from([0.0, 0.05]),
        "bound": st.sampled_from([60.0, 60.0, 2.0]),
        "repeat": st.sampled_from(["retry", "report"]),
        "steps": STEPS,
    }
)


def answer(turn: Turn) -> Reply:
    return Call("look", {}) if turn.text.startswith("look") else plain_answer(turn)


def calls(talk: Talk) -> list[str]:
    """The calls that are complete, with their answers or because the rest of the answer was lost."""
    done = [item for event in talk.of("response.done") for item in event.response["output"]]
    kept = {item_id for event in talk.of("voicepilot.turn-interrupted") for item_id in event.kept}
    cut = [event for event in talk.of("response.function_call_arguments.done") if event.item_id in kept]
    whole = [item for item in done if item["type"] == "function_call" and item["status"] == "completed"]
    return [item["call_id"] for item in whole] + [event.call_id for event in cut]


class Client:
    """Talks as an application does that knows the protocol, and remembers what it said."""

    def __init__(self, talk: Talk, *, by_hand: bool) -> None:
        self.talk = talk
        self.by_hand = by_hand
        self.words: list[str] = []
        self.ids: dict[str, str] = {}
        self.appended: list[int | None] = []  # every frame appended, None for silence
        self.cleared: set[int] = set()
        self.since = 0  # where in `appended` the turn begins that is not committed
        self.asked = 0
        self.numbers = 0
        self.instructions = ""
        self.outputs: list[str] = []  # the calls that it answered
        self.truncated: set[str] = set()

    async def do(self, action: tuple[Any, ...]) -> None:
        name, *more = action
        await self.answer_calls()
        await getattr(self, name)(*more)

    async def type(self, what: str = "word") -> None:
        self.numbers += 1
        word, item_id = f"{what}{self.numbers}", f"typed_{self.numbers}"
        self.words.append(word)
        self.ids[word] = item_id
        item = {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": word}]}
        await self.talk.conversation.send({"type": "conversation.item.create", "item": item})

    async def ask(self) -> None:
        if self.by_hand and self.answered() >= self.asked:
            self.asked += 1
            await self.talk.conversation.create_response()

    def answered(self) -> int:
        given = [event for event in self.talk.of("voicepilot.turn-interrupted") if event.action != "retry"]
        return len(self.talk.of("response.done")) + len(given)

    async def speak(self, count: int, pace: float) -> None:
        start = sum(number is not None for number in self.appended)
        for number in range(start, start + count):
            self.appended.append(number)
            await self.talk.conversation.append_audio(frame(number))
            if pace:
                await asyncio.sleep(pace)

    async def finish(self) -> None:
        if self.by_hand:
            if len(self.appended) - self.since >= 3:
                self.since = len(self.appended)
                await self.talk.conversation.commit()
        else:
            for quiet in silence(0.4):
                self.appended.append(None)
                await self.talk.conversation.append_audio(quiet)

    async def clear(self) -> None:
        if self.by_hand:
            self.cleared.update(number for number in self.appended[self.since :] if number is not None)
            self.since = len(self.appended)
            await self.talk.conversation.clear()

    async def update(self) -> None:
        self.numbers += 1
        self.instructions = f"be {self.numbers}"
        await self.talk.conversation.update(instructions=self.instructions)

    async def cancel(self) -> None:
        if len(self.talk.of("response.created")) > len(self.talk.of("response.done")):
            await self.talk.conversation.cancel()

    async def delete(self) -> None:
        known = {event["item"]["id"] for event in self.talk.of("conversation.item.added")}
        word = next((word for word in self.words if self.ids[word] in known), None)
        if word is not None:
            self.words.remove(word)
            await self.talk.conversation.send({"type": "conversation.item.delete", "item_id": self.ids[word]})

    async def look(self) -> None:
        """Have the assistant call a function."""
        if self.by_hand and self.answered() >= self.asked:
            await self.type("look")
            await self.ask()

    async def answer_calls(self) -> None:
        for call_id in calls(self.talk):
            if call_id not in self.outputs:
                self.outputs.append(call_id)
                output = {"type": "function_call_output", "call_id": call_id, "output": "cat"}
                await self.talk.conversation.send({"type": "conversation.item.create", "item": output})

    async def truncate(self) -> None:
        """The user interrupted the last answer, and did not hear the rest of it."""
        done = [item for event in self.talk.of("response.done") for item in event.response["output"]]
        spoken = [item for item in done if item.get("content", [{}])[0].get("type") == "output_audio"]
        if spoken and spoken[-1]["id"] not in self.truncated and spoken[-1]["status"] == "completed":
            item_id = spoken[-1]["id"]
            self.truncated.add(item_id)
            place = {"item_id": item_id, "content_index": 0, "audio_end_ms": 60}
            await self.talk.conversation.send({"type": "conversation.item.truncate", **place})

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def strike(talk: Talk, fault: tuple[Any, ...]) -> None:
    line = talk.line
    match fault:
        case ("cut",):
            line.cut()
        case ("cut_after", number):
            line.cut(after_events=number)
        case ("cut_on", kind, deliver):
            line.cut_on(kind, deliver=deliver)
        case ("freeze",):
            line.freeze()
        case ("expire", told):
            line.expire(with_event=told)
        case ("refuse", status, times):
            line.faults.refuse_connections(status, times)
        case ("outage", seconds):
            line.outage(seconds)
        case ("fault", text):
            line.faults.add(text)


async def live(life: Json) -> tuple[Talk, Client]:
    config = {"max_queued_audio_seconds": life["bound"], "on_interrupted_turn": life["repeat"]}
    options = dict(BY_HAND if life["by_hand"] else VAD_UNWRITTEN)
    if life["aloud"]:
        del options["output_modalities"]
    terms = {"session_life": life["life"], "latency": life["latency"], "spread": life["spread"]}
    async with a_talk(options, config=config, answers=answer, **terms) as talk:
        client = Client(talk, by_hand=life["by_hand"])
        for step in life["steps"]:
            if hasattr(client, step[0]):
                await client.do(step)
            else:
                strike(talk, step)
            watch(talk)
        talk.line.faults.clear()
        talk.line._cuts.clear()
        await asyncio.sleep(120)
        await client.finish()
        await asyncio.sleep(120)
        watch(talk)
        await talk.until(lambda: talk.conversation.phase is Phase.LIVE)
    return talk, client


def watch(talk: Talk) -> None:
    """What holds at all times."""
    dials = [entry.opened.at for entry in talk.line.record.connections()]
    dials += [entry.at for entry in talk.line.record.refusals()]
    dials.sort()
    crowded = [(a, b) for a, b in zip(dials, dials[6:], strict=False) if b - a < 1]
    assert not crowded, "more than six dials in a second"


def check(life: Json, talk: Talk, client: Client) -> None:
    refused = [error for error in talk.errors() if error["code"] not in ITS_OWN_FAULT]
    assert [error for error in refused if error["code"] != "session_expired"] == []
    assert talk.lost is None
    texts = [word for word in talk.user_words() if word != "speech"]
    assert texts == client.words
    check_audio(talk, client, whole=life["bound"] > 2)
    check_stream(talk)
    check_items(talk, client)
    if client.instructions:
        assert talk.line.conversation().session["instructions"] == client.instructions


def check_items(talk: Talk, client: Client) -> None:
    items = talk.line.items()
    made = [item["call_id"] for item in items if item["type"] == "function_call"]
    outputs = [item["call_id"] for item in items if item["type"] == "function_call_output"]
    assert outputs == client.outputs
    assert set(outputs) <= set(made)
    assert len(made) == len(set(made))
    for item in items:
        if item["id"] in client.truncated:
            words = " ".join(part.get("text") or part.get("transcript") or "" for part in item["content"])
            assert len(words) <= 3, "it was not heard"


def check_audio(talk: Talk, client: Client, *, whole: bool) -> None:
    end = client.since if client.by_hand else len(client.appended)
    said = [number for number in client.appended[:end] if number is not None and number not in client.cleared]
    gone = {
        number
        for lost in talk.of("voicepilot.input-dropped")
        for number in client.appended[round(lost.start / FRAME) : round(lost.end / FRAME)]
    }
    expected = [number for number in said if number not in gone]
    assert talk.committed_frames() == expected
    if whole:
        assert talk.spoken_frames() == expected
    else:  # of a turn longer than what is kept, the next connection is given what was kept
        assert set(talk.spoken_frames()) <= set(expected)


def check_stream(talk: Talk) -> None:
    ids = [event["event_id"] for _, event in talk.stream if isinstance(event, dict)]
    assert len(ids) == len(set(ids))
    done = [event.response["id"] for event in talk.of("response.done")]
    assert len(done) == len(set(done))
    falls = [
        event.type for event in talk.happenings() if event.type in {"voicepilot.reconnecting", "voicepilot.restored"}
    ]
    assert all(a != b for a, b in pairwise(falls))
    assert falls[-1:] != ["voicepilot.reconnecting"]


@pytest.mark.slow
@fuzzed(20)
@given(LIVES)
def test_random_lives(life: Json) -> None:
    talk, client = run_virtual(live(life))
    check(life, talk, client)
