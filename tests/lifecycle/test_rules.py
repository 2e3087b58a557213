"""The table is complete, exact, and says what the actions do."""

from __future__ import annotations

from itertools import product

import pytest

from voicepilot.lifecycle.inputs import Hook
from voicepilot.lifecycle.phases import LIVE, OVER, RUNNING, Phase
from voicepilot.lifecycle.rules import ALL_WHATS, IGNORED, ROWS, RULES, What
from voicepilot.lifecycle.session import Deadline

PAIRS = list(product(Phase, ALL_WHATS))


def _name(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize(("phase", "what"), PAIRS, ids=_name)
def test_every_pair_is_handled_or_ignored(phase: Phase, what: What) -> None:
    rows = ROWS.get((phase, what), ())
    certain = any(row.when is None for row in rows)
    ignored = what in IGNORED[phase]
    assert certain != ignored, "a pair needs a row without a guard, or to be ignored, and not both"


def test_no_row_hides_behind_a_certain_one() -> None:
    for rows in ROWS.values():
        assert all(row.when is not None for row in rows[:-1])


def test_every_row_is_reachable_from_the_index() -> None:
    assert {row for rows in ROWS.values() for row in rows} == set(RULES)


def test_nothing_leads_out_of_what_is_over() -> None:
    assert all(row.to is None for (phase, _), rows in ROWS.items() if phase in OVER for row in rows)


def test_only_ending_or_idle_lead_to_over() -> None:
    ways = {(phase, row.to) for (phase, _), rows in ROWS.items() for row in rows if row.to in OVER}
    assert ways == {
        (Phase.ENDING, Phase.ENDED),
        (Phase.ENDING, Phase.FAILED),
        (Phase.IDLE, Phase.ENDED),
        (Phase.IDLE, Phase.FAILED),
    }


def test_phases_are_live_or_over() -> None:
    assert set(Phase) == LIVE | OVER
    assert not LIVE & OVER
    assert RUNNING < LIVE


def test_the_table_knows_every_deadline_and_hook() -> None:
    assert {what for what in ALL_WHATS if isinstance(what, Deadline)} == set(Deadline)
    assert {what for what in ALL_WHATS if isinstance(what, Hook)} == set(Hook)
