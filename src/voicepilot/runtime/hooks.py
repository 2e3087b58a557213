"""The application's part in a session's life: four moments at which the manager waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from voicepilot.lifecycle.session import SessionInfo
from voicepilot.ports import Turn
from voicepilot.subscription import Subscription


class EndingSession(SessionInfo, frozen=True, kw_only=True):
    """A session that is about to end, with what was said in it."""

    transcript: tuple[Turn, ...] = ()  # redacted; empty where nobody keeps it


SessionHook = Callable[[SessionInfo], Awaitable[None] | None]
EndingHook = Callable[[EndingSession], Awaitable[None] | None]
SuspendingHook = Callable[[SessionInfo, str], Awaitable[None] | None]


class ConversationLifecycleHooks:
    """What to call at the four moments; leave out what you do not need.

    Pass functions, or subclass and define methods of these names; any object with some of them will do.

    - `on_session_ready(session)`: the session is active; start_session waits for this.
    - `on_session_suspending(session, reason)`: its key is about to be swapped.
    - `on_session_resumed(session)`: the swap is made.
    - `on_session_ending(session)`: it is about to end; there is one second. `session.transcript` is what was said.

    A managed connection has the middle two called for its own moves, too, with the reason `handover` or `reconnect`;
    the key that it is dialled with is not told.
    """

    on_session_ready: SessionHook | None = None
    on_session_suspending: SuspendingHook | None = None
    on_session_resumed: SessionHook | None = None
    on_session_ending: EndingHook | None = None

    def __init__(
        self,
        *,
        on_session_ready: SessionHook | None = None,
        on_session_suspending: SuspendingHook | None = None,
        on_session_resumed: SessionHook | None = None,
        on_session_ending: EndingHook | None = None,
    ) -> None:
        given: dict[str, object] = {
            "on_session_ready": on_session_ready,
            "on_session_suspending": on_session_suspending,
            "on_session_resumed": on_session_resumed,
            "on_session_ending": on_session_ending,
        }
        for name, hook in given.items():
            if hook is not None:
                setattr(self, name, hook)


class HookSet:
    """The one active set of hooks."""

    def __init__(self) -> None:
        self._hooks: object | None = None
        self._registration = object()  # of the active set; the same hooks may be registered twice

    def register(self, hooks: object) -> Subscription:
        """Make `hooks` the active set; disposing the handle clears it only if it still is."""
        self._hooks = hooks
        mine = self._registration = object()

        def clear() -> None:
            if self._registration is mine:
                self._hooks = None

        return Subscription(clear)

    def find(self, name: str) -> Callable[..., Awaitable[None] | None] | None:
        """The active hook of that name, if there is one."""
        return getattr(self._hooks, name, None)

    def clear(self) -> None:
        """Have no hooks."""
        self._hooks = None
