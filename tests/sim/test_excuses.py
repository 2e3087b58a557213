"""What excuses a gap, and what does not."""

from __future__ import annotations

import pytest

from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.sim import Spell, Trouble
from voicepilot.sim.excuses import APART, Disturbances, harmless


@pytest.mark.parametrize(
    ("margin", "hidden", "seconds"),
    [
        (5, False, 0),  # not even the first break fits
        (10, False, 5),  # the first break, of 5 s, waited out for 6.25, and an answer
        (30, False, 20.5),  # half of the last 9.5 s: until it may probe, and an answer
        (60, False, 50.5),
        (300, False, 290.5),
        (10, True, 0),  # half of the margin is gone before anybody knows
        (30, True, 5),
    ],
)
def test_how_long_an_outage_a_margin_allows(margin: float, hidden: bool, seconds: float) -> None:
    assert harmless(margin, BreakerOptions(), 40, hidden=hidden) == seconds


@pytest.mark.parametrize(("margin", "seconds"), [(10, 5), (30, 15), (60, 35)])
def test_where_nobody_may_probe_early_the_breaks_decide(margin: float, seconds: float) -> None:
    assert harmless(margin, BreakerOptions(), 40, crowded=True) == seconds


def test_a_cool_down_ends_the_growth_of_breaks() -> None:
    assert harmless(60, BreakerOptions(urgent_break=None), 10) == 45  # 5, then four of 10


def test_without_probes_before_the_end_of_a_break_the_breaks_decide() -> None:
    assert harmless(60, BreakerOptions(urgent_break=None), 40) == 35  # 5, 10 and 20


def spell(begins: float, ends: float, trouble: Trouble = Trouble.OUTAGE, **more: float) -> Spell:
    return Spell(trouble=trouble, begins=begins, ends=ends, **more)


def test_troubles_that_follow_one_another_are_one_disturbance() -> None:
    wrong = Disturbances((spell(0, 10), spell(50, 60, Trouble.ERRORS), spell(60 + APART + 1, 200)))
    assert [(run.begins, run.ends, run.only) for run in wrong.runs] == [(0, 60, None), (151, 200, Trouble.OUTAGE)]


def test_what_a_trouble_leaves_behind_belongs_to_it() -> None:
    limit = spell(0, 10, Trouble.RATE_LIMIT, retry_after=30.0)
    hang = spell(1_000, 1_010, Trouble.HANG)
    first, second = Disturbances((limit, hang)).runs
    assert (first.ends, first.hidden, first.crowded) == (40, False, True)
    assert (second.ends, second.hidden, second.crowded) == (1_020, True, False)


def test_one_trouble_that_asks_for_a_rest_makes_it_of_the_whole_disturbance() -> None:
    wrong = Disturbances((spell(0, 10), spell(20, 30, Trouble.ERRORS, retry_after=5.0), spell(40, 50)))
    assert [(run.begins, run.ends, run.crowded) for run in wrong.runs] == [(0, 50, True)]


def test_what_must_cost_nothing_excuses_nothing() -> None:
    harmless_ones = (Trouble.SKEW, Trouble.WALL_JUMP, Trouble.SHORT_KEYS)
    assert Disturbances(tuple(spell(0, 100, trouble) for trouble in harmless_ones)).runs == []


def test_a_disturbance_excuses_what_comes_soon_after_it() -> None:
    wrong = Disturbances((spell(100, 200),))
    assert wrong.between(0, 99) == []
    assert wrong.between(200 + APART, 300) == wrong.runs
    assert wrong.between(201 + APART, 300) == []


def test_sleep_counts_apart() -> None:
    wrong = Disturbances(())
    wrong.slept(100, 160)
    assert wrong.asleep_for(90, 120) == 20
    assert wrong.asleep_for(0, 1_000) == 60
    assert wrong.slept_between(150, 170)
    assert not wrong.slept_between(160, 170)


def test_who_is_awake_has_a_second_and_who_slept_has_until_he_looks_again() -> None:
    wrong = Disturbances(())
    wrong.slept(100, 160)
    assert wrong.latest(50) == 51
    assert wrong.latest(120) == 160 + 6
    assert wrong.latest(98) == 99
    assert wrong.latest(99.5) == 99.5 + 6 + 60
    wrong.slept(162, 200)
    assert wrong.latest(120) == 200 + 4
