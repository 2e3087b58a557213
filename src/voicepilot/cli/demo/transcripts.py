"""What was said in the demo, by session: personal data, so that there is something to purge."""

from __future__ import annotations

import time

from voicepilot.ports import PurgeOrder, PurgeReceipt


class Transcripts:
    """Holds each session's lines in memory, and implements `ports.Purger` for them."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, session_id: str, line: str) -> None:
        """Keep a line of the session's conversation."""
        self._lines.setdefault(session_id, []).append(line)

    def count(self, session_id: str) -> int:
        """How many lines of the session are held."""
        return len(self._lines.get(session_id, ()))

    def counts(self) -> dict[str, int]:
        """How many lines are held of each session that has any."""
        return {session_id: len(lines) for session_id, lines in self._lines.items()}

    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        """Forget the lines of the order's session, and of no other."""
        began = time.perf_counter()
        lines = self._lines.pop(order.session_id, [])
        return PurgeReceipt(
            session_id=order.session_id,
            reason=order.reason,
            target=order.target,
            cleared=len(lines),
            duration=time.perf_counter() - began,
        )
