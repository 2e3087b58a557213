"""What came of a world, in figures: for people as lines, for programs as data."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from voicepilot.sim.invariants import Broken
from voicepilot.sim.world import Outcome


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """How long sessions were without a valid key before they had one again, in seconds."""

    count: int
    median: float
    p95: float
    worst: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one world."""

    scenario: str
    sessions: int
    hours: float
    seed: int
    changed: Mapping[str, float]  # session options that are not at their defaults
    session_hours: float
    sessions_started: int
    starts_failed: int
    availability: float  # the share of the time in which a session had a valid key
    seconds_without_key: float
    seconds_without_key_per_session_hour: float
    lapses: int
    recovery: Recovery
    renewals: int
    rounds_failed: int
    mints: int
    retries: int  # requests that got no key
    refused_by_breaker: int
    mint_rate_mean: float  # a second
    mint_rate_peak: int  # in the busiest second
    herd_factor: float  # the busiest second against the average one
    failures: Mapping[str, int]  # attempts, by code
    ends: Mapping[str, int]  # sessions, by reason
    broken: tuple[Broken, ...]
    digest: str
    replay: str


def report_on(outcome: Outcome, *, options: Sequence[str] = ()) -> Report:
    """The figures; `options` are what else the command line was given that a replay needs."""
    plan, history = outcome.plan, outcome.history
    counts, hours = history.counts, history.live_seconds / 3_600
    mean, peak = counts["mints"] / plan.seconds, max(history.per_second.values(), default=0)
    share = history.without_key / history.live_seconds if history.live_seconds else 0.0
    return Report(
        scenario=plan.scenario.name,
        sessions=plan.sessions,
        hours=plan.hours,
        seed=plan.seed,
        changed=plan.setup.changes(),
        session_hours=round(hours, 2),
        sessions_started=counts["session-started"],
        starts_failed=counts["start SESSION_START_FAILED"],
        availability=round(1 - share, 7),
        seconds_without_key=round(history.without_key, 3),
        seconds_without_key_per_session_hour=round(history.without_key / hours, 4) if hours else 0.0,
        lapses=counts["lapses"],
        recovery=_recovery(sorted(history.recoveries)),
        renewals=counts["renewal-completed"],
        rounds_failed=counts["renewal-failed"],
        mints=counts["mints"],
        retries=counts["mints"] - counts["keys"],
        refused_by_breaker=counts["refused by the breaker"],
        mint_rate_mean=round(mean, 4),
        mint_rate_peak=peak,
        herd_factor=round(peak / max(mean, 1.0), 1),
        failures=dict(history.causes.most_common()),
        ends=dict(history.ends.most_common()),
        broken=outcome.broken,
        digest=outcome.digest,
        replay=replay(outcome, options),
    )


def replay(outcome: Outcome, options: Sequence[str] = ()) -> str:
    """The command that makes the same world again."""
    plan = outcome.plan
    asked = ["--scenario", plan.scenario.name, "--sessions", f"{plan.sessions}", "--hours", f"{plan.hours:g}"]
    return shlex.join(["voicepilot", "simulate", *asked, "--seed", f"{plan.seed}", *options])


def _recovery(times: Sequence[float]) -> Recovery:
    if not times:
        return Recovery(count=0, median=0.0, p95=0.0, worst=0.0)
    at = [times[min(len(times) - 1, int(share * len(times)))] for share in (0.5, 0.95)]
    return Recovery(count=len(times), median=round(at[0], 1), p95=round(at[1], 1), worst=round(times[-1], 1))


# --- for people ---------------------------------------------------------------------------------------------------

Fact = tuple[str, str]


def facts(report: Report) -> Iterator[Fact]:
    """What is measured, and what it is, in the order of interest."""
    back = report.recovery
    yield "session-hours", f"{report.session_hours:,.0f} in {report.sessions_started:,} sessions"
    yield "availability", f"{report.availability * 100:.4f} %"
    yield "without a valid key", f"{report.seconds_without_key_per_session_hour:.2f} s per session-hour"
    yield "lapses", f"{report.lapses:,}"
    yield (
        "recovered after",
        f"{back.median:g} s median, {back.p95:g} s p95, {back.worst:g} s worst" if back.count else "-",
    )
    yield "renewals", f"{report.renewals:,}, {report.rounds_failed:,} rounds failed"
    yield "starts failed", f"{report.starts_failed:,}"
    yield "requests", f"{report.mints:,}, of which {report.retries:,} got no key"
    yield "spared by the breaker", f"{report.refused_by_breaker:,}"
    yield "request rate", f"{report.mint_rate_mean:.2f}/s mean, {report.mint_rate_peak}/s peak"
    yield "herd factor", f"{report.herd_factor:g}"
    yield "failures", counted(report.failures)
    yield "ends", counted(report.ends)


def counted(counts: Mapping[str, int]) -> str:
    """Counts in a line, the highest first."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def lines(reports: Sequence[Report], titles: Sequence[str]) -> Iterator[str]:
    """One column for each report, side by side."""
    columns = [dict(facts(report)) for report in reports]
    wide = max(len(name) for name in columns[0])
    if len(columns) == 1:
        yield from (f"  {name:<{wide}}  {said}" for name, said in columns[0].items())
        return
    widths = [
        max(len(title), *(len(said) for said in column.values() if len(said) <= WIDEST))
        for title, column in zip(titles, columns, strict=True)
    ]
    yield f"  {'':<{wide}}  " + "  ".join(f"{title:<{width}}" for title, width in zip(titles, widths, strict=True))
    for name in columns[0]:
        said = [column[name] for column in columns]
        if max(map(len, said)) > WIDEST:
            yield from (
                f"  {name if n == 0 else '':<{wide}}  {title}: {text}"
                for n, (title, text) in enumerate(zip(titles, said, strict=True))
            )
            continue
        yield f"  {name:<{wide}}  " + "  ".join(f"{text:<{width}}" for text, width in zip(said, widths, strict=True))


WIDEST = 48
"""Characters of a column; what is longer is told below one another."""
