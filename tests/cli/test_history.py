from __future__ import annotations

import msgspec
import pytest
from tests.cli.histories import TERMS, events, good, refused

from voicepilot.cli.demo.history import Held, History, Seen, figures, rounds, seconds_without_key
from voicepilot.emulator.record import Mint


def one_session(*, keys: dict[str, tuple[float, float]], end: float = 30.0) -> History:
    """A session from 0 to `end` with keys from a moment until a moment."""
    return History(
        terms=msgspec.structs.replace(TERMS, sessions=("anna",)),
        seen=(
            Seen(at=0.0, who="anna", type="session-started"),
            Seen(at=end, who="anna", type="state-changed", previous="active", new="ending"),
        ),
        held=tuple(Held(at=at, who="anna", key=key) for key, (at, _) in keys.items()),
        mints=tuple(
            Mint(at=at, status=200, credential=None, key=key, valid_until=until) for key, (at, until) in keys.items()
        ),
    )


@pytest.mark.parametrize(
    ("keys", "gap"),
    [
        ({"a": (0, 20), "b": (10, 30)}, 0.0),
        ({"a": (0, 20), "b": (20, 40)}, 0.0),
        ({"a": (0, 20)}, 10.0),
        ({"a": (0, 20), "b": (22, 42)}, 2.0),
        ({"a": (1, 21), "b": (10, 30)}, 1.0),
        ({"a": (0, 5), "b": (10, 12), "c": (20, 40)}, 13.0),
        ({}, 30.0),
    ],
)
def test_seconds_without_a_key_are_counted(keys: dict[str, tuple[float, float]], gap: float) -> None:
    assert seconds_without_key(one_session(keys=keys), "anna") == pytest.approx(gap)


def test_a_session_that_never_ended_is_counted_to_the_last_thing_seen() -> None:
    history = one_session(keys={"a": (0, 20)})
    later = (history.seen[0], Seen(at=25.0, who="ben", type="session-started"))
    assert seconds_without_key(msgspec.structs.replace(history, seen=later), "anna") == pytest.approx(5.0)


def test_a_session_that_never_started_lacks_nothing() -> None:
    assert seconds_without_key(History(terms=TERMS), "anna") == 0.0


def test_rounds_that_failed_count_towards_the_renewal_that_came_in_the_end() -> None:
    seen = (
        Seen(at=1.0, who="anna", type="renewal-started", why="automatic-renewal"),
        Seen(at=2.0, who="anna", type="renewal-failed"),
        Seen(at=3.0, who="anna", type="renewal-started", why="automatic-renewal"),
        Seen(at=4.5, who="anna", type="renewal-completed", attempts=1),
    )
    history = History(terms=TERMS, seen=seen, mints=(refused(1.5, 503, "outage:status"),))
    assert [(begun.at, done.at) for begun, done in rounds(history)] == [(1.0, 4.5)]
    counted = figures(history)
    assert counted.mean_latency == pytest.approx(3.5)
    assert counted.undisturbed_latency == 0.0
    assert counted.retries == 1


def test_figures_are_counted() -> None:
    counted = figures(good())
    assert (counted.sessions, counted.renewals) == (4, 10)
    assert (counted.automatic, counted.by_hand, counted.for_connections) == (6, 1, 3)
    assert (counted.retries, counted.turns, counted.without_key) == (3, 4, 0.0)
    assert counted.undisturbed_latency == pytest.approx((0.2 + 0.5 + 0.3 + 3 * 0.2) / 6)
    assert figures(good(seen=events()[:0])).renewals == 0
