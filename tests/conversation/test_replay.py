"""A conversation said again to a new connection: what is sent, what fits, and that the provider takes it."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conversation.spoken import (
    Json,
    Line,
    added,
    assistant,
    begun,
    call,
    done,
    heard,
    items_of,
    message,
    mirror_of,
    output,
    said,
    sound,
    speech,
    system,
    told,
    truncated,
    user,
    words,
)
from tests.fuzzing import fuzzed

from voicepilot.conversation.happenings import Lost
from voicepilot.conversation.item import legal_call_id
from voicepilot.conversation.mirror import Mirror
from voicepilot.conversation.replay import Replay, tokens
from voicepilot.emulator import Call, Fail, Say, Turn, Wait
from voicepilot.emulator.answers import FunctionAnswers, Part
from voicepilot.emulator.audio import FORMATS, silence, tone
from voicepilot.emulator.preview import PreviewConversation

PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}


# -- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "again"),
    [
        (system("a", "Be kind"), {"role": "system", "content": [{"type": "input_text", "text": "Be kind"}]}),
        (user("a", "Hi"), {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}),
        (assistant("a", "Hi"), {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}),
        (speech("a", "Hi"), {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}),
        (message("a", "user", content=[PICTURE]), {"role": "user", "content": [PICTURE]}),
        (
            message("a", "assistant", content=[{"type": "output_audio", "transcript": "Hi"}]),
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        ),
    ],
)
def test_each_message_is_sent_in_the_form_the_provider_takes(item: Json, again: Json) -> None:
    (event,) = mirror_of(item).replay().events
    assert event == {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {"id": "a", "type": "message", **again},
    }


def test_calls_and_outputs_are_sent_with_legal_ids() -> None:
    long, short = "call_" + "x" * 40, legal_call_id("call_" + "x" * 40)
    mirror = mirror_of(call("a", long), output("b", long), call("c", "c1"), output("d", "c1", ""))
    replay = mirror.replay()
    assert items_of(replay) == [
        {"id": "a", "type": "function_call", "name": "look", "arguments": "{}", "call_id": short},
        {"id": "b", "type": "function_call_output", "output": "found", "call_id": short},
        {"id": "c", "type": "function_call", "name": "look", "arguments": "{}", "call_id": "c1"},
        {"id": "d", "type": "function_call_output", "output": "", "call_id": "c1"},
    ]
    assert replay.renamed == {long: short}


def test_an_output_that_answers_by_the_new_name_belongs_to_its_call() -> None:
    long = "call_" + "x" * 40
    mirror = mirror_of(call("a", long), output("b", legal_call_id(long)))
    assert len(mirror.replay().events) == 2
    assert mirror.replay().lost == ()


def test_items_are_chained() -> None:
    replay = mirror_of(user("a", "A"), assistant("b", "B"), user("c", "C")).replay()
    assert [event["previous_item_id"] for event in replay.events] == ["root", "a", "b"]
    assert replay.item_ids == ("a", "b", "c")
    assert Mirror().replay() == Replay()


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"id": "a", "type": "mcp_call", "status": "completed"}, "items of the type mcp_call cannot be created"),
        ({"id": "a", "status": "completed"}, "items of the type None cannot be created"),
        (message("a", "tool"), "messages of the role tool cannot be created"),
        (user("a", ""), "it has no content"),
        (message("a", "user"), "it has no content"),
        (message("a", "assistant"), "it has no content"),
        (message("a", "user", content=[{"type": "input_image"}]), "its image is not known"),
        (speech("a"), "it has no transcript, and its sound is not kept"),
        (output("a", "c1"), "there is no call that it answers"),
        (call("a", "c1", '{"x', status="incomplete"), "the call was cut off before its arguments were complete"),
        (call("a", "c1", name=None), "its name or its arguments are not known"),
    ],
)
def test_what_cannot_be_said_again_is_lost_with_the_reason(item: Json, reason: str) -> None:
    replay = mirror_of(user("u", "Hi"), item, user("v", "You")).replay()
    assert [(lost.item_id, lost.reason.startswith(reason)) for lost in replay.lost] == [("a", True)]
    assert [event["previous_item_id"] for event in replay.events] == ["root", "u"]


def test_a_part_can_be_lost_alone() -> None:
    mirror = mirror_of(message("a", "user", content=[{"type": "input_image"}, {"type": "input_text", "text": "Look"}]))
    assert told(mirror.replay()) == ["user: Look"]
    assert mirror.replay().lost == (Lost("a", "its image is not known"),)
    assert mirror.replay(known=["a"]).lost == (Lost("a", "its image is not known"),)


def test_an_output_goes_with_its_own_call_and_with_no_other() -> None:
    replay = mirror_of(call("a", "c1"), output("b", "c2"), output("c", "c1")).replay()
    assert replay.item_ids == ("a", "c")
    assert replay.lost == (Lost("b", "there is no call that it answers"),)


def test_a_call_without_output_yet_is_sent() -> None:
    assert told(mirror_of(call("a", "c1")).replay()) == ["function_call: {}"]


def test_a_call_without_id_is_sent_but_nothing_can_answer_it() -> None:
    replay = mirror_of({**call("a", ""), "call_id": None}, {**output("b", ""), "call_id": None}).replay()
    assert items_of(replay) == [{"id": "a", "type": "function_call", "name": "look", "arguments": "{}"}]
    assert replay.lost == (Lost("b", "there is no call that it answers"),)


def test_an_output_waits_for_the_end_of_its_call() -> None:
    calling = {"id": "a", "type": "function_call", "status": "in_progress", "call_id": "c1", "name": "f"}
    mirror = heard(Mirror(), added({**calling, "arguments": ""}), added(output("b", "c1"), "a"))
    replay = mirror.replay()
    assert (replay.events, replay.lost, replay.unfinished) == ((), (), ("a", "b"))


def test_an_output_before_its_call_is_lost() -> None:
    replay = mirror_of(output("b", "c1"), call("a", "c1")).replay()
    assert (replay.item_ids, [lost.item_id for lost in replay.lost]) == (("a",), ["b"])


# -- catching up ------------------------------------------------------------------------------------------------------


def test_only_what_is_missing_is_sent_each_in_its_place() -> None:
    mirror = mirror_of(*(user(name, name) for name in "abcd"))
    replay = mirror.replay(known={"b", "c"})
    assert [(event["previous_item_id"], event["item"]["id"]) for event in replay.events] == [("root", "a"), ("c", "d")]


def test_what_is_there_is_not_lost() -> None:
    mirror = mirror_of(speech("a"), user("b", "B"))
    assert [lost.item_id for lost in mirror.replay().lost] == ["a"]
    replay = mirror.replay(known=["a"])
    assert (replay.lost, replay.events[0]["previous_item_id"]) == ((), "a")


def test_nothing_is_built_on_what_was_refused() -> None:
    mirror = mirror_of(user("a", "A"), call("b", "c1"), output("c", "c1"), user("d", "D"))
    replay = mirror.replay(known=["a", "b"], refused=["b"])
    assert [(event["previous_item_id"], event["item"]["id"]) for event in replay.events] == [("a", "d")]
    assert [lost.item_id for lost in replay.lost] == ["c"]


# -- the budget -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "audio", "cost"),
    [
        (user("a", ""), 0, 4),
        (user("a", "eight ch"), 0, 6),
        (user("a", "nine char"), 0, 7),
        (user("a", "你好吗你"), 0, 7),
        (message("a", "user", content=[PICTURE]), 0, 804),
        (message("a", "user", content=[{"type": "input_audio", "audio": "AAAA" * 9_000}]), 1.5, 19),
        (call("a", "c1", '{"x": 1}'), 0, 7),
        (output("a", "c1", "found it"), 0, 6),
    ],
)
def test_items_cost_tokens(item: Json, audio: float, cost: int) -> None:
    assert tokens(item, audio) == cost


def test_the_audio_that_is_sent_is_counted() -> None:
    mirror = mirror_of(speech("a"))
    mirror.keep_audio("a", [base64.b64encode(bytes(24_000)).decode()])
    assert mirror.replay().tokens == 4 + 5


def long_talk() -> Mirror:
    """Three turns of 14, 26 and 14 tokens behind a system message of 6."""
    return mirror_of(
        system("s", "Be kind."),
        user("u1", "x" * 12),
        assistant("a1", "x" * 12),
        user("u2", "x" * 12),
        call("k2", "c2", "x" * 8),
        output("o2", "c2", "x" * 8),
        assistant("a2", "x" * 12),
        user("u3", "x" * 12),
        assistant("a3", "x" * 12),
    )


@pytest.mark.parametrize(
    ("budget", "dropped"),
    [
        (None, ""),
        (61, ""),
        (60, "u1 a1"),
        (47, "u1 a1"),
        (46, "u1 a1 u2 k2 o2 a2"),
        (20, "u1 a1 u2 k2 o2 a2"),
        (19, "u1 a1 u2 k2 o2 a2 u3"),
        (12, "u1 a1 u2 k2 o2 a2 u3 a3"),
        (1, "u1 a1 u2 k2 o2 a2 u3 a3"),
    ],
)
def test_the_oldest_turns_are_dropped(budget: int | None, dropped: str) -> None:
    replay = long_talk().replay(budget)
    assert " ".join(replay.dropped) == dropped
    assert [item["id"] for item in replay.dropped_items] == dropped.split()
    assert replay.tokens == 61 - sum(tokens(item, 0) for item in replay.dropped_items)


def test_a_late_output_goes_with_its_call() -> None:
    mirror = mirror_of(user("u1", "x" * 40), call("k", "c1"), user("u2", "wait"), output("o", "c1"), user("u3", "So?"))
    replay = mirror.replay(15)
    assert (replay.item_ids, replay.dropped) == (("u2", "u3"), ("u1", "k", "o"))


def test_messages_in_a_row_are_one_turn() -> None:
    mirror = mirror_of(user("u1", "Look"), user("u2", "Here"), assistant("a", "Yes"), user("u3", "So?"))
    assert mirror.replay(19).dropped == ("u1", "u2", "a")


def test_what_is_known_there_is_not_dropped_but_counts() -> None:
    replay = long_talk().replay(47, known=["s", "u1", "a1", "u2", "k2", "o2", "a2"])
    assert (replay.item_ids, replay.dropped, replay.dropped_items, replay.tokens) == (("u3", "a3"), (), (), 47)


def test_pictures_do_not_cost_their_bytes() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 100_000}
    assert mirror_of(message("a", "user", content=[picture])).replay(1_000).dropped == ()


# -- summaries --------------------------------------------------------------------------------------------------------


def test_a_summary_stands_in_the_place_of_what_was_dropped() -> None:
    mirror = long_talk()
    dropped = mirror.replay(30).dropped
    item_id = mirror.summarise(dropped, "They met.")
    assert item_id is not None
    assert len(item_id) <= 32
    assert told(mirror.replay(30)) == [
        "system: Be kind.",
        "system: They met.",
        "user: xxxxxxxxxxxx",
        "assistant: xxxxxxxxxxxx",
    ]
    assert mirror.replay(30).dropped == ()
    summary = {"role": "system", "content": [{"type": "input_text", "text": "They met."}]}
    assert items_of(mirror.replay(30))[1] == {"id": item_id, "type": "message", **summary}


def test_the_next_summary_takes_the_place_of_the_first() -> None:
    mirror = long_talk()
    first = mirror.summarise(mirror.replay(47).dropped, "They met.")
    items = mirror.replay(30).dropped_items
    assert [item["id"] for item in items] == [first, "u2", "k2", "o2", "a2"]
    mirror.summarise([item["id"] for item in items], "They met and looked.")
    assert [line for line in told(mirror.replay()) if line.startswith("system")] == [
        "system: Be kind.",
        "system: They met and looked.",
    ]


def test_a_summary_of_nothing_is_none() -> None:
    mirror = long_talk()
    assert mirror.summarise(["u1"], "") is None
    assert mirror.summarise(["gone"], "They met.") is None
    mirror.clear()
    assert mirror.summarise(["u1"], "They met.") is None
    assert len(mirror) == 0


def test_summaries_of_the_same_have_the_same_id() -> None:
    assert long_talk().summarise(["u1"], "Hi") == long_talk().summarise(["u1"], "Hi")


# -- properties -------------------------------------------------------------------------------------------------------

phrases = st.sampled_from(["Yes", "one two three", "What is the weather in Paris?", "你好 吗", "a\nb  c"])
parts = st.one_of(
    st.builds(Say, phrases),
    st.builds(Call, st.just("look"), st.sampled_from(["{}", '{"city": "Paris", "when": "now"}'])),
    st.just(Wait(0.5)),
    st.just(Fail()),
)
replies = st.lists(st.lists(parts, min_size=1, max_size=3).map(tuple), max_size=5)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("type"), phrases),
        st.tuples(st.just("instruct"), phrases),
        st.tuples(st.just("show"), st.just("")),
        st.tuples(st.just("speak"), st.sampled_from([0.3, 0.8])),
        st.tuples(st.just("answer"), st.sampled_from([0.0, 0.3])),
        st.tuples(st.just("answer"), st.sampled_from([0.1, 5.0])),
        st.tuples(st.just("output"), st.integers(0, 3)),
        st.tuples(st.just("cancel"), st.just("")),
        st.tuples(st.just("truncate"), st.integers(0, 1_500)),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([0.2, 3.0])),
    ),
    min_size=4,
    max_size=20,
)


class Story:
    """A conversation with the emulator, event by event, and the audio that was committed."""

    def __init__(self, script: list[tuple[Part, ...]], *, transcribed: bool, modality: str) -> None:
        def answer(turn: Turn) -> tuple[Part, ...]:
            return script[turn.number] if turn.number < len(script) else (Say("That is all."),)

        self.line = Line(FunctionAnswers(answer), pace=1.0)
        self.events: list[Json] = list(self.line.greeting)
        self.audio: dict[str, str] = {}
        self._sent = b""
        transcription = {"model": "whisper-1"} if transcribed else None
        audio = {"input": {"transcription": transcription}}
        self._hear(self.line.update(audio=audio, output_modalities=[modality]))

    def do(self, action: str, value: Any) -> None:
        getattr(self, f"_{action}")(value)

    def _hear(self, events: list[Json]) -> None:
        for event in events:
            if event["type"] == "input_audio_buffer.committed":
                self.audio[event["item_id"]], self._sent = base64.b64encode(self._sent).decode(), b""
            self.events.append(event)

    def _create(self, before: str | None = None, **item: Any) -> None:
        self._hear(self.line.send("conversation.item.create", item=item, previous_item_id=before))

    def _type(self, text: str) -> None:
        self._create(type="message", role="user", content=[{"type": "input_text", "text": text}])

    def _instruct(self, text: str) -> None:
        self._create("root", type="message", role="system", content=[{"type": "input_text", "text": text}])

    def _show(self, _: str) -> None:
        self._create(type="message", role="user", content=[PICTURE, {"type": "input_text", "text": "Look"}])

    def _speak(self, seconds: float) -> None:
        pcm = FORMATS["audio/pcm"]
        for data in (tone(seconds, pcm), silence(0.3, pcm)):
            self._sent += data
            self._hear(self.line.send("input_audio_buffer.append", audio=base64.b64encode(data).decode()))

    def _answer(self, seconds: float) -> None:
        self._hear(self.line.send("response.create"))
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        self._hear(self.line.wait(seconds))

    def _output(self, number: int) -> None:
        calls = [event["call_id"] for event in self.events if event["type"] == "response.function_call_arguments.done"]
        if calls:
            self._create(type="function_call_output", call_id=calls[number % len(calls)], output="found")

    def _cancel(self, _: str) -> None:
        self._hear(self.line.send("response.cancel"))

    def _truncate(self, end: int) -> None:
        entries = [entry for entry in self.line.conversation._items if entry.audio_ms]
        if entries:
            where = {"content_index": 0, "audio_end_ms": min(end, entries[-1].audio_ms)}
            self._hear(self.line.send("conversation.item.truncate", item_id=entries[-1].item["id"], **where))

    def _delete(self, number: int) -> None:
        ids = self.line.item_ids()
        if number < len(ids):
            self._hear(self.line.send("conversation.item.delete", item_id=ids[number]))

    def finish(self) -> None:
        self._wait(600)

    def mirrors(self, **options: Any) -> Iterator[Mirror]:
        """One mirror, after each event."""
        mirror = Mirror(**options)
        for event in self.events:
            mirror.hear(event)
            if event["type"] == "input_audio_buffer.committed":
                mirror.keep_audio(event["item_id"], [self.audio[event["item_id"]]])
            yield mirror

    def mirror(self, **options: Any) -> Mirror:
        *_, last = self.mirrors(**options)
        return last


def story(script: list[tuple[Part, ...]], deeds: list[tuple[str, Any]], *, transcribed: bool, modality: str) -> Story:
    result = Story(script, transcribed=transcribed, modality=modality)
    for action, value in deeds:
        result.do(action, value)
    result.finish()
    return result


stories = functools.partial(st.builds, story, replies, actions, transcribed=st.booleans())
anyhow = stories(modality=st.sampled_from(["audio", "text"]))


@given(anyhow)
@fuzzed(60)
def test_the_mirror_holds_what_the_server_holds(told_story: Story) -> None:
    mirror = told_story.mirror()
    assert list(mirror.item_ids()) == told_story.line.item_ids()
    assert all(mirror.is_finished(item_id) for item_id in mirror.item_ids())
    assert mirror.pending_transcripts() == ()
    cut = {event["item_id"] for event in told_story.events if event["type"] == "conversation.item.truncated"}
    for entry in told_story.line.conversation._items:
        if entry.item.get("role") == "assistant" and entry.item["id"] not in cut:
            assert mirror.text_so_far(entry.item["id"]) == entry.words
            assert mirror.audio_ms(entry.item["id"]) == pytest.approx(entry.audio_ms, abs=20)


@given(anyhow, st.sampled_from(["until-transcribed", "always", "never"]))
@fuzzed(60)
def test_a_new_connection_takes_the_replay_and_holds_the_same(told_story: Story, keep: Any) -> None:
    replay = told_story.mirror(keep_audio=keep).replay()
    line = Line()
    again = heard(Mirror(keep_audio=keep), line.greeting)
    for one, answer in zip(replay.events, batched(line.take(replay)), strict=True):
        heard(again, *answer)
        again.remember(one["item"])
    assert items_of(again.replay()) == items_of(replay)
    assert (again.replay().lost, again.replay().dropped) == ((), ())
    assert line.item_ids() == list(replay.item_ids)


def batched(answers: list[Json]) -> list[list[Json]]:
    return [answers[index : index + 2] for index in range(0, len(answers), 2)]


@given(anyhow, st.booleans())
@fuzzed(25)
def test_a_cut_at_any_event_leaves_a_replay_that_is_taken(told_story: Story, keep_partial: bool) -> None:
    taken: tuple[Json, ...] = ()
    for index, mirror in enumerate(told_story.mirrors()):
        replay = mirror.replay()
        if replay.events != taken:
            Line().take(replay)
            taken = replay.events
        if mirror._running:
            settled = Mirror()
            for event in told_story.events[: index + 1]:
                settled.hear(event)
            for response_id in list(settled._running):
                settled.abandon(response_id, keep_partial=keep_partial)
            assert settled.replay().unfinished == ()
            if told_story.events[index]["type"].endswith((".added", ".done")):
                Line().take(settled.replay())


@given(anyhow, st.data())
@fuzzed(60)
def test_a_connection_that_catches_up_holds_what_a_new_one_would(told_story: Story, data: st.DataObject) -> None:
    moments = sorted(data.draw(st.sets(st.integers(0, len(told_story.events) - 1), max_size=4)))
    line, known = Line(), set[str]()
    for index, mirror in enumerate(told_story.mirrors(keep_audio="always")):
        event = told_story.events[index]
        if event["type"] == "conversation.item.truncated" and event["item_id"] in known:
            known.discard(event["item_id"])  # in other words now, so it is told anew
            line.send("conversation.item.delete", item_id=event["item_id"])
        if index in moments or index == len(told_story.events) - 1:
            for item_id in known.difference(mirror.item_ids()):
                line.send("conversation.item.delete", item_id=item_id)
            known &= set(mirror.item_ids())
            replay = mirror.replay(known=known)
            line.take(replay)
            known.update(replay.item_ids)
    assert line.item_ids() == [item_id for item_id in mirror.item_ids() if item_id in known]
    assert known.issuperset(mirror.replay().item_ids)


@given(anyhow, st.integers(1, 200))
@fuzzed(60)
def test_a_replay_keeps_its_budget(told_story: Story, budget: int) -> None:
    mirror = told_story.mirror(keep_audio="always")
    whole, replay = mirror.replay(), mirror.replay(budget)
    ids, kept = list(whole.item_ids), set(replay.item_ids)
    assert list(replay.item_ids) == [item_id for item_id in ids if item_id in kept]
    assert list(replay.dropped) == [item_id for item_id in ids if item_id not in kept]
    items = {item["id"]: item for item in items_of(whole)}
    if any(items[item_id].get("role") != "system" for item_id in kept):
        assert replay.tokens <= budget
    assert all(items[item_id].get("role") != "system" for item_id in replay.dropped)
    assert_the_oldest_went([items[item_id] for item_id in ids], kept)
    Line().take(replay)


def assert_the_oldest_went(items: list[Json], kept: set[str]) -> None:
    spoken = [item for item in items if item.get("role") != "system" and item["type"] != "function_call_output"]
    fates = [item["id"] in kept for item in spoken]
    assert fates == sorted(fates)
    calls = {item.get("call_id"): item["id"] in kept for item in items if item["type"] == "function_call"}
    for item in items:
        if item["type"] == "function_call_output" and item["id"] in kept:
            assert calls[item["call_id"]]


@given(stories(modality=st.just("audio")), st.integers(0, 1_500))
@fuzzed(40)
def test_a_summary_lets_the_rest_be_taken(told_story: Story, budget: int) -> None:
    mirror = told_story.mirror()
    replay = mirror.replay(budget)
    summary = mirror.summarise([item["id"] for item in replay.dropped_items], "What was said before.")
    again = mirror.replay()
    Line().take(again)
    assert (summary in again.item_ids) == bool(replay.dropped)
    assert [item_id for item_id in again.item_ids if item_id != summary] == list(replay.item_ids)


# -- interruptions, word by word --------------------------------------------------------------------------------------


def test_the_words_heard_are_those_whose_sound_had_ended() -> None:
    text = "one two three"
    line = Line(FunctionAnswers(lambda _: text))
    events = line.send("response.create")
    (item_id,) = line.item_ids()
    for end, expected in [(0, ""), (140, ""), (180, "one"), (370, "one"), (420, "one two"), (780, "one two three")]:
        mirror = heard(Mirror(), line.greeting, events, truncated(item_id, end))
        assert mirror.text_so_far(item_id) == expected


def test_an_answer_cut_off_by_the_user_is_said_again_as_far_as_it_was_heard() -> None:
    mirror = mirror_of(user("u", "Count"))
    heard(mirror, begun("a", after="u"), words("a", "one two three four"), sound("a", 48_000))
    heard(mirror, said("a", "one two three four"), done({**assistant("a", "one two three four")}), truncated("a", 450))
    replay = mirror.replay()
    assert told(replay) == ["user: Count", "assistant: one two"]
    Line().take(replay)


def test_a_preview_conversation_is_said_again_in_the_previews_words() -> None:
    answers = FunctionAnswers(lambda turn: "Bye now" if turn.number else (Say("Hello there"), Call("look")))
    line = Line(answers, protocol=PreviewConversation)
    mirror = heard(Mirror(), line.greeting, line.say("Hi"), line.send("response.create"))
    called = next(item["call_id"] for item in items_of(mirror.replay()) if item["type"] == "function_call")
    heard(mirror, line.send("conversation.item.create", item={**output("o", called), "status": "completed"}))
    heard(mirror, line.send("response.create"))
    replay = mirror.replay()
    assert told(replay) == [
        "user: Hi",
        "assistant: Hello there",
        "function_call: {}",
        "function_call_output: found",
        "assistant: Bye now",
    ]
    again = Line(protocol=PreviewConversation)
    for event in replay.events:
        assert [one["type"] for one in again.send(**{"kind": event.pop("type"), **event})] == [
            "conversation.item.created"
        ]
    assert again.item_ids() == line.item_ids() == list(mirror.item_ids())
    assert items_of(mirror.replay())[1]["content"] == [{"type": "text", "text": "Hello there"}]
