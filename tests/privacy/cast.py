"""Who is in the tests of privacy: holders that do as they are told, and a controller in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from voicepilot.ports import PurgeOrder, PurgeReceipt
from voicepilot.privacy import DataClass, PrivacyController, RetentionPolicy
from voicepilot.testing import VirtualClock


class FakeHolder:
    """Holds so many items of each session; `takes` is seconds for each purge, `error` what it raises afterwards."""

    def __init__(self, name: str = "fake", *, takes: float = 0.0, error: BaseException | None = None) -> None:
        self.name = name
        self.takes = takes
        self.error = error
        self.items: Counter[tuple[str, DataClass]] = Counter()
        self.asked: list[tuple[float, str, DataClass]] = []
        self.at_once = 0
        self.most_at_once = 0

    def add(self, session_id: str, data_class: DataClass, count: int = 1) -> FakeHolder:
        self.items[session_id, data_class] += count
        return self

    async def purge(self, session_id: str, data_class: DataClass) -> int:
        self.asked.append((round(asyncio.get_running_loop().time(), 3), session_id, data_class))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.takes:
                await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        return self.items.pop((session_id, data_class), 0)


class StubbornHolder(FakeHolder):
    """Does not let itself be cancelled."""

    async def purge(self, session_id: str, data_class: DataClass) -> int:
        end = asyncio.get_running_loop().time() + self.takes
        while (left := end - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        return self.items.pop((session_id, data_class), 0)


class World:
    """A controller and everything it told."""

    def __init__(self, policy: RetentionPolicy | None = None, **options: Any) -> None:
        self.clock = VirtualClock()
        self.controller = PrivacyController(policy, clock=self.clock, **options)
        self.receipts: list[PurgeReceipt] = []

    def hold(
        self,
        holder: FakeHolder,
        session_id: str = "a",
        data_class: DataClass = DataClass.AUDIO,
        *,
        released: bool = False,
    ) -> None:
        holder.add(session_id, data_class)
        registration = self.controller.register(session_id, data_class, holder)
        if released:
            registration.release()

    async def purge(self, session_id: str = "a", target: str = "all", reason: str = "user-requested") -> PurgeReceipt:
        return await self.controller.purge(PurgeOrder(session_id=session_id, target=target, reason=reason))

    def told(self) -> list[tuple[str, str, str, int, int]]:
        return [(r.session_id, r.target, r.reason, r.cleared, r.failed) for r in self.receipts]


@asynccontextmanager
async def a_world(policy: RetentionPolicy | None = None, **options: Any) -> AsyncIterator[World]:
    """An initialised controller; disposed at the end, and checked to leave nothing."""
    world = World(policy, **options)
    async with world.controller:
        world.controller.on_purged(world.receipts.append)
        yield world
    assert tasks() == []
    assert world.controller._handle is None
    assert world.controller.held() == ()


def tasks() -> list[str]:
    """The controller's tasks that run just now."""
    return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("voicepilot"))
