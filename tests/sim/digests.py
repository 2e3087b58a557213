"""Writes down the digests of some worlds, alike on every version of Python. `python -m tests.sim.digests`."""

from __future__ import annotations

from pathlib import Path

from voicepilot.sim import Plan, scenario_named, simulate

KEPT = Path(__file__).with_name("digests.txt")

# Together they meet every kind of trouble, and bad manners; they cost half a second.
WORLDS = (
    Plan(scenario=scenario_named("hostile-application"), sessions=12, hours=1, seed=2),
    Plan(scenario=scenario_named("clock-chaos"), sessions=6, hours=1, seed=21),
    Plan(scenario=scenario_named("provider-bad-day"), sessions=6, hours=2.5, seed=101),
    Plan(scenario=scenario_named("laptop-lids"), sessions=6, hours=1, seed=2),
)


def lived() -> dict[str, str]:
    """The digest of each world by its scenario, lived now."""
    return {world.scenario.name: simulate(world).digest for world in WORLDS}


def kept() -> dict[str, str]:
    """The digests as they were written down."""
    return dict(line.split() for line in KEPT.read_text().splitlines())


if __name__ == "__main__":
    KEPT.write_text("".join(f"{scenario} {digest}\n" for scenario, digest in lived().items()))
