"""One HTTP answer, read whole; its body may hold a key, so it is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reply(NamedTuple):
    """An answer as received."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    received_at: float  # wall clock, seconds since the epoch, when the headers arrived
    body_seconds: float = 0.0  # how long the body took after the headers

    def __repr__(self) -> str:
        return f"Reply(status={self.status}, body=<{len(self.body)} bytes hidden>)"
