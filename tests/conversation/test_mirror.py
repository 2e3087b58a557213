"""What the mirror learns from each event."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conversation.spoken import (
    Json,
    added,
    assistant,
    begun,
    call,
    done,
    heard,
    items_of,
    message,
    mirror_of,
    outgoing,
    output,
    response_done,
    said,
    session,
    sound,
    speech,
    system,
    told,
    transcribed,
    truncated,
    user,
    words,
)
from tests.fuzzing import fuzzed, little_kept

from voicepilot.conversation.mirror import Abandoned, Mirror

SECOND = base64.b64encode(bytes(48_000)).decode()


# -- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "order"),
    [
        ([added(user("a", "A")), added(user("b", "B"), "a")], "ab"),
        ([added(user("a", "A")), added(user("b", "B"), "a"), added(user("c", "C"), "a")], "acb"),
        ([added(user("a", "A")), added(user("b", "B"), "root")], "ba"),
        ([added(user("a", "A")), added(system("b", "B"), None)], "ba"),
        ([added(user("a", "A")), added(speech("b"), None)], "ab"),
        ([added(user("a", "A")), *begun("b", after=None)], "ab"),
        ([added(user("a", "A")), added(user("b", "B"), "unknown")], "ab"),
        ([added(user("a", "A")), added(user("b", "B"), "a"), done(user("b", "B"), None)], "ab"),
        ([done(user("a", "A")), {**added(user("b", "B"), "a"), "type": "conversation.item.created"}], "ab"),
        ([added(user("a", "A")), {"type": "conversation.item.deleted", "item_id": "a"}, added(user("b", "B"))], "b"),
    ],
)
def test_items_stand_where_the_server_says(events: list[Json], order: str) -> None:
    assert "".join(heard(Mirror(), events).item_ids()) == order


def test_an_answer_out_of_band_is_no_part_of_the_conversation() -> None:
    mirror = mirror_of(user("a", "A"))
    item = {"id": "b", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    heard(mirror, outgoing(item)[0], words("b", "secret"), said("b", "secret"))
    assert (mirror.item_ids(), mirror.outputs("resp")) == (("a",), ("b",))
    heard(mirror, response_done(assistant("b", "secret"), conversation_id=None))
    assert mirror.text_so_far("b") == ""
    assert told(mirror.replay()) == ["user: A"]


def test_an_answer_whose_place_was_never_told_stands_at_the_end() -> None:
    mirror = mirror_of(user("a", "A"))
    item = {"id": "b", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    heard(mirror, outgoing(item)[0], response_done(assistant("b", "B")))
    assert told(mirror.replay()) == ["user: A", "assistant: B"]


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2), st.lists))
@fuzzed(100)
def test_what_is_not_as_documented_is_not_learned(value: Any) -> None:
    mirror = heard(mirror_of(user("a", "A")), begun("b", after="a"), words("b", "B"))
    before = mirror.replay()
    for kind in [*mirror._FACTS, *mirror._DELTAS, value]:
        for field in ("item", "item_id", "response", "session", "delta", "content_index", "audio_end_ms"):
            mirror.hear({"type": kind, "item_id": "unknown", field: value})
            mirror.hear({"type": kind, "item": {"id": value, "role": value, "content": value}})
    mirror.hear({})
    assert items_of(mirror.replay())[: len(before.events)] == items_of(before)


# -- what the assistant says ------------------------------------------------------------------------------------------


def test_words_come_in_pieces() -> None:
    mirror = heard(Mirror(), begun("a"), words("a", "Hello", " there"))
    assert mirror.text_so_far("a") == "Hello there"
    assert not mirror.is_finished("a")
    assert mirror.replay().unfinished == ("a",)
    heard(mirror, said("a", "Hello there, you."), words("a", "late"))
    assert mirror.text_so_far("a") == "Hello there, you."
    assert mirror.is_finished("a")
    assert told(mirror.replay()) == ["assistant: Hello there, you."]


def test_a_part_that_begins_is_awaited() -> None:
    part = {"type": "response.content_part.added", "item_id": "a", "content_index": 1, "part": {"type": "audio"}}
    mirror = heard(Mirror(), begun("a"), said("a", "One."), part)
    assert not mirror.is_finished("a")
    heard(mirror, {**said("a", "Two."), "content_index": 1})
    assert items_of(mirror.replay())[0]["content"] == [
        {"type": "output_text", "text": "One."},
        {"type": "output_text", "text": "Two."},
    ]


@pytest.mark.parametrize(
    "last",
    [
        done(assistant("a", "Whole.")),
        {"type": "response.output_item.done", "response_id": "resp", "item": assistant("a", "Whole.")},
        response_done(assistant("a", "Whole.")),
        {"type": "response.output_text.done", "item_id": "a", "content_index": 0, "text": "Whole."},
        {"type": "response.audio_transcript.done", "item_id": "a", "content_index": 0, "transcript": "Whole."},
    ],
)
def test_an_answer_is_whole_by_any_of_these(last: Json) -> None:
    mirror = heard(Mirror(), begun("a"), words("a", "Wh"), last)
    assert (mirror.is_finished("a"), mirror.text_so_far("a")) == (True, "Whole.")


def test_the_words_are_known_even_where_the_last_event_has_none() -> None:
    bare = message("a", "assistant", content=[{"type": "output_audio", "transcript": None}])
    mirror = heard(Mirror(), begun("a"), words("a", "Hello"), done(bare))
    assert told(mirror.replay()) == ["assistant: Hello"]


def test_a_call_is_whole_with_its_arguments() -> None:
    mirror = heard(Mirror(), outgoing(call("a", "c1", "", status="in_progress")))
    assert not mirror.is_finished("a")
    finish = {"type": "response.function_call_arguments.done", "item_id": "a", "arguments": '{"x": 1}'}
    heard(mirror, {**finish, "call_id": "c1"})
    assert mirror.is_finished("a")
    assert items_of(mirror.replay()) == [
        {"id": "a", "type": "function_call", "name": "look", "arguments": '{"x": 1}', "call_id": "c1"}
    ]


def test_what_a_later_event_does_not_say_is_not_forgotten() -> None:
    mirror = mirror_of(call("a", "c1", '{"x": 1}'))
    heard(mirror, done({**call("a", "c1"), "arguments": None, "name": None}))
    assert items_of(mirror.replay())[0]["arguments"] == '{"x": 1}'


def test_padding_is_no_sound() -> None:
    mirror = heard(Mirror(), begun("a"), [sound("a", 49)] * 60, [sound("a", 50)] * 60, [sound("a", 48)] * 60)
    assert mirror.audio_ms("a") == 60 * 147 // 48


# -- interrupted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "size"),
    [
        ({}, 48_000),
        ({"output": {"format": {"type": "audio/pcm", "rate": 24_000}}}, 48_000),
        ({"output": {"format": {"type": "audio/pcmu"}}}, 8_000),
        ({"output": {"format": {"type": "audio/pcma"}}}, 8_000),
    ],
)
def test_only_what_was_heard_was_said(audio: Json, size: int) -> None:
    mirror = heard(Mirror(), session(**audio), begun("a"), words("a", "one two", " three"))
    heard(mirror, sound("a", size // 2), sound("a", size // 2), said("a", "one two three"))
    assert mirror.audio_ms("a") == 1_000
    heard(mirror, truncated("a", 600))
    assert (mirror.text_so_far("a"), mirror.audio_ms("a")) == ("one two", 600)
    heard(mirror, truncated("a", 300))
    assert mirror.text_so_far("a") == "one"


def test_a_response_may_have_its_own_format() -> None:
    response = {"id": "resp", "audio": {"output": {"format": {"type": "audio/pcmu"}}}}
    mirror = heard(Mirror(), {"type": "response.created", "response": response}, begun("a"), sound("a", 8_000))
    assert mirror.audio_ms("a") == 1_000


def test_the_previews_names_are_understood() -> None:
    flat = {"type": "session.created", "session": {"output_audio_format": "g711_ulaw", "input_audio_format": "pcm16"}}
    mirror = heard(Mirror(), flat, begun("a"))
    heard(mirror, {**words("a", "one two three")[0], "type": "response.audio_transcript.delta"})
    heard(mirror, {**sound("a", 8_000), "type": "response.audio.delta"}, truncated("a", 600))
    assert items_of(mirror.replay())[0]["content"] == [{"type": "text", "text": "one two"}]


def test_what_was_not_heard_stays_unsaid_whatever_comes_later() -> None:
    mirror = heard(Mirror(), begun("a"), words("a", "one two three"), sound("a", 48_000), truncated("a", 600))
    heard(mirror, words("a", " four"), sound("a", 48_000), said("a", "one two three four"))
    heard(mirror, done(assistant("a", "one two three four")), response_done(assistant("a", "one two three four")))
    assert told(mirror.replay()) == ["assistant: one two"]


def test_an_answer_nobody_heard_is_lost_with_the_reason() -> None:
    mirror = heard(Mirror(), begun("a"), sound("a", 48_000), said("a", "one two"), truncated("a", 0))
    assert [(lost.item_id, lost.reason) for lost in mirror.replay().lost] == [("a", "none of it was heard")]


def test_without_any_sound_nothing_was_heard() -> None:
    mirror = heard(Mirror(), begun("a"), said("a", "one two"), truncated("a", 500))
    assert mirror.replay().events == ()


# -- cut in the middle ------------------------------------------------------------------------------------------------


def half_an_answer() -> Mirror:
    mirror = mirror_of(user("u", "Hi"))
    heard(mirror, begun("a", after="u"), words("a", "First"), said("a", "First."), done(assistant("a", "First.")))
    return heard(mirror, begun("b", after="a"), words("b", "Sec"))


def test_an_unfinished_item_is_dropped() -> None:
    mirror = half_an_answer()
    assert mirror.outputs("resp") == ("a", "b")
    left = mirror.abandon("resp", keep_partial=False)
    assert left == Abandoned(kept=("a",), dropped=("b",), unfinished=("b",), text="Sec")
    assert told(mirror.replay()) == ["user: Hi", "assistant: First."]
    assert mirror.outputs("resp") == ()


def test_or_kept_as_far_as_it_was_said() -> None:
    mirror = half_an_answer()
    left = mirror.abandon("resp", keep_partial=True)
    assert left == Abandoned(kept=("a", "b"), dropped=(), unfinished=("b",), text="Sec")
    assert told(mirror.replay()) == ["user: Hi", "assistant: First.", "assistant: Sec"]
    assert mirror.replay().unfinished == ()


@pytest.mark.parametrize("keep", [True, False])
def test_half_a_call_is_always_dropped(keep: bool) -> None:
    mirror = heard(Mirror(), outgoing(call("a", "c1", "", status="in_progress")))
    assert mirror.abandon("resp", keep_partial=keep) == Abandoned(dropped=("a",), unfinished=("a",))
    assert mirror.item_ids() == ()


@pytest.mark.parametrize("keep", [True, False])
def test_an_item_without_a_word_is_always_dropped(keep: bool) -> None:
    mirror = heard(Mirror(), begun("a"))
    assert mirror.abandon("resp", keep_partial=keep) == Abandoned(dropped=("a",), unfinished=("a",))


def test_what_is_over_or_unknown_has_nothing_to_abandon() -> None:
    mirror = heard(half_an_answer(), response_done(assistant("a", "First."), assistant("b", "Second.")))
    assert mirror.abandon("resp", keep_partial=False) == mirror.abandon("?", keep_partial=True) == Abandoned()
    assert told(mirror.replay())[-1] == "assistant: Second."


# -- what the user says -----------------------------------------------------------------------------------------------

TRANSCRIBING = session(input={"format": {"type": "audio/pcm"}, "transcription": {"model": "whisper-1"}})


def committed(item_id: str) -> list[Json]:
    return [{"type": "input_audio_buffer.committed", "item_id": item_id}, added(speech(item_id)), done(speech(item_id))]


def test_a_transcript_is_awaited_until_it_comes_or_fails() -> None:
    mirror = heard(Mirror(), TRANSCRIBING, committed("a"), committed("b"), committed("c"), committed("d"))
    assert mirror.pending_transcripts() == ("a", "b", "c", "d")
    heard(mirror, transcribed("b", "Hello"))
    heard(mirror, {"type": "conversation.item.input_audio_transcription.failed", "item_id": "c", "error": {}})
    heard(mirror, {"type": "conversation.item.deleted", "item_id": "d"})
    assert mirror.pending_transcripts() == ("a",)
    mirror.expect_no_transcripts()
    assert mirror.pending_transcripts() == ()


def test_no_transcript_is_awaited_where_none_is_made() -> None:
    untold = session(input={"format": {"type": "audio/pcm"}, "transcription": None})
    assert heard(Mirror(), untold, committed("a")).pending_transcripts() == ()


def test_a_user_is_quoted_by_his_transcript() -> None:
    mirror = heard(Mirror(), TRANSCRIBING, committed("a"))
    mirror.keep_audio("a", [SECOND])
    assert items_of(mirror.replay())[0]["content"] == [{"type": "input_audio", "audio": SECOND}]
    heard(mirror, transcribed("a", "Hello"), done(speech("a")))
    assert items_of(mirror.replay())[0]["content"] == [{"type": "input_text", "text": "Hello"}]


def test_audio_that_is_always_kept_is_said_with_its_transcript() -> None:
    mirror = heard(Mirror(keep_audio="always"), TRANSCRIBING, committed("a"), transcribed("a", "Hello"))
    mirror.keep_audio("a", [SECOND])
    part = {"type": "input_audio", "audio": SECOND, "transcript": "Hello"}
    assert items_of(mirror.replay())[0]["content"] == [part]


def test_audio_that_comes_after_its_transcript_is_not_kept() -> None:
    mirror = heard(Mirror(), TRANSCRIBING, committed("a"), transcribed("a", "Hello"))
    mirror.keep_audio("a", [SECOND])
    assert mirror._recordings.seconds == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"keep_audio": "never"}, "it has no transcript, and its sound is not kept"),
        ({"max_audio_seconds": 0.5}, "it has no transcript, and its sound is not kept"),
    ],
)
def test_audio_without_words_or_sound_is_lost_with_the_reason(options: Json, reason: str) -> None:
    mirror = heard(Mirror(**options), TRANSCRIBING, committed("a"))
    mirror.keep_audio("a", [SECOND])
    assert [(lost.item_id, lost.reason) for lost in mirror.replay().lost] == [("a", reason)]


def test_nothing_is_said_of_an_empty_transcript() -> None:
    mirror = heard(Mirror(), TRANSCRIBING, committed("a"), transcribed("a", ""))
    assert [(lost.item_id, lost.reason) for lost in mirror.replay().lost] == [("a", "its transcript is empty")]


def test_a_transcript_of_a_part_that_is_not_there_is_nothing() -> None:
    mirror = heard(mirror_of(user("a", "A")), {**transcribed("a", "B"), "content_index": 7}, transcribed("?", "C"))
    assert told(mirror.replay()) == ["user: A"]


def test_the_rate_of_the_audio_counts() -> None:
    mirror = heard(Mirror(max_audio_seconds=2), TRANSCRIBING, committed("a"))
    mirror.keep_audio("a", [SECOND], rate=8_000)
    assert mirror.replay().events == ()


@pytest.mark.parametrize(("form", "kept"), [("audio/pcm", 1), ("audio/pcmu", 6), ("audio/pcma", 6)])
def test_or_the_sessions_format_tells_it(form: str, kept: float) -> None:
    mirror = heard(Mirror(), session(input={"format": {"type": form}}), committed("a"))
    mirror.keep_audio("a", [SECOND])
    assert mirror._recordings.seconds == kept


def test_what_the_echo_leaves_out_is_remembered_from_the_client() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    tune = {"type": "input_audio", "audio": SECOND}
    mirror = mirror_of(
        message("a", "user", content=[{"type": "input_image"}, {"type": "input_audio", "transcript": None}])
    )
    mirror.remember({"id": "a", "type": "message", "role": "user", "content": [picture, tune]})
    mirror.remember({"id": "?", "role": "user", "content": [picture]})
    assert items_of(mirror.replay())[0]["content"] == [picture, tune]


def test_the_echo_of_a_replay_changes_nothing() -> None:
    mirror = mirror_of(speech("a", "Hello"), call("b", "c" * 40), output("c", "c" * 40), assistant("d", "Bye"))
    before = mirror.replay()
    for event in before.events:
        heard(mirror, added({**event["item"], "status": "completed"}), done(event["item"]))
    assert mirror.replay() == before


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_the_oldest_turns_are_forgotten_and_named() -> None:
    mirror = mirror_of(system("s", "Be kind"), max_bytes=100_000)
    for number in range(50):
        heard(mirror, added(user(f"u{number}", "x" * 5_000), f"a{number - 1}" if number else "s"))
        heard(mirror, begun(f"a{number}", f"r{number}", f"u{number}"), said(f"a{number}", "yes"))
    ids = mirror.item_ids()
    assert ids[0] == "s"
    assert ids[-1] == "a49"
    assert 10 < len(ids) < 30
    replay = mirror.replay()
    assert len(replay.dropped) == 101 - len(ids)
    assert replay.dropped[:2] == ("u0", "a0")
    assert mirror._items._bytes <= 100_000


def test_words_alone_cannot_fill_the_memory() -> None:
    mirror = heard(Mirror(max_bytes=50_000), begun("a"))
    for _ in range(100):
        heard(mirror, words("a", "x" * 1_000))
    assert mirror.item_ids() == ()
    assert mirror.replay().dropped == ("a",)


def test_system_messages_and_loose_items_are_bounded_too() -> None:
    mirror = Mirror(max_bytes=20_000)
    item = {"id": "", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    for number in range(100):
        heard(mirror, outgoing({**item, "id": f"a{number}"})[0], added(system(f"s{number}", "x" * 100)))
        assert mirror._items._bytes <= 20_000
    assert mirror.item_ids()


@pytest.mark.slow
def test_a_long_conversation_stays_small() -> None:
    mirror = Mirror(max_bytes=500_000)
    with little_kept(2_000_000):
        for number in range(5_000):
            mirror.hear({"type": "response.created", "response": {"id": f"r{number}"}})
            heard(mirror, added(user(f"u{number}", "Hello there " * 10)), begun(f"a{number}", f"r{number}"))
            heard(mirror, words(f"a{number}", *["word "] * 20), sound(f"a{number}", 1_000))
            heard(mirror, response_done(assistant(f"a{number}", "word " * 20), response_id=f"r{number}"))
    assert mirror._running == {}


def test_at_the_end_nothing_is_left() -> None:
    mirror = heard(half_an_answer(), TRANSCRIBING, committed("c"))
    mirror.keep_audio("c", [SECOND])
    mirror.clear()
    assert (len(mirror), mirror.item_ids(), mirror.pending_transcripts()) == (0, (), ())
    assert mirror.outputs("resp") == ()
    assert mirror.replay() == Mirror().replay()
    assert mirror._recordings.seconds == mirror._items._bytes == 0
    assert list(mirror._items._entries) == []


def test_words_belong_to_the_part_that_they_are_said_in() -> None:
    mirror = heard(Mirror(), begun("a"), words("a", "One."))
    heard(mirror, [{**event, "content_index": 1} for event in words("a", "Two", " too.")])
    heard(mirror, [{**sound("a", 4_800), "content_index": 1}])
    entry = mirror._items.get("a")
    assert entry is not None
    assert {index: (part.text, part.sound) for index, part in entry.speech.items()} == {
        0: ("One.", 0),
        1: ("Two too.", 4_800),
    }


def test_words_that_are_known_at_the_commit_are_not_awaited() -> None:
    mirror = heard(Mirror(), session(input={"transcription": {"model": "w"}}), added(speech("a", "Hello")))
    for item_id in ("a", "b"):
        mirror.hear({"type": "input_audio_buffer.committed", "item_id": item_id})
    assert mirror.pending_transcripts() == ("b",)
