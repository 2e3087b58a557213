"""`voicepilot doctor`: what stands between this machine and a session, for people or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from voicepilot.cli.codes import FAILED, USAGE
from voicepilot.cli.running import Stopper, run
from voicepilot.cli.screen import Line, open_screen
from voicepilot.config import ProviderSettings, Settings
from voicepilot.credentials.doctor import CheckResult, examine, healthy

TONES = {"pass": "good", "warn": "bad", "fail": "bad", "skipped": "dim"}
OURS_TO_SET = frozenset({"settings", "credential"})


def doctor(*, as_json: bool, timeout: float, **given: Any) -> int:  # Any: the keywords of Settings.load
    """Examine, show, and tell by the exit code: 0 healthy, 2 when settings or credential must change first, else 1."""

    async def command(stopper: Stopper) -> int:
        results = await examine(_loader(given), timeout=timeout)
        screen = open_screen(stopper.lost, plain=as_json)
        for line in [Line(json_report(results))] if as_json else report(results):
            screen.write(line)
        return code_of(results)

    return run(command)


def _loader(given: dict[str, Any]) -> Callable[[], ProviderSettings]:
    return lambda: Settings.load(**given).provider


def code_of(results: tuple[CheckResult, ...]) -> int:
    """The exit code for what was found."""
    failed = {result.name for result in results if result.status == "fail"}
    if not failed:
        return 0
    return USAGE if failed & OURS_TO_SET else FAILED


def json_report(results: tuple[CheckResult, ...]) -> str:
    """For programs."""
    return msgspec.json.encode({"healthy": healthy(results), "checks": results}).decode()


def report(results: tuple[CheckResult, ...]) -> Iterator[Line]:
    """For people: a line for each check, with what to do under those that did not pass."""
    width = max((len(result.name) for result in results), default=0)
    for result in results:
        said = result.detail.replace("\n", "\n" + " " * (width + 11))
        yield Line(f"{result.status:<7}  {result.name:<{width}}  {said}", TONES[result.status])
        if result.remedy:
            yield Line(f"{'':<7}  {'':<{width}}  {result.remedy}", TONES[result.status])
    yield Line("")
    if not healthy(results):
        yield Line("Something must be put right before sessions can be started.", "bad")
    else:
        yield Line("Sessions can be started.", "good")
