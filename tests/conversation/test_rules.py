"""The table of a conversation is complete, exact, and says what the actions do."""

from __future__ import annotations

from itertools import product

import pytest

from voicepilot.conversation.inputs import Deadline, Dialled, Input
from voicepilot.conversation.rules import ALL_WHATS, FROM_A_LINK, IGNORED, LOOK, ROWS, RULES, Role, What
from voicepilot.conversation.state import Phase, State

PAIRS = list(product(Phase, ALL_WHATS))


def _name(value: object) -> str:
    if isinstance(value, tuple):
        return "-".join(_name(one) for one in value)
    return value.__name__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize(("phase", "what"), PAIRS, ids=_name)
def test_every_pair_is_handled_or_ignored(phase: Phase, what: What) -> None:
    rows = ROWS.get((phase, what), ())
    certain = any(row.when is None for row in rows)
    guarded = bool(rows) and not certain
    ignored = what in IGNORED[phase]
    assert certain or ignored, "a pair needs a row without a guard, or to be ignored"
    assert not (certain and ignored), "and not both"
    assert not guarded or ignored, "where no guard agrees, it is ignored by intent"


def test_only_what_exists_is_ignored() -> None:
    for phase, whats in IGNORED.items():
        assert whats <= set(ALL_WHATS), phase


def test_no_row_hides_behind_a_certain_one() -> None:
    for (phase, what), rows in ROWS.items():
        assert all(row.when is not None for row in rows[:-1]), (phase, what)


def test_every_row_is_reachable_from_the_index() -> None:
    assert {row for rows in ROWS.values() for row in rows} == set(RULES)


def test_no_two_rows_say_the_same() -> None:
    ways = [(phase, row.on, row.when) for row in RULES for phase in row.phases]
    assert len(ways) == len(set(ways))


def test_nothing_leads_out_of_what_is_over() -> None:
    assert all(row.to is None for (phase, _), rows in ROWS.items() if phase is Phase.OVER for row in rows)


def test_every_phase_can_be_reached_and_left() -> None:
    ways = {(phase, row.to) for row in RULES for phase in row.phases if row.to is not None}
    reached = {Phase.NEW}
    while more := {to for phase, to in ways if phase in reached} - reached:
        reached |= more
    assert reached == set(Phase)
    assert {phase for phase, to in ways if to is not phase} == set(Phase) - {Phase.OVER}


def test_a_look_always_has_a_guard_and_only_a_look_needs_no_input() -> None:
    assert all(row.when is not None for row in RULES if row.on == LOOK)


def test_everything_that_can_happen_is_in_the_table() -> None:
    plain = {kind for kind in Input.__args__ if kind not in FROM_A_LINK}
    listed = {what for what in ALL_WHATS if isinstance(what, type)}
    assert listed == {kind for kind in plain if kind.__name__ != "DeadlinePassed"}
    assert {what for what in ALL_WHATS if isinstance(what, tuple)} == set(product(FROM_A_LINK, Role))
    assert {what for what in ALL_WHATS if isinstance(what, Deadline)} == set(Deadline)


def test_what_concerns_a_connection_says_which() -> None:
    assert {kind for kind in Input.__args__ if "link" in kind.__struct_fields__} == set(FROM_A_LINK)


def test_a_connection_that_nobody_wants_is_hung_up_whenever_it_opens() -> None:
    for phase in Phase:
        (row,) = ROWS[phase, (Dialled, Role.NONE)]
        assert row.to is None


def test_every_deadline_is_a_field_of_the_state() -> None:
    assert {deadline.value for deadline in Deadline} <= set(State.__slots__)


def test_actions_and_guards_say_what_they_do() -> None:
    for row in RULES:
        assert row.do.__doc__, row
        assert row.when is None or row.when.__doc__, row
