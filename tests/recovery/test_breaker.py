from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from tests.recovery.polly import PollyBreaker
from voicepilot.errors import ConfigurationError
from voicepilot.recovery import breaker as module
from voicepilot.recovery.breaker import FOR_ONE_MORE, LONGEST_PROBE, PROBE_WAIT, RULES, SLICES, WARM, step
from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.recovery.breaker_state import Asked, Breaker, Broke, Circuit, Left, Permit, Refusal, Worked

AS_POLLY = BreakerOptions(
    failure_ratio=0.5,
    minimum_throughput=4,
    sampling=10,
    failures_in_a_row=None,
    slow_after=None,
    first_break=5,
    growth=1,
)
STEPS = st.sampled_from([0.0, 0.001, 0.5, 0.999, 1.0, 3.0, 5.0, 9.999, 10.0, 40.0])


def crowded(permit: Permit) -> Broke:
    return Broke(permit, "RATE_LIMITED", crowded=True)


class Driver:
    """A breaker and a clock."""

    def __init__(self, **options: object) -> None:
        self.breaker = Breaker(options=replace(AS_POLLY, **options))
        self.now = 1_000.0

    def circuit(self) -> Circuit:
        return self.breaker.circuit

    def ask(self, cool_down: float = math.inf, patience: float = math.inf) -> Permit | None:
        self.breaker, verdict = step(self.breaker, Asked(cool_down, patience), self.now)
        self.refusal = verdict if isinstance(verdict, Refusal) else None
        return verdict if isinstance(verdict, Permit) else None

    def permit(self, cool_down: float = math.inf) -> Permit:
        permit = self.ask(cool_down)
        assert permit is not None
        return permit

    def tell(self, result: Worked | Broke | Left) -> None:
        self.breaker, verdict = step(self.breaker, result, self.now)
        assert verdict is None

    def fail(self, times: int = 1, cool_down: float = math.inf) -> None:
        for _ in range(times):
            self.tell(Broke(self.permit(cool_down), "DOWN"))

    def work(self, times: int = 1) -> None:
        for _ in range(times):
            self.tell(Worked(self.permit()))

    def opened(self) -> Driver:
        self.fail(4)
        assert self.circuit() is Circuit.OPEN
        return self

    def overrun(self) -> None:
        """Be opened by 429."""
        for _ in range(4):
            self.tell(crowded(self.permit()))

    def half_open(self) -> Permit:
        self.opened()
        self.now += 5
        return self.permit()


# --- Polly's circuit breaker, side by side ---


class SameAsPolly(RuleBasedStateMachine):
    """With the options that Polly has, ours and Polly's are the same, as long as no result comes in a later era."""

    @initialize(ratio=st.sampled_from([0.1, 0.5, 1.0]), throughput=st.integers(2, 6))
    def begin(self, ratio: float, throughput: int) -> None:
        self.ours = Driver(failure_ratio=ratio, minimum_throughput=throughput)
        self.theirs = PollyBreaker(ratio=ratio, throughput=throughput, sampling=10, break_for=5)
        self.under_way: list[Permit] = []

    @rule(seconds=STEPS)
    def time_passes(self, seconds: float) -> None:
        self.ours.now += seconds

    @rule()
    def asked(self) -> None:
        permit = self.ours.ask()
        assert (permit is not None) == self.theirs.ask(self.ours.now)
        if permit:
            self.under_way.append(permit)
        elif self.ours.circuit() is Circuit.OPEN and self.ours.refusal:
            assert self.ours.refusal.retry_in == self.theirs.blocked_until - self.ours.now

    @rule(which=st.integers(0, 5), good=st.booleans())
    @precondition(lambda self: bool(self.under_way))
    def answered(self, which: int, good: bool) -> None:
        permit = self.under_way.pop(which % len(self.under_way))
        late = permit.era != self.ours.breaker.era
        if late and self.ours.circuit() is not Circuit.OPEN:
            return  # the difference that test_a_late_result_decides_nothing is about
        if good:
            self.ours.tell(Worked(permit))
            self.theirs.unhandled(self.ours.now)
        else:
            self.ours.tell(Broke(permit))
            self.theirs.handled(self.ours.now)

    @rule(count=st.integers(1, 6), good=st.booleans())
    def a_burst(self, count: int, good: bool) -> None:
        for _ in range(count):
            self.asked()
            if self.under_way:
                self.answered(len(self.under_way) - 1, good)

    @invariant()
    def the_same_circuit(self) -> None:
        if hasattr(self, "ours"):
            assert self.ours.circuit().value == self.theirs.state


SameAsPolly.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_same_as_polly = pytest.mark.slow(SameAsPolly.TestCase)


def both_half_open() -> tuple[Driver, PollyBreaker, Permit, Permit]:
    """Ours and Polly's, half-open, with a call under way from before the break, and the probe."""
    ours, theirs = Driver(), PollyBreaker(ratio=0.5, throughput=4, sampling=10, break_for=5)
    early = ours.permit()
    theirs.ask(ours.now)
    for _ in range(4):
        ours.fail()
        theirs.ask(ours.now)
        theirs.handled(ours.now)
    ours.now += 5
    probe = ours.permit()
    assert theirs.ask(ours.now)
    return ours, theirs, early, probe


def test_a_late_result_decides_nothing() -> None:
    ours, theirs, early, _ = both_half_open()
    ours.tell(Worked(early))
    theirs.unhandled(ours.now)
    assert (ours.circuit(), theirs.state) == (Circuit.HALF_OPEN, "closed")
    ours, theirs, early, _ = both_half_open()
    ours.tell(Broke(early))
    theirs.handled(ours.now)
    assert (ours.circuit(), theirs.state) == (Circuit.HALF_OPEN, "open")


def test_an_abandoned_probe_gives_its_place_back() -> None:
    ours, theirs, _, probe = both_half_open()
    ours.tell(Left(probe))
    theirs.unhandled(ours.now)  # Polly's default does not handle OperationCanceledException
    assert (ours.circuit(), theirs.state) == (Circuit.HALF_OPEN, "closed")
    assert ours.ask()


def test_a_probe_that_never_ends_does_not_keep_the_circuit_half_open() -> None:
    driver = Driver(slow_after=3)
    driver.half_open()
    driver.now += 2.9
    assert not driver.ask()
    assert driver.circuit() is Circuit.HALF_OPEN
    driver.now += 0.1
    assert not driver.ask()
    assert driver.circuit() is Circuit.OPEN
    driver.now += 5
    driver.work()
    assert driver.circuit() is Circuit.CLOSED


# --- what Polly has not ---


def test_failures_in_a_row_open_it_below_the_throughput() -> None:
    driver = Driver(failures_in_a_row=3, minimum_throughput=100)
    driver.fail(2)
    driver.work()
    driver.fail(2)
    assert driver.circuit() is Circuit.CLOSED
    driver.fail()
    assert driver.circuit() is Circuit.OPEN


def test_the_ratio_opens_it_without_a_row() -> None:
    driver = Driver(failures_in_a_row=3)
    for _ in range(2):
        driver.fail()
        driver.work()
    assert driver.circuit() is Circuit.CLOSED  # half have failed, but only a failure opens it
    driver.fail()
    assert driver.circuit() is Circuit.OPEN


def test_failures_outside_the_window_do_not_count() -> None:
    driver = Driver()
    driver.fail(3)
    driver.now += 10
    driver.fail()
    assert driver.circuit() is Circuit.CLOSED


@pytest.mark.parametrize("result", [Worked, Left])
def test_slow_counts_as_failed_however_it_ends(result: type[Worked | Left]) -> None:
    driver = Driver(slow_after=2)
    for _ in range(4):
        permit = driver.permit()
        driver.now += 2
        driver.tell(result(permit))
    assert driver.circuit() is Circuit.OPEN
    assert driver.breaker.cause == "SLOW"


def test_what_is_given_up_before_it_is_slow_has_failed_in_a_closed_circuit() -> None:
    """Somebody's key was about to lapse: no answer within the time he had left says that it hangs."""
    driver = Driver(slow_after=5)
    for _ in range(4):
        permit = driver.permit()
        driver.now += 1.5
        driver.tell(Left(permit))
    assert (driver.circuit(), driver.breaker.cause) == (Circuit.OPEN, "SLOW")
    driver.now += 5
    probe = driver.permit()
    driver.now += 4.9
    driver.tell(Left(probe))
    assert driver.circuit() is Circuit.HALF_OPEN, "a probe must have had the time that any attempt may take"


def test_where_slow_is_fine_nothing_is_given_up() -> None:
    driver = Driver(slow_after=None, failures_in_a_row=1)
    permit = driver.permit()
    driver.now += 100
    driver.tell(Left(permit))
    assert driver.circuit() is Circuit.CLOSED


def test_abandoned_in_time_says_nothing() -> None:
    driver = Driver(slow_after=2, failures_in_a_row=2)
    for _ in range(9):
        driver.tell(Left(driver.permit()))
    assert driver.breaker == replace(driver.breaker, slices=(), in_a_row=0)


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_exactly_n_probes_and_all_must_succeed(probes: int) -> None:
    driver = Driver(probes=probes)
    permits = [driver.half_open(), *(driver.permit() for _ in range(probes - 1))]
    for permit in permits:
        assert not driver.ask()
        assert driver.refusal == Refusal(PROBE_WAIT, "DOWN")
        assert driver.circuit() is Circuit.HALF_OPEN
        driver.tell(Worked(permit))
    assert driver.circuit() is Circuit.CLOSED
    assert driver.breaker == Breaker(options=driver.breaker.options, era=driver.breaker.era)


def test_one_failed_probe_opens_it_again_whatever_the_others_found() -> None:
    driver = Driver(probes=3)
    first, second = driver.half_open(), driver.permit()
    driver.tell(Worked(first))
    driver.tell(Broke(second, "AGAIN"))
    assert driver.circuit() is Circuit.OPEN
    assert not driver.ask()
    assert driver.refusal == Refusal(5, "AGAIN")


@pytest.mark.parametrize(("cool_down", "breaks"), [(math.inf, [5, 10, 20, 40]), (12, [5, 10, 12, 12]), (1, [5, 5, 5])])
def test_breaks_grow_up_to_the_cool_down_and_begin_again_after_success(cool_down: float, breaks: list[float]) -> None:
    driver = Driver(growth=2)
    driver.fail(4, cool_down)
    for expected in breaks:
        assert driver.breaker.open_until - driver.now == expected
        driver.now = driver.breaker.open_until
        driver.fail(1, cool_down)
    driver.now = driver.breaker.open_until
    driver.work()
    driver.fail(4, cool_down)
    assert driver.breaker.open_until - driver.now == 5


def test_breaks_do_not_overflow() -> None:
    driver = Driver(growth=10.0, first_break=5.0)
    driver.opened()
    for _ in range(400):
        driver.now = driver.breaker.open_until
        driver.fail(cool_down=60)
    assert driver.breaker.open_until - driver.now == 60


# --- who cannot wait ---


def test_who_cannot_wait_for_the_end_of_the_break_may_probe_before_it() -> None:
    driver = Driver(urgent_break=1).opened()
    driver.now += 0.9
    assert not driver.ask(patience=0)  # every break is as long as that
    driver.now += 0.1
    assert not driver.ask(patience=4)  # which is what is left of it
    assert driver.refusal == Refusal(4, "DOWN")
    probe = driver.ask(patience=3.9)
    assert probe
    assert driver.circuit() is Circuit.HALF_OPEN
    driver.tell(Worked(probe))
    assert driver.circuit() is Circuit.CLOSED


def test_a_probe_that_came_early_and_failed_changes_nothing_about_the_break() -> None:
    driver = Driver(urgent_break=1, growth=2).opened()
    until = driver.breaker.open_until
    for _ in range(4):
        driver.now += 1
        probe = driver.ask(patience=0)
        assert probe
        driver.tell(Broke(probe, "STILL DOWN"))
        assert (driver.circuit(), driver.breaker.open_until) == (Circuit.OPEN, until)
        assert not driver.ask(patience=0)  # each failure is followed by a rest
        assert driver.refusal == Refusal(1, "STILL DOWN")
    driver.now = until
    driver.fail()
    assert driver.breaker.open_until - driver.now == 10  # the second break, not the sixth


def test_a_probe_that_came_early_and_hangs_ends_with_the_break_as_it_was() -> None:
    driver = Driver(urgent_break=1, slow_after=2).opened()
    driver.now += 1
    assert driver.ask(patience=0)
    driver.now += 2
    assert not driver.ask(patience=0)
    assert (driver.circuit(), driver.refusal) == (Circuit.OPEN, Refusal(1, "DOWN"))
    driver.now += 1
    assert driver.breaker.open_until - driver.now == 1
    assert driver.ask(patience=0)


def test_a_probe_that_came_early_and_was_abandoned_leaves_the_break_as_it_was() -> None:
    driver = Driver(urgent_break=1).opened()
    until = driver.breaker.open_until
    driver.now += 1
    probe = driver.ask(patience=0)
    assert probe
    driver.tell(Left(probe))
    assert (driver.circuit(), driver.breaker.open_until, driver.breaker.probing) == (Circuit.OPEN, until, ())
    assert not driver.ask()
    assert driver.refusal == Refusal(4, "DOWN")
    assert not driver.ask(patience=0)
    assert driver.refusal == Refusal(1, "DOWN"), "one a second, whether they tell anything or not"
    driver.now += 1
    assert driver.ask(patience=0)


def test_of_two_early_probes_one_may_be_abandoned() -> None:
    driver = Driver(urgent_break=1, probes=2).opened()
    driver.now += 1
    first, second = driver.ask(patience=0), driver.ask(patience=3)
    assert first
    assert second
    driver.tell(Left(first))
    assert driver.circuit() is Circuit.HALF_OPEN
    driver.tell(Worked(second))
    third = driver.ask(patience=0)
    assert third
    driver.tell(Left(third))
    assert (driver.circuit(), driver.breaker.passed) == (Circuit.HALF_OPEN, 1), "one of two has worked"


def test_who_can_wait_for_the_end_of_the_break_does_while_others_probe_early() -> None:
    driver = Driver(urgent_break=1, probes=3).opened()
    driver.now += 1
    assert driver.ask(patience=3.9)
    assert not driver.ask(patience=4)
    assert driver.refusal == Refusal(PROBE_WAIT, "DOWN")
    driver.now += 4
    assert driver.ask()


def test_who_cannot_wait_for_a_slow_probe_may_probe_beside_it() -> None:
    driver = Driver(urgent_break=1, slow_after=5)
    slow = driver.half_open()
    driver.now += 0.9
    assert not driver.ask(patience=0)
    driver.now += 0.1
    assert not driver.ask(patience=4)  # by then the slow one is given up
    assert driver.refusal == Refusal(PROBE_WAIT, "DOWN")
    quick = driver.ask(patience=3.9)
    assert quick
    assert not driver.ask(patience=0), "one after the other"
    driver.tell(Worked(quick))
    assert driver.circuit() is Circuit.CLOSED
    closed = driver.breaker
    driver.tell(Broke(slow, "SLOW"))
    assert driver.breaker == closed


def test_one_that_was_abandoned_beside_a_slow_one_makes_no_room_at_once() -> None:
    driver = Driver(urgent_break=1)
    driver.half_open()
    driver.now += 1
    beside = driver.ask(patience=0)
    assert beside
    driver.tell(Left(beside))
    driver.now += 0.5
    assert not driver.ask(patience=0)
    assert driver.refusal == Refusal(0.5, "DOWN")
    driver.now += 0.5
    assert driver.ask(patience=0)


def test_a_slow_probe_that_fails_opens_it_again_whoever_probes_beside_it() -> None:
    driver = Driver(urgent_break=1)
    slow = driver.half_open()
    driver.now += 1
    beside = driver.ask(patience=0)
    assert beside
    driver.tell(Broke(slow, "DOWN"))
    assert (driver.circuit(), driver.breaker.open_until - driver.now) == (Circuit.OPEN, 5)
    driver.tell(Worked(beside))
    assert driver.circuit() is Circuit.OPEN


def test_where_slow_is_fine_only_who_cannot_wait_for_a_long_probe_probes_beside_it() -> None:
    driver = Driver(urgent_break=1, slow_after=None)
    driver.half_open()
    driver.now += 1
    assert not driver.ask(patience=LONGEST_PROBE - 1)
    assert driver.ask(patience=LONGEST_PROBE - 1.1)


def test_nobody_probes_beside_another_where_that_is_not_wanted_or_too_much_was_asked() -> None:
    driver = Driver(urgent_break=None)
    driver.half_open()
    driver.now += 4
    assert not driver.ask(patience=0)
    assert driver.refusal == Refusal(PROBE_WAIT, "DOWN")
    driver = Driver(urgent_break=1)
    driver.overrun()
    driver.now += 5
    driver.permit()
    driver.now += 4
    assert not driver.ask(patience=0)


@pytest.mark.parametrize(("patience", "retry_in"), [(0, 0.25), (0.5, 0.5), (4, 1), (60, 1)])
def test_who_waits_for_a_probe_hears_when_to_ask_again(patience: float, retry_in: float) -> None:
    driver = Driver(urgent_break=1)
    driver.half_open()
    driver.now += 0.75
    assert not driver.ask(patience=patience)
    assert driver.refusal == Refusal(retry_in, "DOWN")


@pytest.mark.parametrize(("patience", "retry_in"), [(0, 0.75), (0.5, 0.75), (2, 2), (4.75, 4.75), (60, 4.75)])
def test_who_is_refused_hears_when_to_ask_again(patience: float, retry_in: float) -> None:
    driver = Driver(urgent_break=1).opened()
    driver.now += 0.25
    assert not driver.ask(patience=patience)
    assert driver.refusal == Refusal(retry_in, "DOWN")


def test_where_too_much_was_asked_nobody_is_let_through_early() -> None:
    driver = Driver(urgent_break=1)
    driver.overrun()
    driver.now += 4
    assert not driver.ask(patience=0)
    assert driver.refusal == Refusal(1, "RATE_LIMITED")
    early = Driver(urgent_break=1).opened()
    early.now += 1
    probe = early.ask(patience=0)
    assert probe
    early.tell(crowded(probe))
    early.now += 3.9
    assert not early.ask(patience=0)


def test_that_too_much_was_asked_is_heeded_however_late_it_is_told() -> None:
    driver = Driver(urgent_break=1)
    late = driver.permit()
    driver.opened()
    driver.now += 0.5
    driver.tell(Broke(late, "DOWN"))
    assert not driver.breaker.crowded
    driver.tell(crowded(late))
    driver.now += 1
    assert not driver.ask(patience=0)
    assert driver.refusal == Refusal(3.5, "DOWN")


def test_one_429_among_the_failures_that_open_it_is_enough() -> None:
    driver = Driver(urgent_break=1)
    driver.tell(crowded(driver.permit()))
    driver.fail(3)
    driver.now += 4
    assert not driver.ask(patience=0)


def test_a_429_before_the_last_success_is_forgotten() -> None:
    driver = Driver(urgent_break=1, minimum_throughput=100, failures_in_a_row=4)
    driver.tell(crowded(driver.permit()))
    driver.work()
    driver.opened()
    driver.now += 1
    assert driver.ask(patience=0)


def test_what_a_probe_met_is_why_it_is_open_again() -> None:
    driver = Driver(urgent_break=1)
    driver.overrun()
    driver.now += 5
    driver.fail()
    driver.now += 1
    assert driver.ask(patience=0)


def test_no_break_is_cut_short_where_that_is_not_wanted() -> None:
    driver = Driver(urgent_break=None).opened()
    driver.now += 4
    assert not driver.ask(patience=0)
    assert driver.refusal == Refusal(1, "DOWN")


# --- a crowd ---


def warming(**options: object) -> Driver:
    """Opened by 429, and its probe worked."""
    driver = Driver(growth=2, **options)
    driver.overrun()
    driver.now = driver.breaker.open_until
    driver.work()
    return driver


def test_after_429_all_do_not_come_back_at_once() -> None:
    driver = warming()
    assert driver.circuit() is Circuit.WARMING
    driver.permit()
    assert not driver.ask()
    assert driver.refusal == Refusal(PROBE_WAIT, "RATE_LIMITED")


def test_after_an_outage_they_do() -> None:
    driver = Driver()
    driver.tell(Worked(driver.half_open()))
    assert driver.circuit() is Circuit.CLOSED


def test_a_warming_circuit_lets_one_more_through_for_every_five_that_worked() -> None:
    driver = warming()
    for worked in range(WARM - 1):
        permits = []
        while permit := driver.ask():
            permits.append(permit)
        assert len(permits) == 1 + worked // FOR_ONE_MORE
        for permit in permits[1:]:
            driver.tell(Left(permit))
        driver.tell(Worked(permits[0]))
    assert driver.circuit() is Circuit.WARMING
    driver.work()
    assert driver.breaker == Breaker(options=driver.breaker.options, era=driver.breaker.era)


def test_where_too_much_is_asked_while_warming_it_opens_for_a_first_break() -> None:
    driver = warming()
    driver.work(7)
    driver.tell(crowded(driver.permit()))
    assert (driver.circuit(), driver.breaker.open_until - driver.now) == (Circuit.OPEN, 5)


def test_another_failure_while_warming_counts_as_one_in_a_closed_circuit_does() -> None:
    driver = warming()
    driver.breaker = replace(driver.breaker, options=replace(driver.breaker.options, failures_in_a_row=3))
    for _ in range(3):
        driver.work(5)
        driver.fail(2)
        driver.work()
    assert (driver.circuit(), driver.breaker.passed, driver.breaker.probing) == (Circuit.WARMING, 18, ())
    driver.fail(2)
    assert driver.circuit() is Circuit.WARMING
    driver.fail()
    assert driver.circuit() is Circuit.OPEN


def test_half_of_what_is_asked_while_warming_may_not_fail() -> None:
    driver = warming()
    for _ in range(2):
        driver.work()
        driver.fail()
    assert driver.circuit() is Circuit.OPEN


def test_one_slow_success_does_not_cool_what_is_warming() -> None:
    driver = warming(slow_after=3.0)
    driver.work(5)
    slow = driver.permit()
    driver.now += 3
    driver.tell(Worked(slow))
    assert (driver.circuit(), driver.breaker.passed) == (Circuit.WARMING, 5)


def test_a_late_failure_does_not_cool_what_is_warming() -> None:
    driver = Driver()
    late = driver.permit()
    driver.overrun()
    driver.now += 5
    driver.work()
    before = driver.breaker
    driver.tell(crowded(late))
    driver.tell(Broke(late))
    assert driver.breaker == before


def test_it_is_calm_only_when_nothing_failed_for_as_long_as_the_window_is() -> None:
    driver = warming()
    driver.work(3)
    driver.now += driver.breaker.options.sampling - 1
    driver.fail()
    driver.now += 1
    driver.permit()
    assert driver.circuit() is Circuit.WARMING
    driver.now += driver.breaker.options.sampling - 1
    driver.permit()
    assert driver.circuit() is Circuit.CLOSED


@pytest.mark.parametrize("was", [Circuit.HALF_OPEN, Circuit.WARMING])
def test_a_hanging_probe_does_not_make_forget_that_too_much_was_asked(was: Circuit) -> None:
    driver = Driver(slow_after=3, urgent_break=1)
    driver.overrun()
    driver.now += 5
    if was is Circuit.WARMING:
        driver.work()
    driver.permit()
    driver.now += 3
    assert not driver.ask()
    assert (driver.circuit(), driver.breaker.crowded) == (Circuit.OPEN, True)
    driver.now += 2
    assert not driver.ask(patience=0)
    driver.now += 3
    driver.work()
    assert driver.circuit() is Circuit.WARMING


@pytest.mark.parametrize("kind", [Worked, Left])
def test_nor_does_one_that_was_slow(kind: type[Worked | Left]) -> None:
    driver = Driver(slow_after=3)
    driver.overrun()
    driver.now += 5
    slow = driver.permit()
    driver.now += 3
    driver.tell(kind(slow))
    assert (driver.circuit(), driver.breaker.crowded) == (Circuit.OPEN, True)


def test_a_warming_circuit_is_closed_by_calm() -> None:
    driver = warming()
    driver.now += driver.breaker.options.sampling
    permits = [driver.permit() for _ in range(20)]
    assert driver.circuit() is Circuit.CLOSED
    assert {permit.era for permit in permits} == {driver.breaker.era}


def test_a_hanging_attempt_does_not_keep_it_warming() -> None:
    driver = warming(slow_after=3.0)
    driver.permit()
    driver.now += 3
    assert not driver.ask()
    assert driver.circuit() is Circuit.OPEN


class AnyLife(RuleBasedStateMachine):
    """Whatever comes, in whatever order and however late, these things hold."""

    @initialize(probes=st.integers(1, 3), slow=st.sampled_from([None, 3.0]), row=st.sampled_from([None, 1, 3]))
    def begin(self, probes: int, slow: float | None, row: int | None) -> None:
        self.driver = Driver(probes=probes, slow_after=slow, failures_in_a_row=row, growth=2)
        self.permits: list[Permit] = []
        self.eras = [0]

    @rule(seconds=STEPS)
    def time_passes(self, seconds: float) -> None:
        self.driver.now += seconds

    @rule(cool_down=st.sampled_from([5.0, 60.0]), patience=st.sampled_from([0.0, 2.0, math.inf]))
    def asked(self, cool_down: float, patience: float) -> None:
        before, permit = self.driver.circuit(), self.driver.ask(cool_down, patience)
        if permit:
            self.permits.append(permit)
            assert permit.era == self.driver.breaker.era
        else:
            assert self.driver.refusal
            assert self.driver.refusal.retry_in > 0
            assert before is not Circuit.CLOSED

    @rule(which=st.integers(0, 9), kind=st.sampled_from([Worked, Broke, crowded, Left]))
    @precondition(lambda self: bool(self.permits))
    def answered(self, which: int, kind: Callable[[Permit], Worked | Broke | Left]) -> None:
        permit = self.permits.pop(which % len(self.permits))
        before = self.driver.breaker
        self.driver.tell(kind(permit))
        if permit.era != before.era:
            told = kind is crowded and before.circuit is Circuit.OPEN
            assert self.driver.breaker == replace(before, crowded=before.crowded or told)

    @invariant()
    def sound(self) -> None:
        if not hasattr(self, "driver"):
            return
        breaker, now = self.driver.breaker, self.driver.now
        if breaker.circuit is Circuit.WARMING:
            assert len(breaker.probing) <= 1 + breaker.passed // FOR_ONE_MORE
        else:
            beside = breaker.probing[breaker.options.probes :]
            assert all(later.at - earlier.at >= 1 for earlier, later in pairwise(breaker.probing[-len(beside) - 1 :]))
            assert not (beside and breaker.crowded)
            assert breaker.passed < breaker.options.probes
            assert bool(breaker.probing or breaker.passed) <= (breaker.circuit is Circuit.HALF_OPEN)
        assert len(breaker.slices) <= SLICES + 1
        assert all(a.began_at < b.began_at for a, b in pairwise(breaker.slices))
        assert breaker.open_until - now <= 60
        self.eras.append(breaker.era)
        assert self.eras[-1] - self.eras[-2] in {0, 1}


AnyLife.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_any_life = pytest.mark.slow(AnyLife.TestCase)


@given(st.lists(st.tuples(STEPS, st.booleans()), max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_same_life_gives_the_same_breaker(life: list[tuple[float, bool]]) -> None:
    one, other = Driver(), Driver()
    for driver in (one, other):
        for seconds, good in life:
            driver.now += seconds
            if permit := driver.ask():
                driver.tell(Worked(permit) if good else Broke(permit))
    assert one.breaker == other.breaker


# --- the table ---


def test_the_table_moves_the_circuit_only_as_it_should() -> None:
    assert {(rule.circuit.value, rule.to.value) for rule in RULES if rule.to} == {
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "open"),
        ("half-open", "closed"),
        ("half-open", "warming"),
        ("warming", "open"),
        ("warming", "closed"),
    }


def test_every_row_can_be_reached() -> None:
    for i, row in enumerate(RULES):
        before = [r for r in RULES[:i] if (r.circuit, r.on) == (row.circuit, row.on)]
        assert all(r.when is not None for r in before), row


def test_it_is_pure() -> None:
    tree = ast.parse(inspect.getsource(module))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.Global)]
    imported = {
        name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in (a.name for a in node.names)
    }
    assert imported <= {"math", "msgspec"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("failure_ratio", 0),
        ("failure_ratio", 1.5),
        ("minimum_throughput", 1),
        ("minimum_throughput", 2.5),
        ("sampling", math.nan),
        ("failures_in_a_row", 0),
        ("slow_after", 0),
        ("slow_after", "5"),
        ("first_break", 0),
        ("urgent_break", 0),
        ("growth", 0.5),
        ("probes", 0),
        ("probes", True),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"BreakerOptions\.{field}: must be") as caught:
        BreakerOptions(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field
