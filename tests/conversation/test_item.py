"""One item: the words that were heard of it, and call ids that the provider takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepilot.conversation.item import CALL_ID_LIMIT, Entry, heard_words, legal_call_id, made_id


@pytest.mark.parametrize(
    ("text", "share", "heard"),
    [
        ("one two three", 1.0, "one two three"),
        ("one two three", 2.0, "one two three"),
        ("one two three", 0.0, ""),
        ("one two three", 7 / 13, "one two"),
        ("one two three", 6 / 13, "one"),
        ("one two three", 8 / 13, "one two"),
        ("one two three", 2 / 13, ""),
        ("unbreakable", 0.9, ""),
        ("お元気ですか", 0.5, "お元気"),
        ("안녕하세요", 0.4, "안녕"),
        ("say 你好吗 now", 6 / 11, "say 你好"),
        ("", 0.5, ""),
    ],
)
def test_whole_words_are_heard(text: str, share: float, heard: str) -> None:
    assert heard_words(text, share) == heard


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_who_hears_longer_hears_more(text: str, one: float, other: float) -> None:
    less, more = (heard_words(text, share) for share in sorted((one, other)))
    assert text.startswith(more)
    assert more.startswith(less)
    assert heard_words(text, 1.0) == text
    assert heard_words(text, 0.0) == ""


@given(st.text(min_size=1))
def test_call_ids_are_legal_and_always_the_same(call_id: str) -> None:
    legal = legal_call_id(call_id)
    assert 0 < len(legal) <= CALL_ID_LIMIT
    assert legal.isascii()
    assert legal_call_id(call_id) == legal_call_id(legal) == legal


def test_a_legal_call_id_stays() -> None:
    assert legal_call_id("call_0123456789abcdefghijklmnopq") == "call_0123456789abcdefghijklmnopq"
    assert legal_call_id("x" * 33) != legal_call_id("x" * 34)


def test_made_ids_tell_their_facts_apart() -> None:
    assert made_id("sum_", "a", "bc") != made_id("sum_", "ab", "c")
    assert len(made_id("sum_", "a")) == 32


@pytest.mark.parametrize(("done", "status"), [(False, "incomplete"), (True, "in_progress")])
def test_of_what_is_not_whole_nothing_more_comes_either(done: bool, status: str) -> None:
    entry = Entry({"id": "a", "type": "message", "role": "assistant", "status": "in_progress"}, done=done)
    entry.settle()
    assert (entry.item["status"], entry.finished) == (status, True)
