"""A key service that is watched: each request for a key is told to whoever instruments, from begin to end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from voicepilot.ports import EphemeralKey, KeyMinter, KeyRequest

MintEnded = Callable[[BaseException | None], None]
Watch = Callable[[KeyRequest], MintEnded]
"""Called when a mint begins; what it returns is called when the mint ends, with what it raised."""

T = TypeVar("T")
R = TypeVar("R")

_logger = logging.getLogger("voicepilot.telemetry")


class WatchedKeyService:
    """Passes everything on to `key_service`. Give it to the manager in its place, and to `instrument()`.

    Events do not show single attempts, so this is where mints become spans and figures.
    """

    def __init__(self, key_service: KeyMinter) -> None:
        self._key_service = key_service
        self._watches: list[Watch] = []

    async def request_ephemeral_key(self, request: KeyRequest) -> EphemeralKey:
        """A session's first key."""
        return await self._watched(self._key_service.request_ephemeral_key, request)

    async def renew_key(self, request: KeyRequest) -> EphemeralKey:
        """A session's next key."""
        return await self._watched(self._key_service.renew_key, request)

    async def end_session(self, session_id: str) -> None:
        """Forget the session."""
        await self._key_service.end_session(session_id)

    async def _watched(
        self, mint: Callable[[KeyRequest], Awaitable[EphemeralKey]], request: KeyRequest
    ) -> EphemeralKey:
        ends = [end for watch in tuple(self._watches) if (end := _tried(watch, request)) is not None]
        try:
            key = await mint(request)
        except BaseException as error:
            for end in reversed(ends):
                _tried(end, error)
            raise
        for end in reversed(ends):
            _tried(end, None)
        return key

    def watch(self, watch: Watch) -> Callable[[], None]:
        """Call `watch` at the begin of every mint until what this returns is called."""
        self._watches.append(watch)
        return lambda: self._watches.remove(watch) if watch in self._watches else None

    def __getattr__(self, name: str) -> Any:
        # is_initialized, initialize, dispose, the news: whatever else the key service has.
        if name.startswith("__") or name == "_key_service":
            raise AttributeError(name)
        return getattr(self._key_service, name)


def _tried(call: Callable[[T], R], given: T) -> R | None:
    """A watcher that fails is reported, and costs nobody his key."""
    try:
        return call(given)
    except Exception:
        _logger.exception("telemetry of a key request failed")
        return None
