from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from voicepilot.lifecycle import deadlines
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.session import Lease, Session

SESSION = Session(session_id="s", created_at=0.0, last_activity=0.0, config=SessionConfig())


def test_a_renewal_comes_its_margin_before_the_expiry() -> None:
    key = Lease(1, issued_at=100.0, expires_at=700.0)
    assert deadlines.renewal_time(key, SessionConfig(renewal_margin_seconds=10), "s") == 690.0


def test_no_margin_renews_before_half_the_life() -> None:
    key = Lease(1, issued_at=100.0, expires_at=120.0)
    assert deadlines.renewal_time(key, SessionConfig(renewal_margin_seconds=3600), "s") == 110.0


@given(
    life=st.floats(0.5, 7200),
    margin=st.floats(0, 3600),
    spread=st.floats(0, 3600),
    session_id=st.text(max_size=5),
    ticket=st.integers(1, 1000),
)
def test_the_spread_only_makes_it_earlier_and_never_before_half(
    life: float, margin: float, spread: float, session_id: str, ticket: int
) -> None:
    key = Lease(ticket, issued_at=0.0, expires_at=life)
    plain = deadlines.renewal_time(key, SessionConfig(renewal_margin_seconds=margin), session_id)
    config = SessionConfig(renewal_margin_seconds=margin, renewal_spread_seconds=spread)
    spread_out = deadlines.renewal_time(key, config, session_id)
    assert life / 2 <= spread_out <= plain <= life


@given(failures=st.integers(1, 60), backoff=st.floats(1, 60_000), ticket=st.integers(1, 1000))
def test_a_wait_doubles_up_to_the_cap_and_has_jitter_below_it(failures: int, backoff: float, ticket: int) -> None:
    session = replace(SESSION, failures=failures, tickets=ticket, config=SessionConfig(retry_backoff_ms=backoff))
    full = min(deadlines.BACKOFF_CAP, backoff / 1000 * 2 ** min(failures - 1, 40))
    assert full / 2 <= deadlines.next_attempt(session, 0.0, asked=None) <= full


def test_what_the_provider_asked_for_is_obeyed() -> None:
    session = replace(SESSION, failures=1)
    assert deadlines.next_attempt(session, 50.0, asked=120.0) == 170.0


def test_attempts_come_more_often_as_the_expiry_comes_nearer() -> None:
    key = Lease(1, issued_at=0.0, expires_at=100.0)
    session = replace(SESSION, failures=10, key=key)
    assert deadlines.next_attempt(session, 90.0, asked=None) == 95.0
    assert deadlines.next_attempt(session, 99.5, asked=None) == 100.5  # but never faster than the first backoff


def test_a_rejected_key_is_not_worth_hurrying_for() -> None:
    key = Lease(1, issued_at=0.0, expires_at=100.0, rejected=True)
    session = replace(SESSION, failures=10, key=key)
    assert deadlines.next_attempt(session, 90.0, asked=None) >= 90.0 + deadlines.BACKOFF_CAP / 2


def test_one_hanging_attempt_cannot_cost_the_key() -> None:
    key = Lease(1, issued_at=0.0, expires_at=20.0)
    session = replace(SESSION, key=key)
    assert deadlines.mint_limit(session, 0.0) == deadlines.MINT_LIMIT
    assert deadlines.mint_limit(session, 10.0) == 5.0
    assert deadlines.mint_limit(session, 19.0) == deadlines.MINT_LIMIT_FLOOR
    assert deadlines.mint_limit(session, 21.0) == deadlines.MINT_LIMIT
    assert deadlines.mint_limit(SESSION, 0.0) == deadlines.MINT_LIMIT


@pytest.mark.parametrize(("now", "seconds"), [(0.0, 50.0), (90.0, 5.0), (99.0, 0.5), (100.0, None)])
def test_half_of_what_is_left_of_a_good_key_can_be_waited(now: float, seconds: float | None) -> None:
    key = Lease(1, issued_at=0.0, expires_at=100.0)
    assert deadlines.patience(replace(SESSION, key=key), now) == seconds
    assert deadlines.patience(SESSION, now) is None


def test_shares_are_spread_over_the_whole_range() -> None:
    shares = [deadlines.share(f"session-{number}", 1) for number in range(1_000)]
    assert all(0 <= share <= 1 for share in shares)
    tenths = [sum(low / 10 <= share < (low + 1) / 10 for share in shares) for low in range(10)]
    assert min(tenths) > 60


def test_a_beat_keeps_its_time_and_skips_what_was_slept_through() -> None:
    session = replace(SESSION, beat_at=30.0)
    assert deadlines.next_beat(session, 30.4) == 60.0
    assert deadlines.next_beat(session, 200.0) == 210.0
    assert deadlines.next_beat(replace(SESSION, beat_at=None), 5.0) == 35.0
    assert deadlines.next_beat(replace(session, config=SessionConfig(enable_heartbeat=False)), 30.0) is None


@pytest.mark.parametrize(
    ("left", "old", "new", "expected"),
    [
        (100.0, 5, 10, 400.0),
        (100.0, 5, 1, 0.0),
        (None, 5, 2, 120.0),
    ],
)
def test_silence_so_far_counts_when_the_timeout_changes(
    left: float | None, old: float, new: float, expected: float
) -> None:
    configs = [SessionConfig(inactivity_timeout_minutes=minutes) for minutes in (old, new)]
    assert deadlines.idle_left(left, *configs) == expected


def test_a_timeout_switched_off_leaves_nothing() -> None:
    off = SessionConfig(enable_inactivity_timeout=False, enable_heartbeat=False)
    assert deadlines.idle_left(10.0, SessionConfig(), off) is None
    assert deadlines.beat_left(10.0, SessionConfig(), off) is None


def test_a_new_interval_counts_from_the_change() -> None:
    faster = SessionConfig(heartbeat_interval_seconds=5)
    assert deadlines.beat_left(10.0, SessionConfig(), faster) == 5
    assert deadlines.beat_left(10.0, SessionConfig(), SessionConfig()) == 10.0
    assert deadlines.beat_left(None, SessionConfig(enable_heartbeat=False), SessionConfig()) == 30


def test_the_share_of_one_renewal_says_nothing_about_the_next() -> None:
    """Else a herd that the first renewal spread out comes together again at the second."""
    ids = [f"session-{number:05}" for number in range(10_000)]
    sums = Counter(int(10 * (deadlines.share(each, 1) + deadlines.share(each, 2))) for each in ids)
    assert max(sums.values()) < 1.2 * len(ids) / 10  # two independent shares: at most a tenth in any tenth
