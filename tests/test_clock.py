from __future__ import annotations

import time

import pytest

from voicepilot.clock import SystemClock, steady_clock


def test_now_moves_with_the_steady_clock_and_not_with_the_wall() -> None:
    steady, wall = [100.0], [1_700_000_000.0]
    clock = SystemClock(steady=lambda: steady[0], wall=lambda: wall[0])
    assert clock.now() == 1_700_000_000.0
    steady[0] += 7_200  # a machine that slept: this clock counts it
    wall[0] -= 3_600  # somebody set the time back
    assert clock.now() == 1_700_007_200.0
    assert clock.wall() == 1_699_996_400.0


@pytest.mark.parametrize(
    ("platform", "has", "expected"),
    [
        ("linux", {"CLOCK_BOOTTIME": 7}, 7),
        ("darwin", {"CLOCK_MONOTONIC": 6}, 6),
        ("linux", {"CLOCK_MONOTONIC": 6}, None),
        ("win32", {}, None),
    ],
)
def test_the_platforms_clock_that_counts_sleep_is_chosen(
    platform: str, has: dict[str, int], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        monkeypatch.delattr(time, name, raising=False)
    for name, kind in has.items():
        monkeypatch.setattr(time, name, kind, raising=False)
    monkeypatch.setattr(time, "clock_gettime", float)
    monkeypatch.setattr(time, "monotonic", lambda: -1.0)
    assert steady_clock()() == (-1.0 if expected is None else float(expected))
