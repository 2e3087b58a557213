"""Short worlds of every kind: whatever the seed, the invariants hold. `make simulate` runs them at length."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.planting import planted
from tests.sim.regressions import REGRESSIONS, Regression
from voicepilot.sim import SCENARIOS, Outcome, Plan, Setup, scenario_named, simulate

DAYS = [name for name in SCENARIOS if name != "herd"]


def lived(scenario: str, sessions: int, hours: float, seed: int) -> Outcome:
    return simulate(Plan(scenario=scenario_named(scenario), sessions=sessions, hours=hours, seed=seed))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("scenario", DAYS)
def test_every_invariant_holds(scenario: str, seed: int) -> None:
    outcome = lived(scenario, 8, 1.2, seed)
    assert outcome.broken == ()
    assert outcome.history.counts["renewal-completed"] > 8


@pytest.mark.parametrize("was", REGRESSIONS, ids=lambda was: f"{was.scenario}-{was.seed}")
def test_what_was_broken_once_is_sound(was: Regression) -> None:
    assert lived(was.scenario, was.sessions, was.hours, was.seed).broken == ()


@pytest.mark.slow
@pytest.mark.parametrize("was", REGRESSIONS, ids=lambda was: f"{was.scenario}-{was.seed}")
def test_what_was_broken_once_would_be_seen_again(was: Regression) -> None:
    with planted(was.fault):
        outcome = lived(was.scenario, was.sessions, was.hours, was.seed)
    assert was.fault.found_by & {broken.invariant for broken in outcome.broken}


def test_no_outage_shorter_than_the_margin_allows_costs_a_second() -> None:
    outcome = lived("short-outages", 25, 1.5, 11)
    assert outcome.history.counts["mints"] > outcome.history.counts["keys"]  # there were some
    assert (outcome.history.without_key, outcome.broken) == (0.0, ())


def test_a_wide_margin_carries_over_nearly_as_long_an_outage() -> None:
    outcome = lived("wide-margin", 40, 2, 4)  # without probes before the end of a break: 71 s
    assert outcome.history.counts["mints"] > outcome.history.counts["keys"]  # there were some
    assert (outcome.history.without_key, outcome.broken) == (0.0, ())


def test_what_belongs_to_a_scenario_is_set_unless_the_user_set_it() -> None:
    story = lived("herd", 2, 0.02, 1).plan.setup
    assert (story.concurrent_mints, story.config.renewal_spread_seconds) == (1_000, 60)
    mine = Setup(concurrent_mints=2_000).changed("renewal_spread_seconds", 5)
    kept = simulate(Plan(scenario=scenario_named("herd"), sessions=2, hours=0.02, setup=mine)).plan.setup
    assert (kept.concurrent_mints, kept.config.renewal_spread_seconds) == (2_000, 5)


# --- the same again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["hostile-application", "clock-chaos"])
def test_the_same_seed_gives_the_same_digest(scenario: str) -> None:
    one, other = (lived(scenario, 6, 0.5, 7) for _ in range(2))
    assert one.digest == other.digest
    assert one.digest != lived(scenario, 6, 0.5, 8).digest


def test_the_digest_does_not_depend_on_how_strings_are_hashed() -> None:
    program = (
        "from voicepilot.sim import *; "
        "print(simulate(Plan(scenario=scenario_named('hostile-application'), sessions=5, hours=0.4, seed=3)).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hashed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hashed in ("1", "2")
    }
    assert len(digests) == 1
