"""A turn: leave to ask the provider, of which there are only so many at once. Who comes first is served first."""

from __future__ import annotations

import asyncio


class Turn:
    """Somebody's turn, which comes, is given back by whoever is first to, and may come again."""

    __slots__ = ("_gate", "_has_come")

    def __init__(self, gate: asyncio.Semaphore) -> None:
        self._gate = gate  # of one life of the service: what is given back late helps no later life to more turns
        self._has_come = False

    async def come(self) -> None:
        """Wait for the turn, unless it has come already."""
        if not self._has_come:
            await self._gate.acquire()
            self._has_come = True

    def give_back(self) -> None:
        """Let the next one have it. Idempotent."""
        if self._has_come:
            self._has_come = False
            self._gate.release()
