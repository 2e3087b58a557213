"""A circuit breaker, pure: a table of what happens in which circuit, and `step()` to take it there.

    step(breaker, given, now) -> (breaker, verdict)

`given` is `Asked` (may I?) or what came of an attempt that was let through. The verdict on `Asked` is a `Permit`, which
comes back with the result, or a `Refusal`. Nothing here waits or reads a clock; `now` is seconds on one clock that
does not go back. One breaker stands for one endpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import replace

from voicepilot.recovery.breaker_state import (
    Asked,
    Breaker,
    Broke,
    Circuit,
    Given,
    Left,
    Permit,
    Refusal,
    Slice,
    Verdict,
    Worked,
)

SLICES = 10
"""Parts that the sampling window moves in, so that a busy endpoint costs no memory."""

PROBE_WAIT = 1.0
"""Seconds after which to ask again while others probe."""

LONGEST_PROBE = 10.0
"""Seconds that a probe is thought to take where slow is fine."""

GIVEN_UP = 1.5
"""Seconds after which an attempt that is abandoned has failed: somebody's time for an answer was up. A probe has not:
that would say more of how little time there was than of the endpoint."""

FOR_ONE_MORE = 5
"""Successes for which a warming circuit lets one more attempt through at a time: what a sudden refusal finds under way
is then never more than a fifth of what worked."""

WARM = 100
"""Successes after which a warming circuit lets all through again."""


Outcome = tuple[Breaker, Verdict]


# --- guards -------------------------------------------------------------------------------------------------------


def in_time(breaker: Breaker, given: Worked | Broke | Left, _: float) -> bool:
    """It belongs to this era, and is not the late result of an earlier one."""
    return given.permit.era == breaker.era


def too_many(breaker: Breaker, given: Broke, now: float) -> bool:
    """With this failure, too much has failed."""
    if not in_time(breaker, given, now):
        return False
    options, (good, bad) = breaker.options, totals(_counted(breaker, now, bad=1))
    if options.failures_in_a_row is not None and breaker.in_a_row + 1 >= options.failures_in_a_row:
        return True
    return good + bad >= options.minimum_throughput and bad / (good + bad) >= options.failure_ratio


def still_broken(breaker: Breaker, _: Asked, now: float) -> bool:
    """The break is not over."""
    return now < breaker.open_until


def cannot_wait(breaker: Breaker, given: Asked, now: float) -> bool:
    """The break is longer than whoever asks can wait, some of it is over, and it is not that too much was asked."""
    return _is_urgent(given, breaker.open_until, now) and now >= _urgent_from(breaker, breaker.open_since)


def break_goes_on(breaker: Breaker, given: Left, now: float) -> bool:
    """It came before the end of the break, and no other probe is under way or has worked."""
    alone = breaker.probing == (given.permit,) and not breaker.passed
    return in_time(breaker, given, now) and alone and now < breaker.open_until


def probes_are_slow(breaker: Breaker, given: Asked, now: float) -> bool:
    """The probes may take longer than whoever asks can wait, the latest is not new, and not too much was asked."""
    return _is_urgent(given, _given_up(breaker), now) and now >= _urgent_from(breaker, breaker.probed_at)


def probe_hangs(breaker: Breaker, _: Asked, now: float) -> bool:
    """A probe is slower than is allowed, so it has failed, even if it never ends."""
    slow = breaker.options.slow_after
    return slow is not None and any(now - permit.at >= slow for permit in breaker.probing)


def has_room(breaker: Breaker, given: Asked, now: float) -> bool:
    """Fewer probes than allowed have been made, and the break is over, or longer than whoever asks can wait."""
    room = len(breaker.probing) + breaker.passed < breaker.options.probes
    return room and (not still_broken(breaker, given, now) or _is_urgent(given, breaker.open_until, now))


def last_probe(breaker: Breaker, given: Worked, now: float) -> bool:
    """With this one, as many probes as must have succeeded."""
    return in_time(breaker, given, now) and breaker.passed + 1 >= breaker.options.probes


def last_of_crowd(breaker: Breaker, given: Worked, now: float) -> bool:
    """With this one, as many probes as must have succeeded, and what opened the circuit was that too much was asked."""
    return breaker.crowded and last_probe(breaker, given, now)


def wants_rest(_: Breaker, given: Broke, __: float) -> bool:
    """It is asked too much, however late that is told."""
    return given.crowded


def calm(breaker: Breaker, _: Asked, now: float) -> bool:
    """Nothing has failed for as long as the window is."""
    return now - breaker.warm_since >= breaker.options.sampling


def has_warm_room(breaker: Breaker, _: Asked, __: float) -> bool:
    """Fewer are under way than what has worked so far allows."""
    return len(breaker.probing) < 1 + breaker.passed // FOR_ONE_MORE


def too_much_again(breaker: Breaker, given: Broke, now: float) -> bool:
    """It is asked too much again, or with this failure too much has failed."""
    return in_time(breaker, given, now) and (given.crowded or too_many(breaker, given, now))


def warm(breaker: Breaker, given: Worked, now: float) -> bool:
    """Enough have worked."""
    return in_time(breaker, given, now) and breaker.passed + 1 >= WARM


# --- actions ------------------------------------------------------------------------------------------------------


def admit(breaker: Breaker, given: Asked, now: float) -> Outcome:
    """Let it through."""
    return breaker, Permit(breaker.era, now, given.cool_down)


def count_good(breaker: Breaker, _: Worked, now: float) -> Outcome:
    """Note the success."""
    return replace(breaker, slices=_counted(breaker, now, good=1), in_a_row=0, crowded=False), None


def count_bad(breaker: Breaker, given: Broke, now: float) -> Outcome:
    """Note the failure."""
    crowded = breaker.crowded or given.crowded
    return replace(breaker, slices=_counted(breaker, now, bad=1), in_a_row=breaker.in_a_row + 1, crowded=crowded), None


def trip(breaker: Breaker, given: Broke, now: float) -> Outcome:
    """Let nothing through until the break is over."""
    broken = _broken(breaker, given.permit.cool_down, given.code, now)
    return replace(broken, crowded=broken.crowded or given.crowded), None


def trip_again(breaker: Breaker, given: Broke, now: float) -> Outcome:
    """Let nothing through until the break is over; what the probe met is why."""
    return trip(replace(breaker, crowded=False), given, now)


def heed(breaker: Breaker, _: Broke, __: float) -> Outcome:
    """Let nobody through before the end of the break."""
    return replace(breaker, crowded=True), None


def refuse(breaker: Breaker, given: Asked, now: float) -> Outcome:
    """Say when to ask again: when the break is over, or when whoever cannot wait so long may probe."""
    at = min(breaker.open_until, max(now + given.patience, _urgent_from(breaker, breaker.open_since)))
    return breaker, Refusal(at - now, breaker.cause)


def probe(breaker: Breaker, given: Asked, now: float) -> Outcome:
    """Let it through as a probe."""
    permit = Permit(breaker.era, now, given.cool_down)
    return replace(breaker, probing=(*breaker.probing, permit), probed_at=now), permit


def ask_later(breaker: Breaker, _: Asked, __: float) -> Outcome:
    """Wait for what those under way find."""
    return breaker, Refusal(PROBE_WAIT, breaker.cause)


def await_probes(breaker: Breaker, given: Asked, now: float) -> Outcome:
    """Say when to ask again: soon, or when whoever cannot wait for the probes may probe beside them."""
    wait = max(given.patience, _urgent_from(breaker, breaker.probed_at) - now)
    return breaker, Refusal(min(PROBE_WAIT, wait), breaker.cause)


def give_up_probe(breaker: Breaker, given: Asked, now: float) -> Outcome:
    """Count the hanging probe as failed, and refuse."""
    return refuse(_broken(breaker, breaker.probing[0].cool_down, breaker.cause, now), given, now)


def pass_probe(breaker: Breaker, given: Worked, now: float) -> Outcome:
    """One fewer to wait for."""
    counted, _ = count_good(_without(breaker, given.permit), given, now)
    return replace(counted, passed=breaker.passed + 1, crowded=breaker.crowded), None  # one is not yet enough


def fail_warm(breaker: Breaker, given: Broke, now: float) -> Outcome:
    """Note the failure; it is calm only from now on."""
    return count_bad(replace(_without(breaker, given.permit), warm_since=now), given, now)


def free_probe(breaker: Breaker, given: Left, _: float) -> Outcome:
    """It told nothing, so another may probe in its place."""
    return _without(breaker, given.permit), None


def resume_break(breaker: Breaker, given: Left, _: float) -> Outcome:
    """It told nothing; whoever cannot wait may probe in its place, but no sooner than after a failure."""
    return replace(_without(breaker, given.permit), open_since=breaker.probed_at), None


def close(breaker: Breaker, _: Worked, __: float) -> Outcome:
    """Forget the failures."""
    return Breaker(options=breaker.options, circuit=breaker.circuit, era=breaker.era), None


def warm_up(breaker: Breaker, _: Worked, now: float) -> Outcome:
    """Let through one at a time, and ever more; if that fails, the next break is a first one."""
    return replace(breaker, probing=(), passed=0, breaks=0, warm_since=now), None


def close_and_admit(breaker: Breaker, given: Asked, now: float) -> Outcome:
    """Forget the failures, and let it through."""
    return admit(close(breaker, Worked(Permit(breaker.era, now, 0.0)), now)[0], given, now)


class Rule(NamedTuple):
    """In this circuit, when this happens, and if the guard agrees: do, and be in that circuit."""

    circuit: Circuit
    on: type[Given]
    do: Callable[[Breaker, Any, float], Outcome]
    to: Circuit | None = None
    when: Callable[[Breaker, Any, float], bool] | None = None


CLOSED, OPEN, HALF_OPEN, WARMING = Circuit

# fmt: off
RULES: tuple[Rule, ...] = (
    Rule(CLOSED,    Asked,  admit),
    Rule(CLOSED,    Worked, count_good,    None,      in_time),
    Rule(CLOSED,    Broke,  trip,          OPEN,      too_many),
    Rule(CLOSED,    Broke,  count_bad,     None,      in_time),

    Rule(OPEN,      Asked,  probe,         HALF_OPEN, cannot_wait),
    Rule(OPEN,      Asked,  refuse,        None,      still_broken),
    Rule(OPEN,      Asked,  probe,         HALF_OPEN),
    Rule(OPEN,      Broke,  heed,          None,      wants_rest),

    Rule(HALF_OPEN, Asked,  give_up_probe, OPEN,      probe_hangs),
    Rule(HALF_OPEN, Asked,  probe,         None,      has_room),
    Rule(HALF_OPEN, Asked,  probe,         None,      probes_are_slow),
    Rule(HALF_OPEN, Asked,  await_probes),
    Rule(HALF_OPEN, Worked, warm_up,       WARMING,   last_of_crowd),
    Rule(HALF_OPEN, Worked, close,         CLOSED,    last_probe),
    Rule(HALF_OPEN, Worked, pass_probe,    None,      in_time),
    Rule(HALF_OPEN, Broke,  trip_again,    OPEN,      in_time),
    Rule(HALF_OPEN, Left,   resume_break,  OPEN,      break_goes_on),
    Rule(HALF_OPEN, Left,   free_probe,    None,      in_time),

    Rule(WARMING,   Asked,  close_and_admit, CLOSED,  calm),
    Rule(WARMING,   Asked,  give_up_probe, OPEN,      probe_hangs),
    Rule(WARMING,   Asked,  probe,         None,      has_warm_room),
    Rule(WARMING,   Asked,  ask_later),
    Rule(WARMING,   Worked, close,         CLOSED,    warm),
    Rule(WARMING,   Worked, pass_probe,    None,      in_time),
    Rule(WARMING,   Broke,  trip,          OPEN,      too_much_again),
    Rule(WARMING,   Broke,  fail_warm,     None,      in_time),
    Rule(WARMING,   Left,   free_probe,    None,      in_time),
)
"""The first row that fits wins. A result that fits none is late, or says nothing, and changes nothing."""
# fmt: on


def step(breaker: Breaker, given: Given, now: float) -> Outcome:
    """What becomes of the breaker when `given` happens at `now`, and the answer if somebody asked."""
    given = judged(breaker, given, now)
    for rule in RULES:
        if rule.circuit is not breaker.circuit or rule.on is not type(given):
            continue
        if rule.when is None or rule.when(breaker, given, now):
            if rule.to is not None:  # the one place where the circuit is written
                breaker = replace(breaker, circuit=rule.to, era=breaker.era + 1)
            return rule.do(breaker, given, now)
    return breaker, None


def judged(breaker: Breaker, given: Given, now: float) -> Given:
    """`given`, seen with the eyes of somebody who waits: what was too slow has failed, also if it was abandoned."""
    slow = breaker.options.slow_after
    if slow is None or not isinstance(given, Worked | Left):
        return given
    if isinstance(given, Left) and breaker.circuit is Circuit.CLOSED:
        slow = min(slow, GIVEN_UP)
    if now - given.permit.at < slow:
        return given
    return Broke(given.permit, "SLOW", crowded=breaker.crowded and breaker.circuit is Circuit.HALF_OPEN)


def totals(slices: tuple[Slice, ...]) -> tuple[int, int]:
    """Successes and failures in the window."""
    return sum(part.good for part in slices), sum(part.bad for part in slices)


def _is_urgent(given: Asked, until: float, now: float) -> bool:
    """Whether whoever asks loses something by waiting until then."""
    return given.patience < until - now


def _urgent_from(breaker: Breaker, since: float) -> float:
    """When who cannot wait may probe, where the last failure or probe was then."""
    rest = breaker.options.urgent_break
    return math.inf if rest is None or breaker.crowded else since + rest


def _given_up(breaker: Breaker) -> float:
    """When the oldest probe counts as failed."""
    return breaker.probing[0].at + (breaker.options.slow_after or LONGEST_PROBE)


def _counted(breaker: Breaker, now: float, *, good: int = 0, bad: int = 0) -> tuple[Slice, ...]:
    window, slices = breaker.options.sampling, breaker.slices
    if not slices or now - slices[-1].began_at >= window / SLICES:
        slices = (*slices, Slice(now))
    last = slices[-1]
    slices = (*slices[:-1], Slice(last.began_at, last.good + good, last.bad + bad))
    return tuple(part for part in slices if now - part.began_at < window)


def _broken(breaker: Breaker, cool_down: float, cause: str | None, now: float) -> Breaker:
    options, breaks, until = breaker.options, breaker.breaks, breaker.open_until
    if now >= until:  # else a probe that could not wait has failed, and the break is what it was
        grown = options.first_break * options.growth ** min(breaks, 64)
        breaks, until = breaks + 1, now + min(grown, max(cool_down, options.first_break))
    return Breaker(
        options=options,
        circuit=breaker.circuit,
        era=breaker.era,
        breaks=breaks,
        open_since=now,
        open_until=until,
        crowded=breaker.crowded,
        cause=cause,
    )


def _without(breaker: Breaker, permit: Permit) -> Breaker:
    left = list(breaker.probing)
    left.remove(permit)
    return replace(breaker, probing=tuple(left))
