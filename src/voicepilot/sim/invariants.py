"""What must hold in every world, by name; and the judge who keeps what was found broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

INVARIANTS: Mapping[str, str] = {
    # told by events
    "phases-in-order": "every change of phase is told once, from the phase the session was in, at a time not before",
    "life-in-order": "session-started once at most, session-ended exactly when it was, and nothing after it",
    "end-in-time": "an end takes 2 s at most, whatever hangs",
    "start-in-time": "a start is answered within its time limit, and what an end and a hook may take",
    "idle-never-early": "no session is ended for inactivity before its time-out, counted from what was last said",
    "limit-never-late": "no session outlives its inactivity time-out or its longest duration by more than 1 s",
    "duration-never-early": "no session is ended for its duration before it has lasted so long",
    "limit-announced": "no session ends at its longest duration without having been warned",
    "purge-complete": "when a session is over its data is gone, where the purger works",
    "renewal-not-late": "the first attempt at the next key begins when the margin says so, within 1 s",
    "renewal-not-early": "no key is renewed by time before half of its life",
    "key-of-its-own": "the key a session hands out was issued for it",
    "key-not-overrated": "no key is believed to be good for longer than it is, but for the answer's way",
    "no-needless-gap": "no session is without a valid key, but for an outage longer than the margin allows",
    "retry-after-obeyed": "no session asks again before the time that Retry-After told it",
    "patient-retries": "a session's attempts are half the first backoff apart at least, and not more than a round has",
    "counts-are-right": "a session's statistics are what happened: renewals, failed rounds, heartbeats",
    "degraded-told": "whether a session is degraded was told, exactly when it changed",
    # seen when looking
    "slots-are-sessions": "slots in use are the live sessions, and within the limit",
    "keys-are-held-once": "the vault holds exactly the keys of live sessions; each was put once and released once",
    "deadlines-fit": "deadlines are armed in live phases only, none is overdue, frozen ones have a holder",
    "somebody-acts": "a running session has its next renewal, attempt or answer to come, and soon while it recovers",
    "idle-owns-nothing": "a session that waits for nothing owns no task and no lane",
    # seen over many sessions
    "storm-is-calm": "in a 429 storm at most 1.2 requests for each key, and a probe for each break of the breaker",
    "herd-is-spread": "after a common start no later second sees more than 3 x sessions / spread requests",
    "one-layer-tries": "no request is made that the recovery executor did not admit",
    # seen at the end
    "dispose-in-time": "dispose takes 6 s at most",
    "nothing-left": "no task, timer, key, slot or subscription is left at the end",
    "no-surprise": "nothing unexpected is logged or raised: no error that nobody simulated",
}


class Broken(msgspec.Struct, frozen=True):
    """An invariant that did not hold."""

    invariant: str
    at: float  # seconds since the world began
    session: str
    detail: str


class Judge:
    """Keeps what was found broken, up to a limit; the world stops when it is reached."""

    def __init__(self, now: Callable[[], float], limit: int) -> None:
        self.broken: list[Broken] = []
        self.now = now
        self._limit = limit

    @property
    def has_enough(self) -> bool:
        """Whether there is no use in going on."""
        return len(self.broken) >= self._limit

    def must(self, invariant: str, holds: bool, session: str, detail: Callable[[], str] | str) -> None:
        """Note that the invariant is broken, unless it holds."""
        if holds or self.has_enough:
            return
        if invariant not in INVARIANTS:
            raise KeyError(invariant)
        said = detail if isinstance(detail, str) else detail()
        self.broken.append(Broken(invariant, round(self.now(), 3), session, said))
