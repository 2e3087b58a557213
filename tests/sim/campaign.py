"""`make simulate`: worlds of every kind on all cores, seed after seed, until a million session-hours are lived.

    HOURS=20000 SEED=500 python -m tests.sim.campaign

Prints what is done so far, at the end a table, and for every world in which something was broken the command that
replays it and the row for tests/sim/regressions.py. Exit code 1 if there was one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count, islice

import msgspec

from voicepilot.sim import SCENARIOS, Plan, Report, report_on, scenario_named, simulate

SIZE, SIZES = (100, 10.0), {"herd": (1_000, 1.0)}
"""Sessions and hours of one world; a herd is one only when it is large."""

ENDS = (signal.SIGINT, signal.SIGTERM)

EVERY = 60.0
"""Seconds between two lines about how far it is."""


class Tally(msgspec.Struct):
    """What came of the worlds of one kind."""

    worlds: int = 0
    session_hours: float = 0.0
    seconds: float = 0.0  # of one core
    renewals: int = 0
    without_key: float = 0.0
    broken: int = 0


def live(scenario: str, seed: int) -> tuple[Report, float]:
    """One world, and the seconds of this core that it took."""
    began = time.process_time()
    sessions, hours = SIZES.get(scenario, SIZE)
    plan = Plan(scenario=scenario_named(scenario), sessions=sessions, hours=hours, seed=seed, most_broken=3)
    report = report_on(simulate(plan))
    return report, time.process_time() - began


def worlds(first_seed: int) -> Iterator[tuple[str, int]]:
    """Every scenario with each seed."""
    return ((scenario, seed) for seed in count(first_seed) for scenario in SCENARIOS)


def main() -> int:
    """Live, and say what was found; Ctrl-C or SIGTERM end it early, with the table of what was done."""
    for number in ENDS:  # a job in the background begins with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    wanted, first_seed = float(os.environ.get("HOURS", "1000000")), int(os.environ.get("SEED", "1"))
    tallies = {name: Tally() for name in SCENARIOS}
    began = time.monotonic()
    with ProcessPoolExecutor(initializer=ignore_ends) as pool:
        try:
            live_all(pool, worlds(first_seed), tallies, wanted)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
    show(tallies, time.monotonic() - began)
    return 1 if any(tally.broken for tally in tallies.values()) else 0


def ignore_ends() -> None:
    """They are for the parent: a world under way is lived to its end."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)


def live_all(
    pool: ProcessPoolExecutor, coming: Iterator[tuple[str, int]], tallies: dict[str, Tally], wanted: float
) -> None:
    """World after world, until so many session-hours are lived."""
    began, told = time.monotonic(), 0.0
    ahead = 2 * (os.cpu_count() or 1)
    running: set[Future[tuple[Report, float]]] = {pool.submit(live, *each) for each in islice(coming, ahead)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            note(tallies, *future.result())
        lived = sum(tally.session_hours for tally in tallies.values())
        if lived < wanted:
            running |= {pool.submit(live, *each) for each in islice(coming, len(done))}
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            left = max(0.0, wanted - lived) * (told - began) / max(lived, 1.0) / 60
            print(f"{lived:,.0f} of {wanted:,.0f} session-hours, {left:.0f} minutes to go", flush=True)


def note(tallies: dict[str, Tally], report: Report, seconds: float) -> None:
    """Add a world, and tell at once if something was broken."""
    tally = tallies[report.scenario]
    tally.worlds += 1
    tally.session_hours += report.session_hours
    tally.seconds += seconds
    tally.renewals += report.renewals
    tally.without_key += report.seconds_without_key
    if report.broken:
        tally.broken += 1
        first = report.broken[0]
        print(f"BROKEN {first.invariant}: {first.detail}\n  {report.replay}")
        said = f'Regression("{report.scenario}", {report.sessions}, {report.hours:g}, {report.seed}, "…", Planted(…)),'
        print(f"  {said}", flush=True)


def show(tallies: dict[str, Tally], took: float) -> None:
    """The table."""
    print(
        f"\n{'scenario':<22}{'worlds':>8}{'session-h':>12}{'renewals':>12}{'s/session-h':>13}{'h/s/core':>10}{'broken':>8}"
    )
    whole = Tally()
    for name, tally in [*tallies.items(), ("all", whole)]:
        hours = max(tally.session_hours, 1e-9)
        print(
            f"{name:<22}{tally.worlds:>8,}{tally.session_hours:>12,.0f}{tally.renewals:>12,}"
            f"{tally.without_key / hours:>13.3f}{hours / max(tally.seconds, 1e-9):>10.0f}{tally.broken:>8}"
        )
        if tally is not whole:
            for field in tally.__struct_fields__:
                setattr(whole, field, getattr(whole, field) + getattr(tally, field))
    print(f"in {took / 60:.1f} minutes")


if __name__ == "__main__":
    sys.exit(main())
