"""Faults that befall a session once it has sent so many more events."""

from __future__ import annotations

import pytest

from voicepilot.emulator import Fault, parse_fault
from voicepilot.emulator.countdown import Countdown
from voicepilot.emulator.effects import Close, Drip, Drop, Effect, Freeze, Send
from voicepilot.errors import ConfigurationError

ENDS: dict[str, Effect] = {"drop": Drop(), "freeze": Freeze(), "expire-silent": Close(1001, "old")}


def said(*kinds: str) -> list[Effect]:
    return [Send({"type": kind}) for kind in kinds]


def struck(kind: str = "drop", *, after_events: int) -> Countdown:
    countdown = Countdown(lambda fault: [ENDS.get(fault.kind, Drip(1.0))])
    countdown.add(Fault(place="live", kind=kind, after_events=after_events), after_events)
    return countdown


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("count", range(4))
def test_nothing_comes_after_the_last_event(end: str, count: int) -> None:
    events = said("a", "b", "c")
    assert struck(end, after_events=count).applied(events) == [*events[:count], ENDS[end]]


def test_it_counts_over_many_calls_and_strikes_once() -> None:
    countdown = struck(after_events=3)
    assert countdown.applied(said("a", "b")) == said("a", "b")
    assert countdown.applied([]) == []
    assert countdown.applied(said("c")) == [*said("c"), Drop()]
    assert countdown.applied(said("d", "e")) == said("d", "e")


def test_only_events_count() -> None:
    effects: list[Effect] = [Drip(2.0), *said("a"), Drip(2.0), *said("b")]
    assert struck(after_events=2).applied(effects) == [*effects, Drop()]


def test_what_does_not_end_a_session_lets_it_go_on() -> None:
    assert struck("drip", after_events=1).applied(said("a", "b")) == [*said("a"), Drip(1.0), *said("b")]


def test_several_count_apart() -> None:
    countdown = struck("drip", after_events=1)
    countdown.add(Fault(place="live", kind="drop", after_events=2), 2)
    assert countdown.applied(said("a", "b", "c")) == [*said("a"), Drip(1.0), *said("b"), Drop()]


def test_it_is_written_as_other_faults_are() -> None:
    assert parse_fault("session:drop:after_events=3") == Fault(place="session", kind="drop", after_events=3)
    for wrong in ("session:drop:after_events=-1", "mint:reset:after_events=3", "connect:503:after_events=1"):
        with pytest.raises(ConfigurationError, match="after_events"):
            parse_fault(wrong)
