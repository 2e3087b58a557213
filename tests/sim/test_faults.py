from __future__ import annotations

from itertools import pairwise

import pytest

from voicepilot.errors import ConfigurationError
from voicepilot.sim import SCENARIOS, Episodes, Latency, Manners, Trouble, scenario_named
from voicepilot.sim.faults import drawn

HOURLY = Episodes(trouble=Trouble.OUTAGE, every=(600, 1_200), lasts=(5, 50))


def test_spells_follow_from_the_seed_and_lie_within_the_day() -> None:
    spells = drawn((HOURLY,), 36_000, 1)
    assert spells == drawn((HOURLY,), 36_000, 1) != drawn((HOURLY,), 36_000, 2)
    assert 28 <= len(spells) <= 60
    assert all(0 <= spell.begins < 36_000 and 5 <= spell.ends - spell.begins <= 50 for spell in spells)
    gaps = [after.begins - before.ends for before, after in pairwise(spells)]
    assert min(gaps) >= 600
    assert max(gaps) <= 1_200


def test_a_longer_day_begins_as_the_shorter() -> None:
    short, long = drawn((HOURLY,), 7_200, 4), drawn((HOURLY,), 72_000, 4)
    assert long[: len(short)] == short


def test_episodes_can_be_few_and_begin_when_told() -> None:
    once = Episodes(trouble=Trouble.HANG, first=(10, 20), every=(1, 1), lasts=(1, 1), at_most=1)
    (spell,) = drawn((once,), 1_000, 1)
    assert 10 <= spell.begins <= 20


def test_another_trouble_beside_it_changes_no_spell() -> None:
    other = Episodes(trouble=Trouble.ERRORS, every=(60, 90), lasts=(1, 2))
    beside = drawn((HOURLY, other), 36_000, 1)
    assert tuple(spell for spell in beside if spell.trouble is Trouble.OUTAGE) == drawn((HOURLY,), 36_000, 1)


@pytest.mark.parametrize(("share", "seconds"), [(0, 1), (0.25, 1.5), (0.5, 2), (0.75, 6), (1, 10)])
def test_latency_runs_straight_between_its_quantiles(share: float, seconds: float) -> None:
    assert Latency(((0, 1), (0.5, 2), (1, 10))).at(share) == pytest.approx(seconds)


def test_manners_share_out_what_calls_do() -> None:
    manners = Manners(slow=0.2, hangs=0.1, raises=0.3)
    kinds = [manners.kind((share + 0.5) / 1_000) for share in range(1_000)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"slow": 200, "hangs": 100, "raises": 300, "quick": 400}


def test_every_scenario_says_what_it_is() -> None:
    assert {"calm-day", "provider-bad-day", "rate-limit-storm", "long-outage", "laptop-lids", "herd"} <= set(SCENARIOS)
    assert {"hostile-application", "clock-chaos", "short-outages"} <= set(SCENARIOS)
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name
        assert scenario.description.endswith(".")


def test_the_scenarios_meet_every_trouble_between_them() -> None:
    met = {episodes.trouble for scenario in SCENARIOS.values() for episodes in scenario.troubles}
    assert set(Trouble) - met == set()


def test_an_unknown_scenario_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="--scenario storm: no such scenario; there are calm-day"):
        scenario_named("storm")
