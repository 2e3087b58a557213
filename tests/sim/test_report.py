"""Figures that can be checked by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from voicepilot.events import StateChanged
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import Session
from voicepilot.sim import INVARIANTS, Outcome, Plan, Setup, report_on, scenario_named
from voicepilot.sim.history import COLUMNS, History
from voicepilot.sim.invariants import Broken, Judge
from voicepilot.sim.provider import Asked
from voicepilot.sim.report import facts, lines
from voicepilot.sim.storms import highest
from voicepilot.testing.virtual import EPOCH

PLAN = Plan(scenario=scenario_named("calm-day"), sessions=2, hours=1, seed=9)


def an_outcome() -> Outcome:
    """An hour of two sessions: four requests, three in one second, one refused; two gaps, one still open at the end."""
    history = History(3_600)
    for at, outcome in ((10.1, "key"), (10.2, "key"), (10.9, "outage"), (1_800.0, "key")):
        history.asked(Asked(at, "s", 1, outcome))
    history.live_seconds = 7_200.0
    history.lapsed(1_000, 1_030, 30.0, recovered=True)
    history.lapsed(3_590, 3_600, 6.0, recovered=False)
    history.counts["renewal-completed"] = 3
    history.causes["NETWORK_ERROR"] = 1
    return Outcome(plan=PLAN, history=history, spells=(), broken=(Broken("end-in-time", 1.0, "s", "it took 3 s"),))


def test_the_figures() -> None:
    report = report_on(an_outcome(), options=("--compare", "margin=3"))
    assert (report.session_hours, report.availability) == (2.0, 0.995)
    assert (report.seconds_without_key, report.seconds_without_key_per_session_hour) == (36.0, 18.0)
    assert (report.lapses, report.recovery.count, report.recovery.worst) == (2, 1, 30.0)
    assert (report.mints, report.retries, report.mint_rate_peak, report.herd_factor) == (4, 1, 3, 3.0)
    assert report.mint_rate_mean == pytest.approx(4 / 3_600, abs=1e-4)
    assert report.failures == {"NETWORK_ERROR": 1}
    assert report.replay.endswith("--scenario calm-day --sessions 2 --hours 1 --seed 9 --compare margin=3")


def test_every_figure_is_told_once_and_long_ones_below_one_another() -> None:
    report = report_on(an_outcome())
    alone = list(lines([report], [""]))
    assert len(alone) == len(list(facts(report)))
    beside = list(lines([report, report], ["a=1", "a=2"]))
    assert len(beside) == len(alone) + 1


def test_a_gap_is_in_every_column_that_it_touches() -> None:
    history = History(COLUMNS * 10.0)
    history.lapsed(15, 35, 20.0, recovered=True)
    assert [n for n, column in enumerate(history.columns) if column.without_key] == [1, 2, 3]
    assert [n for n, column in enumerate(history.columns) if column.lapses] == [1]


def test_the_digest_knows_the_order() -> None:
    one, other = History(10), History(10)
    asked = [Asked(1.0, "s", 1, "key"), Asked(1.0, "t", 1, "key")]
    for history, order in ((one, asked), (other, asked[::-1])):
        for each in order:
            history.asked(each)
    assert one.digest != other.digest


def test_the_digest_knows_what_events_say() -> None:
    session = Session(session_id="s", created_at=EPOCH, last_activity=EPOCH, config=SessionConfig())
    digests = set()
    for reason, at in (("renewed", 1.0), ("paused", 1.0), ("paused", 1.001)):
        history = History(10)
        moved = StateChanged(
            session=session, at=EPOCH + at, previous_state=Phase.RENEWING, new_state=Phase.ACTIVE, reason=reason
        )
        history.told(moved)
        digests.add(history.digest)
    assert len(digests) == 3
    assert history.counts["state-changed"] == 1


def test_the_busiest_second_of_a_stretch() -> None:
    per_second = Counter({5: 9, 20: 3, 21: 4})
    assert highest(per_second, 10, 100) == (21, 4)
    assert highest(per_second, 30, 100) == (30, 0)


def test_a_judge_keeps_so_many_and_no_more() -> None:
    judge = Judge(lambda: 1.23456, 2)
    judge.must("end-in-time", True, "s", "fine")
    assert judge.broken == []
    for number in range(3):
        judge.must("end-in-time", False, "s", lambda number=number: f"{number}")  # type: ignore[misc]
    assert [broken.detail for broken in judge.broken] == ["0", "1"]
    assert (judge.broken[0].at, judge.has_enough) == (1.235, True)


def test_an_invariant_that_is_not_listed_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Judge(list, 1).must("no-such", False, "", "")  # type: ignore[arg-type]
    assert all(said[0].islower() and not said.endswith(".") for said in INVARIANTS.values())


def test_a_setup_knows_what_was_changed() -> None:
    setup = Setup().changed("renewal_margin_seconds", 30.0).changed("max_retry_attempts", 5.0)
    assert setup.changes() == {"renewal_margin_seconds": 30.0, "max_retry_attempts": 5}
    assert setup.cool_down == 40
