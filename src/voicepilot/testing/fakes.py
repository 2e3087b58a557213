"""Fakes that ship with us: a key service that does as it is told, a purger and observers that remember."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from voicepilot.events import Event
from voicepilot.ports import EphemeralKey, KeyRequest, PurgeOrder, PurgeReceipt
from voicepilot.runtime.manager import SessionManager
from voicepilot.subscription import Subscription


class Mint(msgspec.Struct, frozen=True):
    """A key request that the fake was asked."""

    request: KeyRequest
    renewal: bool


class FakeKeyService:
    """A key service without a provider. Every key has a value of its own, so a mix-up shows.

    By default each request is answered at once with a key that lives as long as asked. `latency` delays every answer,
    `key_life` overrides the life, `fail()` and `hang()` say what the next requests meet instead.
    """

    def __init__(self, *, latency: float = 0.0, key_life: float | None = None, initialized: bool = True) -> None:
        self.latency = latency  # seconds
        self.key_life = key_life  # seconds; None: what the request asks for
        self.mints: list[Mint] = []
        self.issued: list[str] = []  # the values handed out, in order
        self.ended: list[str] = []  # the sessions it was told to forget
        self._initialized = initialized
        self._script: deque[BaseException | None] = deque()

    @property
    def is_initialized(self) -> bool:
        """Whether initialize() was called (a fake is born initialised unless told otherwise)."""
        return self._initialized

    async def initialize(self) -> None:
        """Be ready."""
        self._initialized = True

    async def dispose(self) -> None:
        """Stop being ready."""
        self._initialized = False

    def fail(self, error: BaseException, count: int = 1) -> None:
        """Let the next `count` requests raise `error`."""
        self._script.extend([error] * count)

    def hang(self, count: int = 1) -> None:
        """Let the next `count` requests never be answered."""
        self._script.extend([None] * count)

    def heal(self) -> None:
        """Forget what fail() and hang() said."""
        self._script.clear()

    async def request_ephemeral_key(self, request: KeyRequest) -> EphemeralKey:
        """A session's first key, or what was scripted."""
        return await self._answer(request, renewal=False)

    async def renew_key(self, request: KeyRequest) -> EphemeralKey:
        """A session's next key, or what was scripted."""
        return await self._answer(request, renewal=True)

    async def end_session(self, session_id: str) -> None:
        """Note that the session is over."""
        self.ended.append(session_id)

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        self.mints.append(Mint(request, renewal))
        scripted = bool(self._script)
        outcome = self._script.popleft() if scripted else None
        if self.latency:
            await asyncio.sleep(self.latency)
        if outcome is not None:
            raise outcome
        if scripted:
            await asyncio.get_running_loop().create_future()
        value = f"ek_fake_{len(self.issued) + 1}"
        self.issued.append(value)
        return EphemeralKey(
            value,
            expires_in=self.key_life if self.key_life is not None else request.life_seconds,
            issued_for=request.session_id,
            model=request.model,
            remote_session_id=f"sess_fake_{len(self.issued)}",
        )


class FakePurger:
    """A purger that remembers its orders. `delay` (seconds) and `error` say how badly it does."""

    def __init__(self, *, delay: float = 0.0, error: Exception | None = None) -> None:
        self.delay = delay
        self.error = error
        self.orders: list[PurgeOrder] = []

    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        """Remember the order, and say that one datum was cleared."""
        self.orders.append(order)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        return PurgeReceipt(session_id=order.session_id, reason=order.reason, target=order.target, cleared=1)


class Recorder:
    """Subscribes to everything a manager tells, and keeps it in order."""

    def __init__(self, manager: SessionManager) -> None:
        self.events: list[Event] = []
        subscribe: tuple[Callable[[Callable[[Event], None]], Subscription], ...] = (
            manager.on_session_started,
            manager.on_session_ended,
            manager.on_session_renewed,
            manager.on_session_error,
            manager.on_session_state_changed,
            manager.on_session_degraded,
            manager.on_connection_changed,
            manager.on_session_usage,
            manager.on_limit_approaching,
        )
        self.subscriptions = [on(self.events.append) for on in subscribe]

    def types(self, session_id: str | None = None) -> list[str]:
        """The `type` of every event, or of one session's."""
        return [event.type for event in self.events if session_id in {None, event.session_id}]

    def of(self, *types: str) -> list[Event]:
        """The events of these types."""
        return [event for event in self.events if event.type in types]
