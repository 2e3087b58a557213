"""`voicepilot simulate`: what a day at the provider does to these settings, before it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import msgspec

from voicepilot.cli.codes import FAILED
from voicepilot.cli.screen import wants_table
from voicepilot.config import Settings
from voicepilot.errors import ConfigurationError, VoicePilotError
from voicepilot.sim import SCENARIOS, Outcome, Plan, Report, Setup, report_on, scenario_named, simulate
from voicepilot.sim.picture import page
from voicepilot.sim.report import lines
from voicepilot.sim.setup import option_named


class Variant(NamedTuple):
    """One of the settings that are compared."""

    title: str
    setup: Setup
    options: tuple[str, ...]  # of the command line, for a replay


def simulate_days(
    *,
    scenario: str,
    sessions: int,
    hours: float,
    seed: int,
    as_json: bool,
    html: str | None,
    compare: str | None,
    config_file: str | None,
) -> int:
    """Run the worlds, show what came of them, and tell by the exit code whether every invariant held."""
    plan = Plan(scenario=scenario_named(scenario), sessions=sessions, hours=hours, seed=seed)
    chosen = () if config_file is None else ("--config", config_file)
    variants = variants_of(compare, _setup(config_file), chosen)
    with _page_file(html) as file:
        began = time.monotonic()
        outcomes = [_run(plan, variant, bar=not as_json and wants_table()) for variant in variants]
        took = time.monotonic() - began
        reports = [
            report_on(outcome, options=variant.options) for outcome, variant in zip(outcomes, variants, strict=True)
        ]
        titles = [variant.title for variant in variants]
        if file is not None:
            file.write(page(outcomes, reports, titles))
    if as_json:
        print(msgspec.json.encode({"reports": reports}).decode())
    else:
        _show(plan, reports, titles, took)
    return FAILED if any(report.broken for report in reports) else 0


def list_scenarios() -> int:
    """Say which scenarios there are."""
    wide = max(map(len, SCENARIOS))
    for scenario in SCENARIOS.values():
        print(f"{scenario.name:<{wide}}  {scenario.description}")
    return 0


def variants_of(compare: str | None, setup: Setup, chosen: tuple[str, ...]) -> list[Variant]:
    """The settings as they are, or one variant for each value of `option=value,value`. Raises ConfigurationError."""
    if compare is None:
        return [Variant("", setup, chosen)]
    name, separator, values = compare.partition("=")
    option = option_named(name)
    if not separator or not values.strip():
        raise _not_comparable(compare, "values are missing")
    variants = []
    for text in values.split(","):
        try:
            value = float(text)
        except ValueError:
            raise _not_comparable(compare, f"{text.strip() or 'nothing'} is not a number") from None
        title = f"{option}={value:g}"
        variants.append(Variant(title, setup.changed(option, value), (*chosen, "--compare", title)))
    return variants


def _not_comparable(given: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"--compare {given}: {why}",
        field="compare",
        remediation="Give a session option and the values to compare, such as --compare margin=10,30.",
    )


def _setup(config_file: str | None) -> Setup:
    settings = Settings.load(config_file=config_file)
    return Setup(
        config=settings.session_config(),
        policies=settings.retry_policies(),
        breaker=settings.breaker_options(),
        concurrent_mints=settings.provider.max_concurrent_mints,
    )


@contextmanager
def _page_file(name: str | None) -> Iterator[TextIO | None]:
    """The file for the picture, opened before the work, so that a wrong name costs no time."""
    if name is None:
        yield None
        return
    try:
        file = Path(name).open("w", encoding="utf-8")  # noqa: SIM115 - it is closed below
    except OSError as error:
        raise VoicePilotError(
            f"--html {name}: {error.strerror}", remediation="Name a file in a directory that can be written."
        ) from error
    with file:
        yield file


def _run(plan: Plan, variant: Variant, *, bar: bool) -> Outcome:
    plan = msgspec.structs.replace(plan, setup=variant.setup)
    if not bar:
        return simulate(plan)
    from voicepilot.cli import render  # noqa: PLC0415 - only in a terminal

    with render.progress(variant.title or plan.scenario.name) as moved:
        return simulate(plan, moved)


def _show(plan: Plan, reports: Sequence[Report], titles: Sequence[str], took: float) -> None:
    first = reports[0]
    print(f"{plan.scenario.name}: {plan.scenario.description}")
    compared = {title.partition("=")[0] for title in titles}
    changed = "".join(f", {name} {value:g}" for name, value in first.changed.items() if name not in compared)
    print(f"{plan.sessions} sessions, {plan.hours:g} hours, seed {plan.seed}{changed}\n")
    for line in lines(reports, titles):
        print(line.rstrip())
    print()
    hours = sum(report.session_hours for report in reports)
    print(f"{hours:,.0f} session-hours took {took:.1f} s")
    for report in reports:
        _judgement(report)


def _judgement(report: Report) -> None:
    if not report.broken:
        print(f"Every invariant held. Digest {report.digest}. Again: {report.replay}")
        return
    print(f"BROKEN, with seed {report.seed}:")
    for each in report.broken:
        print(f"  {each.invariant} at {each.at:.1f} s {each.session}: {each.detail}")
    print(f"Again: {report.replay}")
