from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import asdict

from tests.recovery.polly import PollyRetry
from voicepilot.errors import (
    AuthenticationError,
    ConfigurationError,
    FaultDomain,
    ProviderUnavailableError,
    RateLimitError,
)
from voicepilot.recovery.policy import (
    ENVELOPES,
    GUARDRAILS,
    Backoff,
    Enough,
    Jitter,
    RetryPolicy,
    decide,
    delay,
    share,
)

DOWN = ProviderUnavailableError("down").fault


def plain(**given: Any) -> RetryPolicy:
    return RetryPolicy(jitter=Jitter.NONE, attempts=8, budget=120.0, **given)


def delays(policy: RetryPolicy, count: int = 6) -> list[float]:
    return [round(delay(policy, attempt, "id"), 6) for attempt in range(1, count + 1)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (plain(backoff=Backoff.NONE, initial=1), [0, 0, 0, 0]),
        (plain(backoff=Backoff.IMMEDIATE, initial=1), [0, 0, 0, 0]),
        (plain(backoff=Backoff.LINEAR, initial=0.25, step=0.75, cap=2), [0.25, 1, 1.75, 2]),
        (plain(backoff=Backoff.EXPONENTIAL, initial=1, growth=2, cap=6), [1, 2, 4, 6]),
        (plain(backoff=Backoff.HYBRID, initial=0.5, growth=1.8, cap=1.5), [0, 0.5, 0.9, 1.5]),
    ],
)
def test_how_the_waits_grow(policy: RetryPolicy, expected: list[float]) -> None:
    assert delays(policy, 4) == expected


def test_the_envelopes_are_those_of_the_requirement() -> None:
    assert {
        domain.value: (p.backoff.value, p.initial, p.cap, p.attempts, p.cool_down, p.budget)
        for domain, p in ENVELOPES.items()
    } == {
        "auth": ("exponential", 1, 12, 5, 45, 75),
        "session": ("hybrid", 0.5, 8, 4, 40, 70),
        "transport": ("exponential", 0.4, 9, 6, 35, 90),
        "audio": ("linear", 0.25, 4, 4, 20, 45),
        "ui": ("immediate", 0, 0, 2, 5, 10),
        "copilot": ("exponential", 0.8, 7.5, 5, 50, 80),
        "infrastructure": ("exponential", 1.5, 15, 3, 60, 100),
    }
    assert set(ENVELOPES) == set(FaultDomain)


POLICIES = st.builds(
    RetryPolicy,
    backoff=st.sampled_from(Backoff),
    attempts=st.integers(1, 8),
    initial=st.floats(0, 5),
    growth=st.floats(1, 5),
    step=st.floats(0, 5),
    cap=st.floats(0, 60),
    budget=st.floats(1, 120),
    jitter=st.sampled_from(Jitter),
)


@given(POLICIES, st.integers(1, 10_000), st.text())
def test_no_wait_is_above_the_cap_and_each_is_always_the_same(policy: RetryPolicy, attempt: int, name: str) -> None:
    wait = delay(policy, attempt, name)
    assert 0 <= wait <= policy.cap
    assert wait == delay(policy, attempt, name)


@given(POLICIES, st.integers(1, 8), st.text())
def test_equal_jitter_waits_half_at_least(policy: RetryPolicy, attempt: int, name: str) -> None:
    full = delay(RetryPolicy(**{**asdict(policy), "jitter": Jitter.NONE}), attempt, name)
    equal = delay(RetryPolicy(**{**asdict(policy), "jitter": Jitter.EQUAL}), attempt, name)
    assert full / 2 <= equal <= full


def test_shares_spread_evenly() -> None:
    found = sorted(share(f"session-{i}", n) for i in range(500) for n in range(4))
    assert all(abs(value - i / 2000) < 0.05 for i, value in enumerate(found))


@given(POLICIES, st.integers(1, 12), st.floats(0, 200), st.sampled_from([None, 0.0, 3.0, 100.0]))
def test_a_decision_keeps_every_promise(policy: RetryPolicy, attempt: int, elapsed: float, asked: float | None) -> None:
    fault = RateLimitError("slow down", retry_after=asked).fault
    again = decide(policy, fault, attempt, elapsed, "id")
    if isinstance(again, Enough):
        return
    assert attempt < policy.attempts
    assert elapsed + again < policy.budget
    assert again >= (asked or 0)


def test_what_cannot_be_cured_is_not_tried_again() -> None:
    assert decide(RetryPolicy(), AuthenticationError("no").fault, 1, 0, "id") is Enough.NOT_RETRYABLE


def test_the_provider_is_obeyed_above_the_cap_or_not_asked_again() -> None:
    fault = RateLimitError("slow down", retry_after=20).fault
    assert decide(RetryPolicy(cap=2, budget=30), fault, 1, 5, "id") == 20
    assert decide(RetryPolicy(cap=2, budget=30), fault, 1, 10, "id") is Enough.BUDGET


def test_enough_says_why() -> None:
    assert decide(RetryPolicy(attempts=3), DOWN, 3, 0, "id") is Enough.ATTEMPTS
    assert decide(RetryPolicy(backoff=Backoff.NONE), DOWN, 1, 0, "id") is Enough.ATTEMPTS
    assert decide(RetryPolicy(budget=10), DOWN, 1, 9.99, "id") is Enough.BUDGET


# --- Polly's retry, side by side ---

KINDS = {
    "constant": lambda d, cap: plain(backoff=Backoff.LINEAR, initial=d, step=0, cap=cap),
    "linear": lambda d, cap: plain(backoff=Backoff.LINEAR, initial=d, step=d, cap=cap),
    "exponential": lambda d, cap: plain(backoff=Backoff.EXPONENTIAL, initial=d, growth=2, cap=cap),
}


def ours(policy: RetryPolicy, outcomes: list[str], attempts: int, hint: float | None) -> tuple[str, int, list[float]]:
    """What the decisions make of the outcomes, in Polly's words."""
    waits: list[float] = []
    for made, outcome in enumerate(outcomes, start=1):
        error = RateLimitError("again", retry_after=hint) if outcome == "handled" else AuthenticationError("no")
        again = Enough.ATTEMPTS if made > attempts else decide(policy, error.fault, made, 0, "id")
        if outcome == "success" or isinstance(again, Enough):
            return outcome, made, waits
        waits.append(again)
    raise AssertionError("too few outcomes")


@given(
    kind=st.sampled_from(sorted(KINDS)),
    base=st.sampled_from([0.0, 0.2, 1.0, 5.0]),
    cap=st.sampled_from([0.5, 7.0, 60.0]),
    attempts=st.integers(1, 7),
    outcomes=st.lists(
        st.sampled_from(["handled", "handled", "handled", "success", "unhandled"]), min_size=8, max_size=8
    ),
)
@example(kind="linear", base=0.2, cap=7.0, attempts=6, outcomes=["handled"] * 8)
def test_without_jitter_the_waits_and_calls_are_pollys(
    kind: str, base: float, cap: float, attempts: int, outcomes: list[str]
) -> None:
    theirs = PollyRetry(kind, delay=base, attempts=attempts, max_delay=cap)
    *answer, waits = ours(KINDS[kind](base, cap), outcomes, attempts, None)
    *expected, delays = theirs.run(outcomes)
    assert answer == expected
    assert waits == pytest.approx(delays)  # 0.2 + 5 * 0.2 is not quite 6 * 0.2


def test_a_hint_shorter_than_our_wait_does_not_shorten_it() -> None:
    """Polly's DelayGenerator replaces the delay; ours is never impatient because the provider is polite."""
    outcomes = ["handled", "success"]
    policy, theirs = KINDS["constant"](5.0, 60.0), PollyRetry("constant", delay=5, attempts=1, max_delay=60)
    assert theirs.run(outcomes, lambda _: 1.0) == ("success", 2, [1.0])
    assert ours(policy, outcomes, 1, 1.0) == ("success", 2, [5.0])
    assert theirs.run(outcomes, lambda _: 90.0) == ours(policy, outcomes, 1, 90.0) == ("success", 2, [90.0])


# --- guardrails ---


@pytest.mark.parametrize("field", GUARDRAILS)
def test_what_is_outside_the_guardrails_is_refused_by_name(field: str) -> None:
    bounds = GUARDRAILS[field]
    for value in (bounds.low - 1, bounds.high + 1, math.nan, math.inf, None, "1", True):
        with pytest.raises(ConfigurationError, match=rf"RetryPolicy\.{field}: must be") as caught:
            RetryPolicy(**{field: value})  # type: ignore[arg-type]
        assert caught.value.field == field
    for value in (bounds.low, bounds.high):
        RetryPolicy(**{field: int(value) if bounds.whole else value})  # type: ignore[arg-type]
