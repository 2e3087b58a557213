"""Whether the demo kept its promises about recovery and privacy: judged from events, host calls and records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from voicepilot.cli.demo.history import History, Planned, Seen

DEGRADED_KEY = "voicepilot.session.degraded"

PROMPT = 0.5
"""Seconds that the purge of a live session may take."""

SOON = 5.0
"""Seconds within which a round that failed must have brought its plan to an end: its one step is one request."""

LIVE_PURGE = "consent-withdrawn"

Finding = tuple[str, list[str]]
"""What was found, in a few words, and everything that is wrong with it."""


# --- recovery -----------------------------------------------------------------------------------------------------


def _plans(history: History) -> Finding:
    terms, failed = history.terms, history.of("renewal-failed")
    broken = [] if failed else ["no round failed"]
    for round_ in failed:
        ran = [plan for plan in history.planned if plan.who == round_.who and 0 <= plan.at - round_.at <= SOON]
        broken += [f"{round_.who}'s failed round had no plan"] if not ran else _misdone(history, ran[0])
    if len(history.planned) != len(failed):
        broken.append(f"{len(failed)} rounds failed, but {len(history.planned)} plans were run")
    fallbacks = sum(plan.fallback is not None for plan in history.planned)
    return f"{len(history.planned)} ran {terms.plan_step}, {fallbacks} went on to {terms.fallback}", broken


def _misdone(history: History, plan: Planned) -> Iterator[str]:
    terms = history.terms
    if plan.tried != (terms.plan_step,):
        yield f"{plan.who}'s plan ran {', '.join(plan.tried) or 'no step'}, not {terms.plan_step}"
    if (plan.step is None) != (plan.fallback == terms.fallback):
        yield f"{plan.who}'s plan: step {plan.step} worked, fallback {plan.fallback}"


def _degraded(history: History) -> Finding:
    changes, told = history.of("degraded-changed"), [shown for shown in history.shown if shown.key == DEGRADED_KEY]
    broken: list[str] = []
    for who in {seen.who: None for seen in history.of("renewal-failed")}:
        broken += _comes_and_goes(history, who, [seen for seen in changes if seen.who == who])
    values = [shown.value for shown in told]
    fell_back = [plan.at for plan in history.planned if plan.fallback]
    if True not in values:
        broken.append("the host was never told")
    elif not any(told[values.index(True)].at - SOON <= at for at in fell_back):
        broken.append("the host was told before any plan fell back")
    if values[-1:] != [False]:
        broken.append("the host was not told of the end")
    worse = [seen for seen in changes if seen.degraded]
    return f"{', '.join(sorted({seen.who for seen in worse})) or 'nobody'}, and well again; host told", broken


def _comes_and_goes(history: History, who: str, changes: list[Seen]) -> Iterator[str]:
    """Degraded when a round failed, well when one worked, told once each."""
    states = [seen.degraded for seen in changes]
    if states != [number % 2 == 0 for number in range(len(states))]:
        yield f"{who} was told to be degraded out of turn"
    failed = history.of("renewal-failed", who)[0].at
    if not any(seen.degraded and seen.at <= failed + SOON for seen in changes):
        yield f"{who} failed a round and was not degraded"
    elif states[-1]:
        yield f"{who} never was well again"
    elif not any(done.at <= changes[-1].at + SOON for done in history.of("renewal-completed", who) if done.at > failed):
        yield f"{who} was well again without a new key"


def _one_layer(history: History) -> Finding:
    made, told = len(history.mints), history.attempts
    broken = []
    if not told <= made <= told + history.abandoned:
        broken.append(f"the provider got {made} requests for {told} attempts")
    if not made:
        broken.append("nothing was asked")
    return f"{told} attempts, {made} requests at the provider", broken


def _notices(history: History) -> Finding:
    told = Counter((notice.who, notice.code) for notice in history.notices if notice.told)
    reported = len(history.notices)
    unrepaired = sum(plan.step is None for plan in history.planned)
    broken = [f"{who} was told {times} times of {code}" for (who, code), times in told.items() if times > 1]
    if not told:
        broken.append("nobody was told")
    if reported != unrepaired:
        broken.append(f"{unrepaired} plans repaired nothing, but {reported} errors were reported")
    return f"{reported} unrepaired errors, {sum(told.values())} notices", broken


# --- privacy ------------------------------------------------------------------------------------------------------


def _purges(history: History) -> Finding:
    broken = [f"{history.lines_left} lines were left behind"] if history.lines_left else []
    cleared: Counter[str] = Counter()
    for purged in history.purged:
        cleared[purged.who] += purged.receipt.cleared
        if not purged.receipt.complete or purged.held.get(purged.who):
            broken.append(f"{purged.who}: the purge left {purged.held.get(purged.who, 0)} lines")
        for who, kept in purged.kept.items():
            gone = kept - purged.held.get(who, 0)
            if gone != cleared[who]:
                broken.append(f"{who}: {gone} lines are gone, receipts say {cleared[who]}, after {purged.who}'s purge")
    strays = [who for who in cleared if who not in history.terms.everybody and cleared[who]]
    broken += [f"{cleared[who]} lines of {who} were left for the end" for who in strays]
    for who in history.terms.everybody:
        ends = [each for each in history.purged if each.who == who and each.receipt.reason != LIVE_PURGE]
        if len(ends) != 1:
            broken.append(f"{who} was purged {len(ends)} times at its end")
    receipts = sum(purged.who in history.terms.everybody for purged in history.purged)
    return f"{receipts} receipts, {sum(cleared.values())} lines", broken


def _live_purge(history: History) -> Finding:
    who = history.terms.forgotten
    mine = [each.receipt for each in history.purged if each.who == who and each.receipt.reason == LIVE_PURGE]
    if not mine:
        return "there was none", [f"{who} was not purged while live"]
    receipt = mine[0]
    broken = [] if receipt.cleared else ["it cleared nothing"]
    if receipt.duration > PROMPT:
        broken.append(f"it took {receipt.duration:.2f} s")
    return f"{who}, {receipt.cleared} lines in {receipt.duration * 1000:.0f} ms", broken


def _redacted(history: History) -> Finding:
    card = history.terms.card
    said = sum(card in text for text in history.heard)
    clean = sum("[card]" in text for text in history.stored)
    broken = [] if said else ["the provider never heard the card number"]
    broken += [f"stored: {text}" for text in history.stored if card in text]
    if not clean:
        broken.append("no stored line shows where it was taken out")
    return f"said {said} times, stored as [card]", broken


Judges = tuple[tuple[str, Callable[[History], Finding]], ...]

GOES_WRONG: Judges = (
    ("a failed round runs its plan", _plans),
    ("degraded mode is entered, and left", _degraded),
    ("no attempt is made by two layers", _one_layer),
    ("users hear once of what was not repaired", _notices),
)
PRIVATE: Judges = (
    ("a card number is never stored", _redacted),
    ("a live session is purged in 500 ms", _live_purge),
    ("each purge takes its session's data", _purges),
)
