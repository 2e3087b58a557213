"""The simulator finds what is wrong: every planted fault, within a few short worlds."""

from __future__ import annotations

import pytest

from tests.sim.faults import FAULTS
from tests.sim.planting import Planted, planted
from voicepilot.sim import INVARIANTS, Plan, scenario_named, simulate

SEEDS = range(1, 21)
"""A fault that none of so many short worlds finds is not found."""

QUICK = {
    "what is said does not count as activity",
    "the old key is kept after the swap",
    "retry-after is not obeyed",
    "the breaker never opens",
    "a purge is not made",
}


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=[] if fault.name in QUICK else pytest.mark.slow, id=fault.name) for fault in FAULTS],
)
def test_a_planted_fault_is_found(fault: Planted) -> None:
    with planted(fault):
        found = any(fault.found_by & _broken(fault.scenario, seed) for seed in SEEDS)
    assert found, f"no invariant of {', '.join(fault.found_by)} was seen broken"


def _broken(scenario: str, seed: int) -> set[str]:
    plan = Plan(scenario=scenario_named(scenario), sessions=20, hours=1, seed=seed, most_broken=5)
    return {broken.invariant for broken in simulate(plan).broken}


def test_there_are_enough_and_each_names_what_must_find_it() -> None:
    assert len(FAULTS) >= 20
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert {name for fault in FAULTS for name in fault.found_by} <= set(INVARIANTS)
    assert {fault.name for fault in FAULTS} >= QUICK


def test_a_fault_is_gone_when_it_is_pulled_out() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "what is said does not count as activity")
    with planted(fault):
        assert "idle-never-early" in _broken(fault.scenario, 1)
    assert _broken(fault.scenario, 1) == set()


def test_a_patch_that_no_longer_fits_says_so() -> None:
    stale = Planted("stale", "voicepilot.lifecycle.machine", "no such text", "", "calm-day", frozenset())
    with pytest.raises(LookupError, match="0 times"), planted(stale):
        pass
