"""What the client said and the server has not confirmed: kept, cut, sent again, and bounded."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzzing import fuzzed

from voicepilot.conversation.journal import QUIET, Entry, Journal

Json = dict[str, Any]
RATE = 48_000
BOUND = 2**30


def sound(seconds: float, value: int = 1) -> str:
    return base64.b64encode(bytes([value]) * round(seconds * RATE)).decode()


class Heard(Journal):
    """A journal whose entries are sent as they come, unless told otherwise."""

    def __init__(self, max_audio: float = 60.0, max_bytes: int = BOUND) -> None:
        super().__init__(max_audio, max_bytes)
        self.online = True

    def say(self, kind: str, **fields: Any) -> Entry:
        entry = self.add({"type": kind, **fields})
        if self.online:
            self.mark_sent(entry)
        return entry

    def append(self, *seconds: float) -> None:
        for number, each in enumerate(seconds, 1):
            self.say("input_audio_buffer.append", audio=sound(each, number))

    def create(self, item_id: str) -> Entry:
        return self.say("conversation.item.create", item={"id": item_id}, event_id=f"create-{item_id}")

    def kinds(self) -> list[str]:
        return [entry.kind.rsplit(".", 1)[1] for entry in self]

    def seconds(self) -> list[tuple[float, float]]:
        return [(round(entry.start, 6), round(entry.end, 6)) for entry in self if entry.kind.endswith("append")]

    def resend(self) -> None:
        self.start_over()
        for entry in self.unsent():
            self.mark_sent(entry)


def length(taken: list[str]) -> float:
    return sum(len(base64.b64decode(piece)) for piece in taken) / RATE


class TestConfirmations:
    def test_an_item_is_confirmed_by_its_id(self) -> None:
        journal = Heard()
        journal.create("a")
        journal.create("b")
        entry = journal.confirm({"type": "conversation.item.added", "item": {"id": "b"}})
        assert entry is not None
        assert entry.event["item"]["id"] == "b"
        assert [one.event["item"]["id"] for one in journal] == ["a"]

    def test_so_it_is_in_the_preview(self) -> None:
        journal = Heard()
        journal.create("a")
        assert journal.confirm({"type": "conversation.item.created", "item": {"id": "a"}})

    def test_an_item_of_somebody_else_confirms_nothing(self) -> None:
        journal = Heard()
        journal.create("a")
        assert journal.confirm({"type": "conversation.item.added", "item": {"id": "b"}}) is None
        assert len(journal) == 1

    def test_what_was_not_sent_cannot_be_confirmed(self) -> None:
        journal = Heard()
        journal.online = False
        journal.create("a")
        journal.say("response.create")
        journal.say("session.update", session={})
        assert journal.confirm({"type": "conversation.item.added", "item": {"id": "a"}}) is None
        assert journal.confirm({"type": "response.created", "response": {"id": "r"}}) is None
        assert journal.confirm({"type": "session.updated", "session": {}}) is None
        assert len(journal) == 3

    def test_answers_and_options_are_confirmed_in_order(self) -> None:
        journal = Heard()
        first, second = journal.say("response.create"), journal.say("response.create")
        assert journal.confirm({"type": "response.created", "response": {"id": "r"}}) is first
        assert journal.confirm({"type": "response.created", "response": {"id": "s"}}) is second
        update = journal.say("session.update", session={})
        assert journal.confirm({"type": "session.updated", "session": {}}) is update
        assert len(journal) == 0

    def test_what_is_done_to_an_item_is_confirmed_by_its_id(self) -> None:
        journal = Heard()
        for verb, done in (("truncate", "truncated"), ("delete", "deleted")):
            journal.say(f"conversation.item.{verb}", item_id="a")
            assert journal.confirm({"type": f"conversation.item.{done}", "item_id": "b"}) is None
            assert journal.confirm({"type": f"conversation.item.{done}", "item_id": "a"})
        journal.say("conversation.item.retrieve", item_id="a")
        assert journal.confirm({"type": "conversation.item.retrieved", "item": {"id": "a"}})

    def test_a_refusal_is_a_confirmation_too(self) -> None:
        journal = Heard()
        journal.create("a")
        journal.create("b")
        assert journal.confirm({"type": "error", "error": {"event_id": "create-b"}})
        assert journal.confirm({"type": "error", "error": {"event_id": None}}) is None
        assert journal.confirm({"type": "error", "error": {"event_id": "another"}}) is None
        assert journal.confirm({"type": "error", "error": {}}) is None
        assert [one.event["item"]["id"] for one in journal] == ["a"]

    def test_what_is_about_the_moment_is_not_kept_once_it_is_sent(self) -> None:
        journal = Heard()
        journal.say("output_audio_buffer.clear")
        assert len(journal) == 0

    def test_it_waits_for_an_answer_to_all_but_audio(self) -> None:
        journal = Heard()
        journal.append(1)
        assert not journal.awaits_answer()
        assert journal.has_sent_audio()
        journal.create("a")
        assert journal.awaits_answer()
        journal.start_over()
        assert not journal.awaits_answer()
        assert not journal.has_sent_audio()


class TestAudio:
    def test_a_commit_by_hand_takes_what_was_appended_before_it(self) -> None:
        journal = Heard()
        journal.append(1, 1)
        journal.say("input_audio_buffer.commit")
        journal.append(1)
        assert journal.committed() == [sound(1, 1), sound(1, 2)]
        assert journal.seconds() == [(2, 3)]
        assert journal.kinds() == ["append"]
        assert journal.audio == 1

    def test_two_commits_are_confirmed_one_by_one(self) -> None:
        journal = Heard()
        for _ in range(2):
            journal.append(1)
            journal.say("input_audio_buffer.commit")
        assert length(journal.committed()) == 1
        assert journal.kinds() == ["append", "commit"]
        assert length(journal.committed()) == 1
        assert len(journal) == 0

    def test_a_commit_that_waits_is_not_confirmed(self) -> None:
        journal = Heard()
        journal.append(1)
        journal.online = False
        journal.say("input_audio_buffer.commit")
        assert length(journal.committed()) == 1, "the other side of a call committed it"
        assert journal.kinds() == ["commit"]

    def test_a_turn_that_the_server_found_is_taken_up_to_its_end(self) -> None:
        journal = Heard()
        journal.append(1, 1, 1)
        journal.stopped = 2.0
        assert length(journal.committed()) == 2
        assert journal.seconds() == [(2, 3)]
        assert journal.stopped is None

    def test_a_frame_across_the_end_is_cut_in_two(self) -> None:
        journal = Heard()
        journal.append(1, 1)
        journal.stopped = 1.25
        assert length(journal.committed()) == 1.25
        assert journal.seconds() == [(1.25, 2)]
        assert round(journal.audio, 6) == 0.75
        (left,) = journal
        assert left.event["audio"] == sound(0.75, 2)
        journal.resend()
        journal.stopped = 0.75
        assert length(journal.committed()) == 0.75, "and the rest belongs to the next turn, or connection"
        assert len(journal) == 0

    def test_a_cut_is_between_samples(self) -> None:
        journal = Heard()
        journal.append(1)
        journal.stopped = 0.100_01
        (head,) = journal.committed()
        assert len(base64.b64decode(head)) % 2 == 0
        assert len(base64.b64decode(head)) + len(base64.b64decode(next(iter(journal)).event["audio"])) == RATE

    def test_places_count_from_the_beginning_of_the_connection(self) -> None:
        journal = Heard()
        journal.append(1, 1, 1)
        journal.stopped = 1.0
        journal.committed()
        journal.resend()
        journal.stopped = 1.0  # a new connection has heard two seconds
        assert length(journal.committed()) == 1
        assert journal.seconds() == [(2, 3)]

    def test_audio_that_was_not_sent_is_never_taken(self) -> None:
        journal = Heard()
        journal.append(1)
        journal.online = False
        journal.append(1)
        journal.stopped = 5.0
        assert length(journal.committed()) == 1
        assert journal.seconds() == [(1, 2)]

    def test_a_clear_forgets_what_came_before_it(self) -> None:
        journal = Heard()
        journal.append(1)
        journal.create("a")
        journal.say("input_audio_buffer.clear")
        journal.append(1)
        journal.confirm({"type": "input_audio_buffer.cleared"})
        assert journal.kinds() == ["create", "append"]
        assert journal.seconds() == [(1, 2)]

    def test_a_clear_of_somebody_else_forgets_nothing(self) -> None:
        journal = Heard()
        journal.append(1)
        journal.confirm({"type": "input_audio_buffer.cleared"})
        assert journal.seconds() == [(0, 1)]

    def test_a_clear_goes_with_the_commit_behind_it(self) -> None:
        journal = Heard()
        journal.append(1)
        journal.say("input_audio_buffer.clear")
        journal.append(1)
        journal.say("input_audio_buffer.commit")
        journal.committed()
        assert len(journal) == 0

    def test_audio_can_be_taken_back_alone(self) -> None:
        journal = Heard()
        journal.append(1)
        journal.create("a")
        journal.unsend_audio()
        assert [entry.kind for entry in journal.unsent()] == ["input_audio_buffer.append"]

    def test_nothing_is_left_after_the_end(self) -> None:
        journal = Heard()
        journal.append(1)
        journal.create("a")
        journal.clear()
        assert len(journal) == 0
        assert journal.audio == 0
        assert journal.has_room()

    @fuzzed(60)
    @given(st.lists(st.floats(0.02, 0.3), min_size=1, max_size=20), st.lists(st.floats(0.0, 3.0), max_size=6))
    def test_however_it_is_cut_every_byte_is_taken_once(self, sizes: list[float], ends: list[float]) -> None:
        journal = Heard()
        pieces = [bytes([number]) * (round(size * RATE / 2) * 2) for number, size in enumerate(sizes)]
        for piece in pieces:
            journal.say("input_audio_buffer.append", audio=base64.b64encode(piece).decode())
        taken = b""
        for end in sorted(ends):
            journal.stopped = end
            taken += b"".join(map(base64.b64decode, journal.committed()))
        left = b"".join(base64.b64decode(entry.event["audio"]) for entry in journal)
        assert taken + left == b"".join(pieces)
        assert abs(journal.audio - len(left) / RATE) < 1e-3


class TestBounds:
    def test_the_oldest_audio_goes_first_and_is_named(self) -> None:
        journal = Heard(max_audio=2)
        journal.online = False
        journal.append(1, 1, 1)
        assert journal.trim() == [(0, 1)]
        assert journal.seconds() == [(1, 2), (2, 3)]
        assert journal.audio == 2

    def test_what_fits_exactly_stays(self) -> None:
        journal = Heard(max_audio=2)
        journal.append(1, 1)
        assert journal.trim() == []
        assert len(journal) == 2

    def test_text_never_goes(self) -> None:
        journal = Heard(max_bytes=1_024)
        journal.online = False
        journal.create("x" * 900)
        journal.append(0.01)
        journal.create("y" * 900)
        assert len(journal.trim()) == 1
        assert journal.kinds() == ["create", "create"]
        assert not journal.has_room()

    def test_audio_makes_room_for_text(self) -> None:
        journal = Heard(max_bytes=1_024)
        journal.online = False
        journal.append(0.1)
        assert journal.has_room()

    def test_sent_audio_that_is_too_much_is_forgotten_and_counted(self) -> None:
        journal = Heard(max_audio=1)
        journal.append(1, 1)
        assert journal.trim() == []
        assert journal.forgotten == 1

    def test_what_was_forgotten_is_the_servers_once_it_is_committed(self) -> None:
        journal = Heard(max_audio=1)
        journal.append(1, 1)
        journal.trim()
        journal.say("input_audio_buffer.commit")
        journal.committed()
        assert journal.forgotten == 0

    def test_or_gone_once_it_is_cleared(self) -> None:
        journal = Heard(max_audio=1)
        journal.append(1, 1)
        journal.trim()
        journal.say("input_audio_buffer.clear")
        journal.confirm({"type": "input_audio_buffer.cleared"})
        assert journal.forgotten == 0

    def test_a_turn_that_the_server_found_leaves_forgotten_what_came_after_it(self) -> None:
        journal = Heard(max_audio=1)
        journal.append(1, 1, 1, 1)
        journal.trim()
        assert journal.forgotten == 3
        journal.stopped = 2.0
        journal.committed()
        assert journal.forgotten == 1

    def test_a_commit_goes_with_the_last_of_its_audio(self) -> None:
        """The server would refuse to commit nothing."""
        journal = Heard(max_audio=1)
        journal.online = False
        journal.append(1)
        journal.say("input_audio_buffer.commit")
        journal.say("response.create")
        journal.append(1)
        journal.trim()
        assert journal.kinds() == ["create", "append"]

    def test_but_stays_for_a_rest_that_can_be_committed(self) -> None:
        journal = Heard(max_audio=1.5)
        journal.online = False
        journal.append(1, 0.5)
        journal.say("input_audio_buffer.commit")
        journal.append(1)
        journal.trim()
        assert journal.kinds() == ["append", "commit", "append"]

    def test_nor_is_one_taken_that_has_been_sent(self) -> None:
        journal = Heard(max_audio=1)
        journal.append(1)
        journal.say("input_audio_buffer.commit")
        journal.append(1)
        journal.trim()
        assert journal.kinds() == ["commit", "append"]

    def test_silence_is_kept_for_a_few_seconds_only(self) -> None:
        journal = Heard()
        journal.append(*[1.0] * 20)
        assert journal.trim(silent_until=QUIET) == []
        assert journal.audio == QUIET + 1
        assert journal.forgotten == 0, "nobody said anything in it"

    def test_it_may_be_speech_until_the_server_has_had_time_to_say_so(self) -> None:
        journal = Heard()
        journal.append(*[1.0] * 20)
        journal.trim(silent_until=QUIET - 0.1)
        assert journal.audio == 20
        journal.now = 100.0
        journal.append(*[1.0] * 20)
        journal.trim(silent_until=100.0)
        assert journal.audio == 20, "what came before is forgotten"

    def test_silence_that_was_not_sent_is_kept(self) -> None:
        journal = Heard()
        journal.online = False
        journal.append(*[1.0] * 20)
        journal.trim(silent_until=1_000)
        assert journal.audio == 20

    def test_bytes_are_those_of_the_events(self) -> None:
        journal = Heard(max_bytes=1_024)
        journal.online = False
        journal.create("x" * 2_000)
        assert not journal.has_room()
        journal.online = True
        journal.resend()
        journal.confirm({"type": "conversation.item.added", "item": {"id": "x" * 2_000}})
        assert journal.has_room()


def test_as_many_bytes_as_may_wait_are_kept_and_not_one_more() -> None:
    audio = {"type": "input_audio_buffer.append", "audio": sound(1)}
    for most, kept in ((len(audio["audio"]), 1), (len(audio["audio"]) - 1, 0)):
        journal = Journal(60, most)
        journal.add(audio)
        assert journal.trim() == [(0.0, 1.0)][kept:]
        assert len(journal) == kept
