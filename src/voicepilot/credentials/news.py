"""What happens to keys, told to whoever subscribes; never a key's value."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from voicepilot.errors import Fault
from voicepilot.subscription import Subscription, is_async


class KeyRenewed(msgspec.Struct, frozen=True, kw_only=True):
    """A session was given a key: its first, or the next."""

    session_id: str
    expires_in: float  # seconds
    first: bool


class KeyExpired(msgspec.Struct, frozen=True, kw_only=True):
    """A session's key came to its natural end without a next one."""

    session_id: str


class KeyRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The provider refused the credential (or there is none) while a key was asked for this session."""

    session_id: str
    fault: Fault


E = TypeVar("E")


class Channel(Generic[E]):
    """The subscribers to one kind of news. One that raises is logged and does not keep the others from hearing it."""

    def __init__(self, name: str, logger: logging.Logger, *, on_change: Callable[[], None] = lambda: None) -> None:
        self._name = name
        self._logger = logger
        self._on_change = on_change
        self._handlers: dict[object, Callable[[E], object]] = {}

    def __bool__(self) -> bool:
        return bool(self._handlers)

    def subscribe(self, handler: Callable[[E], object]) -> Subscription:
        """Call `handler` with each event. Raises TypeError for an async handler: nothing here could await it."""
        if is_async(handler):
            raise TypeError(f"{self._name} needs a plain function; start async work from it yourself")
        ticket = object()
        self._handlers[ticket] = handler
        self._on_change()
        return Subscription(lambda: self._forget(ticket))

    def publish(self, event: E) -> None:
        """Tell those who are subscribed now."""
        for handler in list(self._handlers.values()):
            try:
                handler(event)
            except Exception:
                self._logger.exception("a handler of %s raised", self._name)

    def clear(self) -> None:
        """Forget all subscribers."""
        self._handlers.clear()
        self._on_change()

    def _forget(self, ticket: object) -> None:
        self._handlers.pop(ticket, None)
        self._on_change()
