from __future__ import annotations

import pytest

from voicepilot.cli.words import told
from voicepilot.conversation.happenings import (
    ConversationEnded,
    ConversationRestored,
    Handover,
    Happening,
    InputDropped,
    LimitWarning,
    Lost,
    Reconnecting,
    Restored,
    TurnInterrupted,
)
from voicepilot.errors import Fault
from voicepilot.ports import Usage

CUT = Fault(code="CUT", message="it was cut", remediation="None.", retryable=True)
PARTLY = Restored(replayed=("a", "b"), dropped=("c",), lost=(Lost("d", "no reason"),))


@pytest.mark.parametrize(
    ("happening", "words"),
    [
        (
            Handover(at=0, connection=2, forced=False, restored=Restored(replayed=("a",))),
            "moved to connection 2 while nobody spoke, before the provider cuts the old one; 1 item said again",
        ),
        (
            Handover(at=0, connection=3, forced=True, restored=PARTLY),
            (
                "moved to connection 3 in the middle of an answer, before the provider cuts the old one; "
                "2 items said again, 1 could not be, 1 were too old"
            ),
        ),
        (Reconnecting(at=0, fault=CUT), "the connection fell (it was cut); calling again"),
        (
            ConversationRestored(at=0, connection=2, attempts=1, outage=0.128, restored=Restored()),
            "back on connection 2 after 0.13 s; 0 items said again",
        ),
        (TurnInterrupted(at=0, response_id="r", action="retry"), "the answer was cut; it is asked for again"),
        (TurnInterrupted(at=0, response_id="r", action="report"), "the answer was cut; what was said of it stays"),
        (TurnInterrupted(at=0, response_id="r", action="complete"), ""),
        (InputDropped(at=0, start=1.0, end=3.5), "2.5 s of audio had no room and are lost"),
        (
            LimitWarning(at=0, limit="max_total_tokens", used=900, allowed=1_000),
            "max_total_tokens: 900 of 1000 used; the session ends there",
        ),
        (ConversationEnded(at=0, reason="closed", usage=Usage()), ""),
        (
            ConversationEnded(at=0, reason="inactivity-timeout", usage=Usage()),
            "the conversation is over: inactivity-timeout",
        ),
    ],
)
def test_what_happens_is_told_in_words(happening: Happening, words: str) -> None:
    assert told(happening) == words
