"""Drives the pure core by hand: what happened, what was ordered."""

from __future__ import annotations

from typing import Any, TypeVar

from voicepilot.errors import Fault
from voicepilot.events import Event
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.effects import Effect, Effects, Publish, RunHook
from voicepilot.lifecycle.inputs import (
    ConnectionClosed,
    HookFinished,
    Input,
    KeyMinted,
    MintFailed,
    Purged,
    SlotReserved,
    StartRequested,
)
from voicepilot.lifecycle.machine import step, wake, wake_at
from voicepilot.lifecycle.session import Lease, Session
from voicepilot.ports import PurgeReceipt

E = TypeVar("E", bound=Effect)
V = TypeVar("V", bound=Event)

BEGIN = 1_000.0
DOWN = Fault(code="PROVIDER_UNAVAILABLE", message="503", remediation="Wait.", retryable=True)
REFUSED = Fault(code="INVALID_CREDENTIALS", message="401", remediation="Check the key.", retryable=False)
RECEIPT = PurgeReceipt(session_id="s", reason="test", cleared=1)


class Driver:
    """One session of the core, its time, and everything it ordered."""

    def __init__(self, **config: Any) -> None:
        config = {"enable_inactivity_timeout": "inactivity_timeout_minutes" in config, **config}
        self.now = BEGIN
        self.session = Session(session_id="s", created_at=BEGIN, last_activity=BEGIN, config=SessionConfig(**config))
        self.ordered: list[Effect] = []

    def tell(self, given: Input) -> Effects:
        self.session, effects = step(self.session, given, self.now)
        self.ordered.extend(effects)
        return effects

    def pass_time(self, seconds: float) -> Effects:
        """Let time pass, waking the session at each of its deadlines, as the runtime does."""
        until = self.now + seconds
        done: Effects = ()
        while (at := wake_at(self.session)) is not None and at <= until:
            self.now = max(self.now, at)
            self.session, effects = wake(self.session, self.now)
            self.ordered.extend(effects)
            done += effects
        self.now = until
        return done

    def sleep_through(self, seconds: float) -> Effects:
        """Let time pass unnoticed, as on a suspended machine, and wake once at its end."""
        self.now += seconds
        self.session, effects = wake(self.session, self.now)
        self.ordered.extend(effects)
        return effects

    def see(self) -> Session:
        """The session as it is now; a call, so that a type checker does not believe that it stays so."""
        return self.session

    def key(self) -> Lease:
        assert self.session.key is not None
        return self.session.key

    def fault(self) -> Fault:
        assert self.session.last_error is not None
        return self.session.last_error

    def in_flight(self) -> int | None:
        """The ticket of the mint that is waited for."""
        return self.session.round.ticket if self.session.round else None

    # --- the usual answers ---

    def begin(self) -> None:
        self.tell(StartRequested())
        self.tell(SlotReserved())

    def go_live(self, life: float | None = None) -> None:
        self.begin()
        self.mint(life)
        self.finish_hook()

    def mint(self, life: float | None = None) -> Effects:
        """Answer the last mint ordered with a key."""
        return self.tell(KeyMinted(self.session.tickets, life or self.session.config.key_life_seconds))

    def fail(self, fault: Fault = DOWN, **more: Any) -> Effects:
        """Answer the last mint ordered with a failure."""
        return self.tell(MintFailed(self.session.tickets, fault, **more))

    def finish_hook(self) -> Effects:
        return self.tell(HookFinished(self.last(RunHook).hook))

    def renew(self, life: float | None = None) -> None:
        """Answer the mint and both hooks of a renewal."""
        self.mint(life)
        self.finish_hook()
        self.finish_hook()

    def say_goodbye(self) -> Effects:
        """Answer everything an ending waits for."""
        done: Effects = ()
        if self.session.started_at is not None:
            done += self.finish_hook()
        done += self.tell(ConnectionClosed())
        return done + self.tell(Purged(RECEIPT))

    # --- what was ordered ---

    def orders(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.ordered if isinstance(effect, kind)]

    def last(self, kind: type[E]) -> E:
        return self.orders(kind)[-1]

    def events(self, kind: type[V]) -> list[V]:
        return [order.event for order in self.orders(Publish) if isinstance(order.event, kind)]

    def said(self) -> list[str]:
        return [order.event.type for order in self.orders(Publish)]
