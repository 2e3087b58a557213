"""Worlds in which something was broken once; each must be sound for ever. `make simulate` prints the row to add.

Each names the fault that brings it back, so that a test shows that the world would tell.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.sim.planting import Planted


class Regression(NamedTuple):
    """A world, what was wrong in it, and how the code was then."""

    scenario: str
    sessions: int
    hours: float
    seed: int
    was: str
    fault: Planted


REGRESSIONS = (
    Regression(
        "laptop-lids",
        10,
        1.5,
        35,
        "a machine that slept with a key's answer on its way took the key for fresh",
        Planted(
            "a key does not age while the machine sleeps",
            "voicepilot.credentials.service",
            "max(0.0, self._time_asleep() - slept)",
            "0.0",
            "laptop-lids",
            frozenset({"key-not-overrated"}),
        ),
    ),
    Regression(
        "rate-limit-storm",
        60,
        1,
        10,
        "after a rate limit all who had waited came back at once: five requests for each key",
        Planted(
            "a circuit does not warm up",
            "voicepilot.recovery.breaker",
            "return breaker.crowded and",
            "return False and",
            "rate-limit-storm",
            frozenset({"storm-is-calm"}),
        ),
    ),
    Regression(
        "short-outages",
        70,
        5.5,
        21,
        "a probe that was answered slowly held everybody up whose key was about to lapse",
        Planted(
            "nobody probes beside a slow probe",
            "voicepilot.recovery.breaker",
            "now >= _urgent_from(breaker, breaker.probed_at)",
            "False",
            "short-outages",
            frozenset({"no-needless-gap"}),
        ),
    ),
    Regression(
        "herd",
        600,
        0.34,
        3,
        "the second renewals came together again, because CRC-32 is linear",
        Planted(
            "the shares of one session depend on one another",
            "voicepilot.lifecycle.deadlines",
            "    return int.from_bytes(digest) / 2**64",
            '    return __import__("zlib").crc32(f"{session_id}/{number}".encode()) / 2**32',
            "herd",
            frozenset({"herd-is-spread"}),
        ),
    ),
)
