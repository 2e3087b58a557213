"""`python -m tests.soak [--minutes 30]`: sessions and conversations for so long, in real time, against faults.

Prints its figures and writes a picture. Exit code 1 if anything grew, a session was without a key, or was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tests.soak.callers import Callers
from tests.soak.plot import picture
from tests.soak.samples import MEASURED, MOST_GROWTH, Sample, growth, sample, trim
from tests.soak.validity import Validity

from voicepilot import SessionManager
from voicepilot.privacy.ledger import REMEMBERED

EVERY = 5.0  # seconds between two samples
COLLECTED = 12  # samples from one full garbage collection to the next
SHORTEST_WARM_UP = 150.0  # seconds: every session of the first generation is over by then
ENDED_EACH_SECOND = 1 / 80  # by each caller, on average


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a soak found."""

    at: datetime
    minutes: float
    sessions: int
    conversations: int
    warm_up: float
    growth: dict[str, float]
    counted: dict[str, int]
    provider: Validity
    left: list[str]  # tasks after dispose
    samples: list[Sample]

    def problems(self) -> list[str]:
        """What should not have been."""
        grew = [f"{what} grew by {share:.2%}" for what, share in self.growth.items() if share >= MOST_GROWTH]
        gaps = [f"{len(self.provider.gaps)} sessions were without a key"] if self.provider.gaps else []
        lost = [f"{what}: {count}" for what, count in self.counted.items() if what.startswith(("failed", "not active"))]
        silent = [f"{count} turns unanswered"] if (count := self.counted.get("unanswered", 0)) else []
        return [*grew, *gaps, *lost, *silent, *(f"left behind: {name}" for name in self.left)]

    def text(self) -> str:
        """For people."""
        first, last = self.samples[0], self.samples[-1]
        size = f"{self.sessions} sessions and {self.conversations} conversations for {self.minutes:g} minutes"
        lines = [
            f"{size}, {self.at:%Y-%m-%d %H:%M} UTC",
            *(
                f"  {what:<12} {getattr(first, what):10,.0f} at first, {getattr(last, what):10,.0f} at last; "
                f"{share:+.2%} after {self.warm_up:.0f} s"
                for what, share in self.growth.items()
            ),
            f"  mints        {self.provider.mints}",
            f"  sockets      {self.provider.opened} opened, refused {self.provider.refused}",
            f"  without key  {sum(self.provider.gaps.values()):.1f} s of {len(self.provider.until):,} sessions",
            f"  counted      {self.counted}",
        ]
        return "\n".join([*lines, *(f"PROBLEM: {problem}" for problem in self.problems())])


BREAKS = {"breaker_first_break": 1.0, "retry_cool_down": 5}
"""Seconds that the breaker rests at first and at most: its defaults are made for keys of 600 s, these live 30."""


async def soak(base_url: str, chosen: argparse.Namespace, warm_up: float) -> tuple[Callers, list[Sample], list[str]]:
    """Hold everything for the time chosen; what was counted and measured, and the tasks left behind."""
    began = time.monotonic()
    samples: list[Sample] = []
    everybody = chosen.sessions + chosen.conversations
    manager = SessionManager.from_settings(base_url=base_url, max_concurrent_sessions=everybody + 10, **BREAKS)
    callers = Callers(manager, chosen.seed)
    async with manager, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(callers.hold(number, talking=number >= chosen.sessions)) for number in range(everybody)
        ]
        while (passed := time.monotonic() - began) < chosen.minutes * 60:
            if len(samples) % COLLECTED == 0:
                gc.collect()  # what waits for the collector is let go of, and comes and goes with its rhythm
            trim()
            samples.append(sample(passed))
            shown = f"{passed:6.0f} s  {samples[-1].memory:7.1f} MB  {samples[-1].tasks:6} tasks"
            print(f"{shown}  {samples[-1].sockets:5} sockets{'  (warm-up)' if passed < warm_up else ''}", flush=True)
            await asyncio.sleep(EVERY)
        for task in tasks:
            task.cancel()
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return callers, samples, left


def main() -> int:
    """Start the provider, soak, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--sessions", type=int, default=2_000)
    parser.add_argument("--conversations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("soak"), help="folder of the picture and the figures")
    chosen = parser.parse_args()
    full = 1.25 * REMEMBERED / (ENDED_EACH_SECOND * (chosen.sessions + chosen.conversations))
    warm_up = max(SHORTEST_WARM_UP, chosen.minutes * 60 / 6, min(full, chosen.minutes * 60 / 3))
    if chosen.minutes * 60 < warm_up * 1.5:
        parser.error(f"the warm-up alone is {warm_up:.0f} s: choose at least --minutes {warm_up * 1.5 / 60:.1f}")
    os.environ["OPENAI_API_KEY"] = "sk-soak-0123456789"
    everybody = chosen.sessions + chosen.conversations
    command = [sys.executable, "-m", "tests.soak.provider", str(everybody), str(chosen.seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as provider:
        assert provider.stdout is not None
        try:
            ready = msgspec.json.decode(provider.stdout.readline())
            callers, samples, left = asyncio.run(soak(ready["base_url"], chosen, warm_up))
        finally:
            provider.send_signal(signal.SIGTERM)
        seen = msgspec.json.decode(provider.stdout.read(), type=Validity)
    report = Report(
        at=datetime.now(UTC),
        minutes=chosen.minutes,
        sessions=chosen.sessions,
        conversations=chosen.conversations,
        warm_up=warm_up,
        growth={what: growth(samples, what, warm_up) for what in MEASURED},
        counted=dict(sorted(callers.counted.items())),
        provider=seen,
        left=left,
        samples=samples,
    )
    print(report.text())
    chosen.output.mkdir(exist_ok=True)
    (chosen.output / "soak.json").write_bytes(msgspec.json.encode(report))
    (chosen.output / "soak.svg").write_text(picture(samples, warm_up, report.text().splitlines()[0]), encoding="utf-8")
    print(f"The picture is {chosen.output / 'soak.svg'}.")
    return int(bool(report.problems()))


if __name__ == "__main__":
    raise SystemExit(main())
