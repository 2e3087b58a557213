"""The handle on a registration."""

from __future__ import annotations

from collections.abc import Callable


class Registration:
    """What a holder has from `register`. Once the same id is registered again, the older handle does nothing."""

    def __init__(self, release: Callable[[], None], dispose: Callable[[], None]) -> None:
        self._release = release
        self._dispose = dispose

    def release(self) -> None:
        """Say that the live session no longer needs the data: its retention window begins now, once."""
        self._release()

    def dispose(self) -> None:
        """Say that the data is gone already; nothing will be purged. Idempotent."""
        self._dispose()

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()
