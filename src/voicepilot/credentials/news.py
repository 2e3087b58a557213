"""What happens to keys, told to whoever subscribes; never a key's value."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

import msgspec

from voicepilot.errors import Fault


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


class Subscription:
    """Ends with `dispose()`, or at the end of a `with` block. Disposing again does nothing."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel: Callable[[], None] | None = cancel

    def dispose(self) -> None:
        """Deliver nothing more."""
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dispose()


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
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004
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
