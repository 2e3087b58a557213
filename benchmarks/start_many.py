"""100,000 sessions started and disposed of, beside what 1,000 take: linear, or not."""

from __future__ import annotations

from statistics import median

from benchmarks.measure import pair, seconds
from benchmarks.table import Rows, compared, run
from benchmarks.world import MANY, a_manager, listen_to_everything, start

FEW = 1_000
FEW_ROUNDS = 10
ROUNDS = 3


async def start_and_dispose(count: int) -> tuple[float, float]:
    """Seconds for one session: to start `count` of them, and to dispose of the manager that has them."""
    manager = a_manager()
    listen_to_everything(manager)
    await manager.initialize()
    started = await seconds(lambda: start(manager, count))
    disposed = await seconds(manager.dispose)
    return started / count, disposed / count


async def rows() -> Rows:
    """Each of the large rounds has small ones before it, and their median beside it."""
    await start_and_dispose(FEW)
    few: list[tuple[float, float]] = []
    many: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        small = [await start_and_dispose(FEW) for _ in range(FEW_ROUNDS)]
        few.append((median(started for started, _ in small), median(disposed for _, disposed in small)))
        many.append(await start_and_dispose(MANY))
    started = pair([started for started, _ in many], [started for started, _ in few])
    disposed = pair([disposed for _, disposed in many], [disposed for _, disposed in few])
    return (
        compared("100,000 sessions: time to start, each", started, "each of 1,000", at_most=1.2),
        compared("100,000 sessions: time to dispose, each", disposed, "each of 1,000", at_most=1.2),
    )


if __name__ == "__main__":
    run(rows)
