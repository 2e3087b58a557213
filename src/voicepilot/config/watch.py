"""Notices that a file has another content, by watching its directory: editors and orchestrators replace files."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

from voicepilot.errors import ConfigurationError

LOOK_AGAIN = 5_000
"""Milliseconds after which the file is looked at in any case: not every file system tells of changes."""

SETTLE = 50
"""Milliseconds of quiet that end a burst of changes."""


def require_watchfiles() -> None:
    """Raise ConfigurationError where watchfiles is not installed."""
    if importlib.util.find_spec("watchfiles") is None:
        raise ConfigurationError(
            "watch_file needs watchfiles, which is not installed",
            field="watch_file",
            remediation="pip install 'voicepilot-sessions[reload]'",
        )


class Watched:
    """A file, and what was last seen in it. Only a digest is kept, for the file may hold a key."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._seen = self._digest()

    def has_changed(self) -> bool:
        """Whether there is another content than at the last look. A file that is gone or empty is being written."""
        found = self._digest()
        if found is None or found == self._seen:
            return False
        self._seen = found
        return True

    async def stirrings(self) -> AsyncIterator[None]:
        """Whenever something happened to the file's directory, and now and then without a reason."""
        from watchfiles import awatch  # noqa: PLC0415 - an optional extra

        changes = awatch(
            self.path.parent,
            watch_filter=None,
            debounce=10 * SETTLE,
            step=SETTLE,
            rust_timeout=LOOK_AGAIN,
            yield_on_timeout=True,
            recursive=False,
        )
        async for _ in changes:
            yield

    def _digest(self) -> bytes | None:
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        return hashlib.sha256(content).digest() if content else None
