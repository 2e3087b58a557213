from __future__ import annotations

from voicepilot.sim.chance import Dice, share


def test_draws_are_the_same_on_every_version_of_python() -> None:
    assert round(share(7, "latency", "session-00001-0001", 1), 9) == 0.773006556
    dice = Dice(7, "caller", 1)
    assert [round(dice.between((0, 1)), 9) for _ in range(3)] == [0.780256185, 0.95221135, 0.182815762]


def test_each_name_draws_for_itself() -> None:
    assert share(1, "a", 2) != share(1, "a", 3) != share(2, "a", 3)
    alone = Dice(1, "b")
    beside = Dice(1, "b")
    Dice(1, "c").between((0, 1))
    assert alone.between((0, 1)) == beside.between((0, 1))


def test_what_never_happens_costs_no_draw() -> None:
    one, other = Dice(1), Dice(1)
    assert not one.happens(0.0)
    assert one.between((5, 6)) == other.between((5, 6))


def test_a_pick_is_one_of_the_choices() -> None:
    dice = Dice(3)
    assert {dice.pick((1, 2, 3)) for _ in range(100)} == {1, 2, 3}
