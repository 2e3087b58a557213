"""What the rows share: a manager whose keys come at once, and somebody who listens to everything it tells."""

from __future__ import annotations

from collections.abc import Callable

from voicepilot import EphemeralKey, KeyRequest, SessionConfig, SessionManager
from voicepilot.events import Event

MANY = 100_000


class InstantMinter:
    """Gives a key without waiting. `first_life` (seconds) says how long a session's first key lives."""

    is_initialized = True

    def __init__(self, first_life: Callable[[], float] | None = None) -> None:
        self._first_life = first_life

    async def request_ephemeral_key(self, request: KeyRequest) -> EphemeralKey:
        """A first key."""
        life = self._first_life() if self._first_life else request.life_seconds
        return EphemeralKey("ek_bench", expires_in=life, issued_for=request.session_id)

    async def renew_key(self, request: KeyRequest) -> EphemeralKey:
        """A next key."""
        return EphemeralKey("ek_bench", expires_in=request.life_seconds, issued_for=request.session_id)

    async def end_session(self, session_id: str) -> None:
        """Nothing to forget."""


class Unlimited:
    """A configuration that allows a million sessions."""

    is_initialized = True
    max_concurrent_sessions = 1_000_000

    def __init__(self) -> None:
        self._config = SessionConfig()

    def session_config(self) -> SessionConfig:
        """Every option at its default: heartbeat 30 s, inactivity 5 min, keys of 10 min."""
        return self._config


def a_manager(minter: InstantMinter | None = None) -> SessionManager:
    """A manager without hooks or subscribers."""
    return SessionManager(minter or InstantMinter(), configuration=Unlimited())


def listen_to_everything(manager: SessionManager) -> None:
    """One subscriber for each kind of event."""

    def heard(_: Event) -> None:
        pass

    manager.on_session_started(heard)
    manager.on_session_ended(heard)
    manager.on_session_renewed(heard)
    manager.on_session_error(heard)
    manager.on_session_state_changed(heard)
    manager.on_session_degraded(heard)


async def start(manager: SessionManager, count: int) -> list[str]:
    """Start `count` sessions, one after the other; their ids."""
    return [(await manager.start_session()).session_id for _ in range(count)]
