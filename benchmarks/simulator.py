"""How many hours of sessions the simulator gets through in a second of one core, everything checked all the time."""

from __future__ import annotations

import asyncio
import time

from benchmarks.measure import spread
from benchmarks.table import Row, Rows, run
from voicepilot.sim import Plan, report_on, scenario_named, simulate

SESSIONS = 50
HOURS = 1.0
ROUNDS = 5


def session_hours(scenario: str, seed: int) -> float:
    """Session-hours for a second of processor time."""
    plan = Plan(scenario=scenario_named(scenario), sessions=SESSIONS, hours=HOURS, seed=seed)
    began = time.process_time()
    outcome = simulate(plan)
    took = time.process_time() - began
    assert not outcome.broken
    return report_on(outcome).session_hours / took


async def rows() -> Rows:
    """A day on which all is well, and a bad one. The simulator has its own event loop, so it gets a thread."""
    found = []
    for scenario in ("calm-day", "provider-bad-day"):
        await asyncio.to_thread(session_hours, scenario, 1)  # to warm up
        speeds = spread([await asyncio.to_thread(session_hours, scenario, seed) for seed in range(1, ROUNDS + 1)])
        found.append(
            Row(
                what=f"simulator, {scenario}: session-hours",
                ours=speeds.middle,
                unit="/s",
                beside_what=f"– ({speeds.low:,.0f} to {speeds.high:,.0f})",
            )
        )
    return found


if __name__ == "__main__":
    run(rows)
