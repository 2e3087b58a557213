"""`get_current_session` among 100,000 sessions, beside the same among 10."""

from __future__ import annotations

from benchmarks.measure import Sample, each, in_turn
from benchmarks.table import Row, Rows, run
from benchmarks.world import MANY, a_manager, start
from voicepilot import SessionManager

CALLS = 50_000
ROUNDS = 15
NOISE = 0.1
"""How far the median ratio may be from 1."""


def asked(manager: SessionManager) -> Sample:
    """Ask, again and again."""

    async def ask(calls: int) -> None:
        current = manager.get_current_session
        for _ in range(calls):
            current()

    return each(CALLS, ask)


async def rows() -> Rows:
    """The same question to two managers in one process."""
    async with a_manager() as small, a_manager() as large:
        await start(small, 10)
        await start(large, MANY)
        found = await in_turn(asked(large), asked(small), rounds=ROUNDS)
    return (
        Row(
            what="get_current_session among 100,000 sessions",
            ours=found.ours.middle,
            unit="s",
            beside=found.beside.middle,
            beside_what="the same among 10",
            ratio=found.ratio,
            target=f"1 ± {NOISE:g} ×",
            reached=abs(found.ratio.middle - 1) <= NOISE,
        ),
    )


if __name__ == "__main__":
    run(rows)
