from __future__ import annotations

import pytest

from tests.sim.digests import WORLDS, kept
from voicepilot.sim import Plan, simulate
from voicepilot.sim.faults import Trouble, drawn


def named(world: Plan) -> str:
    return world.scenario.name


@pytest.mark.parametrize("world", WORLDS, ids=named)
def test_every_version_of_python_lives_the_same_history(world: Plan) -> None:
    assert simulate(world).digest == kept()[named(world)], (
        f"the history of {named(world)} changed. If that was meant: python -m tests.sim.digests. If it differs on one "
        "version of Python only, or from run to run, something in it does not follow from the seed"
    )


def test_a_digest_is_kept_for_each_world_and_no_other() -> None:
    assert list(kept()) == [named(world) for world in WORLDS]


def test_the_worlds_meet_every_kind_of_trouble() -> None:
    met = {spell.trouble for world in WORLDS for spell in drawn(world.scenario.troubles, world.seconds, world.seed)}
    assert met == set(Trouble)
