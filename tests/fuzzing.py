"""What the fuzz tests share: how much they try, and a tally of it that the run prints.

`VOICEPILOT_FUZZ=60` makes each test try sixty times as much: see `make fuzz`.
"""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import voicepilot

TIMES = int(os.environ.get("VOICEPILOT_FUZZ", "1"))

Tally = Callable[[str, int], None]


def fuzzed(examples: int) -> settings:
    """For a test that tries this much in `make test`."""
    return settings(
        max_examples=examples * TIMES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


@contextmanager
def little_kept(most: int) -> Iterator[None]:
    """Fail when voicepilot still holds more than `most` bytes of what it allocated in this block."""
    tracemalloc.start()
    try:
        yield
        gc.collect()
        ours = tracemalloc.Filter(inclusive=True, filename_pattern=f"{Path(voicepilot.__file__).parent}/*")
        held = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([ours]).traces)
    finally:
        tracemalloc.stop()
    assert held < most


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Count what was tried, by what it is called."""
    counts: dict[str, int] = {}
    request.node.user_properties.append(("fuzzed", counts))

    def count(what: str, number: int) -> None:
        counts[what] = counts.get(what, 0) + number

    return count


def pytest_terminal_summary(terminalreporter: Any) -> None:  # Any: pytest does not promise the reporter's type
    total: Counter[str] = Counter()
    for counts in _counted(terminalreporter.stats):
        total.update(counts)
    if total:
        said = ", ".join(f"{number:,} {what}" for what, number in sorted(total.items()))
        terminalreporter.write_line(f"fuzzed: {said}; {total.total():,} in all")


def _counted(stats: dict[str, list[Any]]) -> Iterator[dict[str, int]]:
    for report in (*stats.get("passed", ()), *stats.get("failed", ())):
        if report.when == "call":
            yield from (value for name, value in report.user_properties if name == "fuzzed")
