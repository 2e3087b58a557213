from __future__ import annotations

from typing import Any

import pytest

from voicepilot.conversation.link import Link, Stage

Json = dict[str, Any]


def ga(**heard: Any) -> Json:
    return {"type": "realtime", "audio": {"input": heard}}


def link_of(session: Json) -> Link:
    link = Link(1, 10.0)
    link.learn(session)
    return link


@pytest.mark.parametrize(
    ("detection", "detects", "answers"),
    [
        (None, False, False),
        ({"type": "server_vad"}, True, True),
        ({"type": "server_vad", "create_response": True}, True, True),
        ({"type": "server_vad", "create_response": False}, True, False),
    ],
)
def test_whether_a_turn_is_answered_without_being_asked(detection: Json | None, detects: bool, answers: bool) -> None:
    link = link_of(ga(turn_detection=detection))
    assert (link.detects_turns, link.answers_by_itself) == (detects, answers)


@pytest.mark.parametrize(
    ("session", "written"),
    [
        (ga(transcription={"model": "whisper-1"}), True),
        (ga(transcription=None), False),
        (ga(), False),
        ({"input_audio_transcription": {"model": "whisper-1"}}, True),
        ({"input_audio_transcription": None}, False),
    ],
)
def test_whether_speech_is_written_down(session: Json, written: bool) -> None:
    assert link_of(session).transcribes is written


def test_each_side_has_its_own_rate_and_a_new_format_counts_at_once() -> None:
    link = link_of({"input_audio_format": "g711_ulaw", "output_audio_format": "pcm16"})
    assert (link.input_rate, link.output_rate) == (8_000, 48_000)
    link.learn({"audio": {"input": {}, "output": {"format": {"type": "audio/pcma"}}}})
    assert (link.input_rate, link.output_rate) == (48_000, 8_000)


class TestDue:
    HEARTBEAT = 4.5

    def test_while_it_is_made_ready_until_its_limit(self) -> None:
        link = Link(1, limit_at=10.0)
        for stage in (Stage.DIALLING, Stage.GREETING, Stage.REPLAYING):
            link.stage = stage
            assert link.due_at(self.HEARTBEAT) == 10.0

    def test_while_it_is_configured_until_that_should_be_confirmed(self) -> None:
        link = Link(1, limit_at=10.0)
        link.stage, link.confirm_by = Stage.CONFIGURING, 5.0
        assert link.due_at(self.HEARTBEAT) == 5.0
        link.confirm_by = 15.0
        assert link.due_at(self.HEARTBEAT) == 10.0

    def test_in_use_a_heartbeat_after_what_was_heard_last(self) -> None:
        link = Link(1, limit_at=10.0)
        link.stage = Stage.SYNCED
        link.note_alive(100.0)
        assert link.due_at(self.HEARTBEAT) == 104.5
        link.pinged_at = 104.5
        assert link.due_at(self.HEARTBEAT) == 109.0
        link.note_alive(105.0)
        assert link.due_at(self.HEARTBEAT) == 109.5

    def test_while_draining_until_its_limit(self) -> None:
        link = Link(1, limit_at=10.0)
        link.stage, link.draining = Stage.SYNCED, True
        assert link.due_at(self.HEARTBEAT) == 10.0
