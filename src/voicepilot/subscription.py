"""The handle that every subscription gives, whoever it is a subscription to."""

from __future__ import annotations

import inspect
from collections.abc import Callable


class Subscription:
    """Ends with `dispose()`, or at the end of a `with` block. Disposing again does nothing."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel: Callable[[], object] | None = cancel

    def dispose(self) -> None:
        """Deliver nothing more."""
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()


def is_async(handler: object) -> bool:
    """Whether calling `handler` gives something to await; an object with an async `__call__` does, too."""
    call = getattr(handler, "__call__", None)  # noqa: B004 - the method itself is wanted, not whether there is one
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
