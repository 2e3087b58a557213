"""Whether voicepilot kept its promises in the demo: each is judged from the history, never from the manager's word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec

from voicepilot.cli.demo.care import GOES_WRONG, PRIVATE, Finding
from voicepilot.cli.demo.carried import CARRIED
from voicepilot.cli.demo.history import ANSWERED, PROVIDER_DOWN, History, Said, Seen, rounds, seconds_without_key

LATE = 5.0
"""Seconds after which an end by inactivity came too late."""

CLOCKS = 0.1
"""Seconds two clocks may disagree: sessions are timed on one, the history on another."""

DOWN = 503
"""What the provider answers during the outage."""

LIVE = frozenset({"starting", "active", "renewing", "recovering", "paused", "ending"})


class Promise(msgspec.Struct, frozen=True):
    """A promise, how it turned out, and what was broken (nothing, if it was kept)."""

    text: str
    detail: str
    broken: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether nothing was broken."""
        return not self.broken


def check(history: History) -> tuple[Promise, ...]:
    """Judge every promise."""
    return tuple(
        Promise(text, detail, tuple(broken)) for text, judge in PROMISES for detail, broken in [judge(history)]
    )


def _limit(history: History) -> Finding:
    terms = history.terms
    broken = [f"{who} never started" for who in terms.everybody if not history.of("session-started", who)]
    most = max(_live_at_once(history), default=0)
    if most > terms.limit:
        broken.append(f"{most} sessions were live at once")
    if history.refused_starts != ("SESSION_LIMIT_REACHED",):
        broken.append(f"one start was to be refused by the limit, but: {', '.join(history.refused_starts) or 'none'}")
    return f"{most} at once, one more refused", broken


def _live_at_once(history: History) -> Iterator[int]:
    live: set[str] = set()
    for seen in history.of("state-changed"):
        live = live | {seen.who} if seen.new in LIVE else live - {seen.who}
        yield len(live)


def _renewals(history: History) -> Finding:
    begun = [begun for begun, _ in rounds(history) if begun.why == "automatic-renewal"]
    count = {who: sum(seen.who == who for seen in begun) for who in history.terms.sessions}
    least = history.terms.automatic_renewals
    broken = [f"{who} was renewed {times} times, not {least}" for who, times in count.items() if times < least]
    return ", ".join(f"{who} {times}" for who, times in count.items()), broken


def _valid_key(history: History) -> Finding:
    without = {who: seconds_without_key(history, who) for who in history.terms.everybody}
    broken = [f"{who} had none for {seconds:.2f} s" for who, seconds in without.items() if seconds > 0]
    broken += [f"{who} never held one" for who in history.terms.everybody if not _keys_of(history, who)]
    broken += [
        f"the provider refused a socket with {each.status} {each.code or ''}".rstrip()
        for each in history.refused
        if each.status != DOWN  # which everybody gets during the outage, with a good key too
    ]
    return f"{sum(without.values()):.1f} s without, {len(history.connections)} sockets opened", broken


def _keys_of(history: History, who: str) -> set[str]:
    return {held.key for held in history.held if held.who == who}


def _own_keys(history: History) -> Finding:
    made = {mint.key for mint in history.mints if mint.key}
    holders: dict[str, set[str]] = {}
    for held in history.held:
        holders.setdefault(held.key, set()).add(held.who)
    broken = [f"{' and '.join(sorted(who))} shared a key" for who in holders.values() if len(who) > 1]
    broken += ["a key was handed out that the provider never made" for key in holders if key not in made]
    for who in history.terms.everybody:
        times, keys = len(history.of("renewal-completed", who)), len(_keys_of(history, who))
        if keys != times + 1:
            broken.append(f"{who} was renewed {times} times, but held {keys} keys")
    return f"{len(holders)} keys, none used twice", broken


def _rate_limit(history: History) -> Finding:
    asked = history.terms.retry_after
    refused = [mint for mint in history.mints if mint.status == 429]
    broken, waits = [] if refused else ["there was no 429"], []
    for mint in refused:
        # Other sessions may be renewed meanwhile; whoever was refused needed a second attempt.
        hit = [
            done.at - mint.at for begun, done in rounds(history) if begun.at <= mint.at <= done.at and done.attempts > 1
        ]
        waits += hit
        if not hit:
            broken.append("nobody tried again after the 429")
    broken += [f"tried again after {wait:.1f} s" for wait in waits if wait < asked - CLOCKS]
    return f"asked to wait {asked:g} s, waited {max(waits, default=0):.1f} s", broken


def _outage(history: History) -> Finding:
    refused = [mint.at for mint in history.mints if (mint.fault or "").startswith("outage")]
    if not refused:
        return "it hit nobody", ["the outage hit no renewal"]
    hit = {begun.who for begun, done in rounds(history) if any(begun.at <= at <= done.at for at in refused)}
    lost = [who for who in history.terms.sessions if not any(s.at > refused[-1] for s in _completed(history, who))]
    broken = [f"{who} was not renewed after it" for who in lost]
    if not hit:
        broken.append("no renewal that it hit was completed")
    return (
        f"hit {', '.join(sorted(hit)) or 'nobody'}; {len(refused)} refusals",
        broken,
    )


def _completed(history: History, who: str) -> list[Seen]:
    return history.of("renewal-completed", who)


def _by_hand(history: History) -> Finding:
    who = history.terms.renewed_by_hand
    times = sum(begun.who == who and begun.why == "manual-renewal" for begun, _ in rounds(history))
    return who, [] if times == 1 else [f"{who} was renewed by hand {times} times"]


def _inactivity(history: History) -> Finding:
    terms = history.terms
    broken = [
        f"{ended.who} was ended because: {ended.why}"
        for ended in history.of("session-ended")
        if (ended.why == "inactivity-timeout") != (ended.who == terms.silent)
    ]
    last = max((said.at for said in history.said if said.who == terms.silent), default=0.0)
    leaving = [seen.at for seen in history.of("state-changed", terms.silent) if seen.new == "ending"]
    if not leaving:
        return "it never ended", [*broken, f"{terms.silent} was never ended"]
    waited = leaving[0] - last
    if not terms.inactivity - CLOCKS <= waited <= terms.inactivity + LATE:
        broken.append(f"{terms.silent} was ended {waited:.1f} s after the last word, not {terms.inactivity:g} s")
    return f"{terms.silent}, {waited:.1f} s after the last word", broken


def _turns(history: History) -> Finding:
    answered = [said for said in history.said if said.outcome == ANSWERED]
    broken = [f"{who} never got an answer" for who in history.terms.sessions if not _lines(answered, who)]
    broken += [f"{said.who}: {said.outcome}" for said in history.said if said.outcome not in {ANSWERED, PROVIDER_DOWN}]
    clients = sorted({said.client for said in answered})
    return f"{len(answered)} turns, {' and '.join(clients) or 'no client'}", broken


def _lines(said: list[Said], who: str) -> list[Said]:
    return [each for each in said if each.who == who]


def _told(history: History) -> Finding:
    broken: list[str] = []
    for who in history.terms.everybody:
        broken += [
            f"{who}: {kind} was told {times} times"
            for kind in ("session-started", "session-ended")
            if (times := len(history.of(kind, who))) != 1
        ]
        changes = history.of("state-changed", who)
        broken += [
            f"{who} went from {before.new} to {after.new} as if it had been {after.previous}"
            for before, after in pairwise(changes)
            if before.new != after.previous
        ]
        if not changes or changes[-1].new not in {"ended", "failed"}:
            broken.append(f"{who} was never told to be over")
    return f"{len(history.of('state-changed'))} changes of phase", broken


def _nothing_left(history: History) -> Finding:
    broken = [f"task {name}" for name in history.tasks_left]
    if history.sockets_left:
        broken.append(f"{history.sockets_left} sockets of this process")
    unclosed = sum(connection.closed is None for connection in history.connections)
    if unclosed:
        broken.append(f"{unclosed} connections at the provider")
    broken += [f"logged: {line}" for line in history.logged]
    sockets = "sockets not counted" if history.sockets_left is None else f"{history.sockets_left} sockets"
    return f"{len(history.tasks_left)} tasks, {sockets}, {len(history.logged)} errors", broken


PROMISES: tuple[tuple[str, Callable[[History], Finding]], ...] = (
    ("the limit on sessions holds", _limit),
    ("every session renews by itself", _renewals),
    ("never a second without a valid key", _valid_key),
    ("a key belongs to one session", _own_keys),
    ("a 429 is obeyed", _rate_limit),
    ("an outage costs no session its key", _outage),
    *GOES_WRONG,
    ("renewal by hand", _by_hand),
    ("silence ends that session only", _inactivity),
    ("calls go through on the keys", _turns),
    ("all is told, once and in order", _told),
    *CARRIED,
    *PRIVATE,
    ("nothing is left behind", _nothing_left),
)
