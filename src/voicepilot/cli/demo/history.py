"""What really happened in the demo, as data: from events, from the callers, and from the emulator's own record.

All times are on the emulator's clock, noted when the thing was seen.
"""

from __future__ import annotations

import msgspec

from voicepilot.emulator.record import Connection, Frame, Mint, Refused, Turn
from voicepilot.ports import PurgeReceipt

ANSWERED = "answered"
PROVIDER_DOWN = "provider-down"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An event, as it reached a subscriber."""

    at: float
    who: str  # the session's name in the story
    type: str
    previous: str = ""  # of a state-changed
    new: str = ""
    why: str = ""  # the trigger of a renewal, the reason of an end or change
    attempts: int = 0
    degraded: bool = False  # of a degraded-changed: from now on


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The host was told something to show."""

    at: float
    key: str
    value: object


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery plan was run."""

    at: float
    who: str
    tried: tuple[str, ...]
    step: str | None  # that worked
    fallback: str | None  # that was entered


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """An error that was not repaired was reported; `told` is whether its user should hear of it, too."""

    at: float
    who: str
    code: str
    told: bool


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """From this moment the session hands out this key, named by its tag in the emulator's record."""

    at: float
    who: str
    key: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's line, and what came of it."""

    at: float
    who: str
    client: str  # openai or aiohttp
    outcome: str  # ANSWERED, PROVIDER_DOWN, or what went wrong


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """A purge: what the receipt says, how many lines of each session were ever kept, and how many are held now."""

    who: str
    receipt: PurgeReceipt
    kept: dict[str, int]
    held: dict[str, int]


class LongCall(msgspec.Struct, frozen=True, kw_only=True):
    """The conversation that outlived its connections."""

    lasted: float = 0.0  # seconds
    said: tuple[tuple[str, str], ...] = ()  # on both sides, as the caller heard it: user, assistant, call or output
    transcript: tuple[tuple[str, str], ...] = ()  # role and words, as they were kept in the end
    handovers: int = 0
    falls: int = 0  # it came back from
    asked_again: int = 0  # answers that were cut
    outage: float = 0.0  # seconds, the longest
    lost: str = ""  # why, if it was


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the story set out to do, for the checks to compare with."""

    sessions: tuple[str, ...]
    limit: int
    automatic_renewals: int  # of each session, at the least
    retry_after: float  # seconds the 429 asked for
    outage: float  # seconds
    renewed_by_hand: str
    silent: str
    inactivity: float  # seconds
    plan_step: str  # what the recovery plan tries
    fallback: str  # and what it falls back to
    careless: str  # says a card number
    card: str
    forgotten: str  # has a purge while the session lives
    long_caller: str  # has one conversation from beginning to end
    connection_life: float  # seconds after which the provider cuts a connection
    handovers: int  # of the long call, at the least

    @property
    def everybody(self) -> tuple[str, ...]:
        """All whose sessions are to start."""
        return (*self.sessions, self.long_caller)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the checks look at."""

    terms: Terms
    seen: tuple[Seen, ...] = ()
    held: tuple[Held, ...] = ()
    said: tuple[Said, ...] = ()
    purged: tuple[Purged, ...] = ()
    shown: tuple[Shown, ...] = ()
    planned: tuple[Planned, ...] = ()
    notices: tuple[Notice, ...] = ()
    attempts: int = 0  # at a key, as the recovery executor told them
    abandoned: int = 0  # attempts that were cancelled: whether they reached the provider nobody knows
    stored: tuple[str, ...] = ()  # every line that was redacted, as it is stored; and all that was held at an end
    heard: tuple[str, ...] = ()  # what the provider was sent, from its record
    refused_starts: tuple[str, ...] = ()  # error codes of starts that were to be refused
    mints: tuple[Mint, ...] = ()
    connections: tuple[Connection, ...] = ()
    refused: tuple[Refused, ...] = ()
    logged: tuple[str, ...] = ()  # errors and warnings that went to a log
    tasks_left: tuple[str, ...] = ()
    sockets_left: int | None = 0  # None: this system does not tell
    lines_left: int = 0  # of personal data
    call: LongCall | None = None
    turns: tuple[Turn, ...] = ()  # answers, from the provider's record
    frames: tuple[Frame, ...] = ()  # events on the sockets, from its record

    def of(self, kind: str, who: str | None = None) -> list[Seen]:
        """The events of one type, of one session if asked."""
        return [seen for seen in self.seen if seen.type == kind and who in {None, seen.who}]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What can be counted."""

    sessions: int
    renewals: int
    automatic: int
    by_hand: int
    for_connections: int  # because a connection of the long call needed a key
    retries: int
    mean_latency: float  # seconds from renewal-started to renewal-completed
    undisturbed_latency: float  # the same, over the renewals whose first attempt worked
    without_key: float  # seconds, all sessions together
    turns: int
    tasks_left: int
    sockets_left: int | None


def seconds_without_key(history: History, who: str) -> float:
    """How long the session, from start to end, handed out no key that the provider would have taken."""
    started, over = history.of("session-started", who), _over(history, who)
    if not started or over is None:
        return 0.0
    valid_until = {mint.key: mint.valid_until or 0.0 for mint in history.mints if mint.key}
    held = [held for held in history.held if held.who == who]
    ends = [*(later.at for later in held[1:]), over]
    good = sum(
        max(0.0, min(end, valid_until.get(lease.key, 0.0)) - lease.at) for lease, end in zip(held, ends, strict=False)
    )
    return max(0.0, over - started[0].at - good)


def _over(history: History, who: str) -> float | None:
    """When the session began to end, or the last thing seen if it never did."""
    leaving = (seen.at for seen in history.of("state-changed", who) if seen.new == "ending")
    return next(leaving, max((seen.at for seen in history.seen), default=None))


def rounds(history: History) -> list[tuple[Seen, Seen]]:
    """Each completed renewal with its beginning; rounds that failed in between belong to it."""
    begun: dict[str, Seen] = {}
    done: list[tuple[Seen, Seen]] = []
    for seen in history.seen:
        if seen.type == "renewal-started":
            begun.setdefault(seen.who, seen)
        elif seen.type == "renewal-completed" and seen.who in begun:
            done.append((begun.pop(seen.who), seen))
    return done


def figures(history: History) -> Figures:
    """The counts of the closing summary."""
    completed = rounds(history)
    failed = _failed_rounds(history)
    waits = [after.at - before.at for before, after in completed]
    easy = [
        after.at - before.at
        for before, after in completed
        if after.attempts == 1 and not any(before.at <= at <= after.at for at in failed.get(before.who, ()))
    ]
    return Figures(
        sessions=len(history.of("session-started")),
        renewals=len(completed),
        automatic=sum(before.why == "automatic-renewal" for before, _ in completed),
        by_hand=sum(before.why == "manual-renewal" for before, _ in completed),
        for_connections=sum(before.why == "connection-renewal" for before, _ in completed),
        retries=sum(mint.status != 200 for mint in history.mints),
        mean_latency=_mean(waits),
        undisturbed_latency=_mean(easy),
        without_key=sum(seconds_without_key(history, who) for who in history.terms.everybody),
        turns=sum(said.outcome == ANSWERED for said in history.said),
        tasks_left=len(history.tasks_left),
        sockets_left=history.sockets_left,
    )


def _failed_rounds(history: History) -> dict[str, list[float]]:
    failed: dict[str, list[float]] = {}
    for seen in history.of("renewal-failed"):
        failed.setdefault(seen.who, []).append(seen.at)
    return failed


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
