"""Looks at a manager from inside, from time to time and at the end, whether what it keeps fits together."""

from __future__ import annotations

import asyncio
from collections import Counter

from voicepilot.credentials import EphemeralKeyService
from voicepilot.lifecycle.deadlines import BACKOFF_CAP
from voicepilot.lifecycle.machine import wake_at
from voicepilot.lifecycle.phases import LIVE, RUNNING, Phase
from voicepilot.lifecycle.session import Deadline, Session
from voicepilot.ports import EphemeralKey
from voicepilot.runtime.manager import SessionManager
from voicepilot.runtime.perform import Performer
from voicepilot.runtime.registry import Entry
from voicepilot.runtime.vault import KeyVault
from voicepilot.sim.accounts import Account
from voicepilot.sim.excuses import Disturbances
from voicepilot.sim.invariants import Judge
from voicepilot.testing.virtual import EPOCH

SLOWEST = 60.0
"""Seconds within which a recovering session must try again: the longest backoff or break, with its spread."""


class WatchedVault(KeyVault):
    """Counts what is put in and released; the two must come out even."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        self.released = 0
        self.twice: list[tuple[str, int]] = []

    def put(self, session_id: str, ticket: int, key: EphemeralKey) -> None:
        """Take a key in."""
        if self.get(session_id, ticket) is not None:
            self.twice.append((session_id, ticket))
        self.taken += 1
        super().put(session_id, ticket, key)

    def release(self, session_id: str, ticket: int) -> None:
        """Forget a key."""
        if self.get(session_id, ticket) is None:
            self.twice.append((session_id, ticket))
        self.released += 1
        super().release(session_id, ticket)


def performer_of(manager: SessionManager) -> Performer:
    """The inside of a manager, for those who check it."""
    return manager._performer  # noqa: SLF001 - the one place where the simulator looks inside


class Inspector:
    """Looks at every session of a manager."""

    def __init__(
        self, manager: SessionManager, service: EphemeralKeyService, judge: Judge, wrong: Disturbances
    ) -> None:
        self._manager = manager
        self._service = service
        self._performer = performer_of(manager)
        self._judge = judge
        self._must = judge.must
        self._wrong = wrong
        self.vault = self._performer.vault = WatchedVault()

    def look(self, accounts: dict[str, Account]) -> Counter[Phase]:
        """Check everything, and say how many sessions are in which phase."""
        registry, now = self._performer.registry, self._judge.now()
        live = registry.live()
        fits = registry.slots == len(live) <= self._performer.slots
        self._must("slots-are-sessions", fits, "", lambda: f"{registry.slots} slots, {len(live)} live sessions")
        phases: Counter[Phase] = Counter()
        keys = 0
        for entry in live:
            session = entry.session
            phases[session.phase] += 1
            keys += self._keys(session)
            self._deadlines(session, now)
            self._acts(entry, now)
            self._owns(entry)
            if (account := accounts.get(session.session_id)) is not None:
                self._limits(account, session, now)
        self._vault(keys)
        return phases

    def _vault(self, keys: int) -> None:
        vault = self.vault
        fits = len(vault) == keys == vault.taken - vault.released and not vault.twice
        self._must(
            "keys-are-held-once",
            fits,
            "",
            lambda: (
                f"{len(vault)} held, {keys} by live sessions, {vault.taken} put, {vault.released} released, "
                f"{vault.twice[:3]} twice"
            ),
        )

    def _keys(self, session: Session) -> int:
        incoming = session.round.incoming if session.round else None
        leases = [lease for lease in (session.key, incoming) if lease]
        for lease in leases:
            held = self.vault.get(session.session_id, lease.ticket) is not None
            self._must("keys-are-held-once", held, session.session_id, f"the key of ticket {lease.ticket} is gone")
        return len(leases)

    def _deadlines(self, session: Session, now: float) -> None:
        caller, at = session.session_id, wake_at(session)
        if session.phase not in LIVE or session.phase in {Phase.ENDING, Phase.IDLE}:
            self._must("deadlines-fit", at is None, caller, f"a deadline is armed while {session.phase}")
            return
        if at is not None:
            late = now - self._wrong.latest(at - EPOCH)
            self._must(
                "deadlines-fit", late <= 0, caller, lambda: f"{_soonest(session)} is overdue by {late + 1:.1f} s"
            )
        fits = (session.frozen is not None) == bool(session.holds)
        self._must("deadlines-fit", fits, caller, "timers stand still and nobody holds them, or the reverse")
        if session.frozen is not None:
            armed = session.idle_at is not None or session.beat_at is not None
            self._must("deadlines-fit", not armed, caller, "a timer runs while it is held")
        if session.key is not None and session.expire_at is not None:
            self._must("deadlines-fit", session.expire_at == session.key.expires_at, caller, "another expiry is armed")

    def _acts(self, entry: Entry, now: float) -> None:
        session = entry.session
        if session.phase not in RUNNING:
            return
        caller, current = session.session_id, session.round
        self._must("somebody-acts", bool(current) or session.renew_at is not None, caller, "no renewal is to come")
        if current and current.ticket is None and session.retry_at is None:
            waits = current.incoming is not None or current.swapped_at is not None
            self._must("somebody-acts", waits, caller, "a round waits for nothing")
        elif current and current.ticket is not None and session.retry_at is None:
            self._must("somebody-acts", entry.mint is not None, caller, "an attempt is awaited that nobody makes")
        if session.phase is Phase.RECOVERING and current is None and session.renew_at is not None:
            asked = session.last_error.retry_after if session.last_error else None
            wait = session.renew_at - EPOCH - now
            fits = wait <= max(SLOWEST, BACKOFF_CAP, asked or 0.0)
            self._must("somebody-acts", fits, caller, lambda: f"it recovers, and tries again in {wait:.0f} s")

    def _owns(self, entry: Entry) -> None:
        session = entry.session
        if session.phase in {Phase.ACTIVE, Phase.PAUSED} and session.round is None:
            self._must("idle-owns-nothing", entry.mint is None, session.session_id, "it owns a task")

    def _limits(self, account: Account, session: Session, now: float) -> None:
        if session.phase not in RUNNING:
            return
        at = account.idle_at(now)
        if at is not None:
            late = now - self._wrong.latest(at)
            self._must("limit-never-late", late <= 0, account.caller, lambda: f"inactivity, by {late + 1:.1f} s")
        longest = session.config.max_duration_seconds
        if longest is not None and account.started_at is not None:
            over = now - self._wrong.latest(account.started_at + longest)
            self._must("limit-never-late", over <= 0, account.caller, lambda: f"duration, by {over + 1:.1f} s")
        degraded = session.degraded
        self._must("degraded-told", degraded is account.degraded, account.caller, f"degraded is {degraded}, untold")

    def leftovers(self) -> list[str]:
        """What is still there after dispose and should not be."""
        performer = self._performer
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("voicepilot")]
        counted = {
            "keys": len(self.vault),
            "slots": performer.registry.slots,
            "live sessions": len(performer.registry.live()),
            "timers": int(self._manager._timers._handle is not None),  # noqa: SLF001
            "deadlines": len(self._manager._timers._heap),  # noqa: SLF001
            "subscriptions": sum(map(len, performer.observers._subscribers.values())),  # noqa: SLF001
            "mints": len(self._service._mints),  # noqa: SLF001
            "turns": self._service._limits.concurrent_mints - self._service._gate._value,  # noqa: SLF001
            "key expiries": len(self._service._lapses._ends),  # noqa: SLF001
        }
        return left + [f"{count} {name}" for name, count in counted.items() if count]


def _soonest(session: Session) -> str:
    armed = [(at, kind.name) for kind in Deadline if (at := getattr(session, kind.value)) is not None]
    return min(armed)[1] if armed else "nothing"
