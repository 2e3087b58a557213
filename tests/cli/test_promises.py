"""Each check of the demo passes a good history and fails a broken one: a check that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.cli.histories import (
    EMMAS,
    answers,
    call,
    connection,
    emmas,
    events,
    frame,
    frames,
    good,
    item,
    leases,
    mints,
    planned,
    shown,
    turns,
)

from voicepilot.cli.demo.history import Held, History, Notice, Said, Seen
from voicepilot.cli.demo.promises import PROMISES, check
from voicepilot.emulator.record import Refused

replace = msgspec.structs.replace


def broken_by(history: History) -> dict[str, tuple[str, ...]]:
    return {promise.text: promise.broken for promise in check(history) if not promise.kept}


def without(kind: str, who: str) -> tuple[Seen, ...]:
    return tuple(seen for seen in events() if (seen.type, seen.who) != (kind, who))


def altered(chosen: Callable[[Any], bool], things: tuple[Any, ...], **changes: Any) -> tuple[Any, ...]:
    return tuple(replace(thing, **changes) if chosen(thing) else thing for thing in things)


def purges(who: str, **changes: Any) -> dict[str, Any]:
    return {"purged": altered(lambda purged: purged.who == who, good().purged, **changes)}


def receipts(number: int, **changes: Any) -> dict[str, Any]:
    told = list(good().purged)
    told[number] = replace(told[number], receipt=replace(told[number].receipt, **changes))
    return {"purged": tuple(told)}


def cleo_told(*degraded: bool) -> dict[str, Any]:
    """The history with other news of cleo's degraded mode: at 22.5, 26.5 and 26.7."""
    others = (seen for seen in events() if seen.type != "degraded-changed")
    news = (
        Seen(at=at, who="cleo", type="degraded-changed", degraded=value)
        for at, value in zip((22.5, 26.5, 26.7), degraded, strict=False)
    )
    return {"seen": tuple(sorted((*others, *news), key=lambda each: each.at))}


def test_a_good_history_keeps_every_promise() -> None:
    assert broken_by(good()) == {}


def extra(seen: Seen) -> dict[str, Any]:
    return {"seen": tuple(sorted((*events(), seen), key=lambda each: each.at))}


LIMIT = "the limit on sessions holds"
RENEWED = "every session renews by itself"
VALID = "never a second without a valid key"
OWN = "a key belongs to one session"
RATE = "a 429 is obeyed"
OUTAGE = "an outage costs no session its key"
HAND = "renewal by hand"
SILENCE = "silence ends that session only"
CALLS = "calls go through on the keys"
TOLD = "all is told, once and in order"
PLAN = "a failed round runs its plan"
WORSE = "degraded mode is entered, and left"
LAYERS = "no attempt is made by two layers"
NOTICE = "users hear once of what was not repaired"
OUTLIVES = "a call outlives the provider's limit"
CRASH = "a crash costs it no word"
WORDS = "each word is in the transcript once"
KNOWN = "the provider knows it all, tools too"
REDACTED = "a card number is never stored"
LIVE = "a live session is purged in 500 ms"
PURGED = "each purge takes its session's data"
LEFT = "nothing is left behind"

FOURTH = Seen(at=5.0, who="dora", type="state-changed", previous="idle", new="starting")


def emma_had(*connections: Any) -> dict[str, Any]:
    return {"connections": (*good().connections[:2], *connections)}


def transcribed(*numbers: int) -> dict[str, Any]:
    spoken = call().transcript
    return {"call": call(transcript=tuple(spoken[number] for number in numbers))}


def framed(chosen: Callable[[Any], bool], *more: Any) -> dict[str, Any]:
    return {"frames": (*(each for each in frames() if not chosen(each)), *more)}


def done(each: Any) -> bool:
    return bool(each.type == "conversation.item.done" and each.connection == 14)


def of_item(number: int) -> Callable[[Any], bool]:
    return lambda each: done(each) and each.event["item"]["id"] == f"item{number}"


def doubled(number: int, *, after: str) -> tuple[Any, ...]:
    twin = {**item(number), "id": "twin"}
    return tuple(frame(f"conversation.item.{step}", item=twin, previous_item_id=after) for step in ("added", "done"))


BREAKS: list[tuple[str, dict[str, Any], str]] = [
    (LIMIT, {"refused_starts": ()}, "none"),
    (LIMIT, {"refused_starts": ("NOT_REFUSED",)}, "NOT_REFUSED"),
    (LIMIT, extra(FOURTH), "4 sessions were live at once"),
    (LIMIT, {"seen": without("session-started", "anna")}, "anna never started"),
    (RENEWED, {"seen": without("renewal-started", "cleo")}, "cleo was renewed 0 times, not 1"),
    (VALID, {"held": tuple(held for held in leases() if held.key != "anna-26.6")}, "anna had none for 6.80 s"),
    (
        VALID,
        {"mints": altered(lambda mint: mint.key == "ben-26.7", mints(), valid_until=30.0)},
        "ben had none for 10.00 s",
    ),
    (VALID, {"mints": tuple(mint for mint in mints() if mint.key != "ben-0")}, "ben had none for 8.70 s"),
    (VALID, {"held": tuple(held for held in leases() if held.who != "cleo")}, "cleo never held one"),
    (VALID, {"refused": (Refused(at=5, path="/v1/realtime", status=401, credential="key-x"),)}, "a socket with 401"),
    (OWN, {"held": altered(lambda held: held.key == "ben-0", leases(), key="anna-0")}, "anna and ben shared a key"),
    (OWN, {"held": altered(lambda held: held.key == "ben-0", leases(), key="made-up")}, "the provider never made"),
    (
        OWN,
        {"held": altered(lambda held: held.key == "ben-9.2", leases(), key="ben-0")},
        "renewed 3 times, but held 3 keys",
    ),
    (RATE, {"mints": tuple(mint for mint in mints() if mint.status != 429)}, "there was no 429"),
    (RATE, {"mints": altered(lambda mint: mint.status == 429, mints(), at=12.0)}, "tried again after 1.2 s"),
    (RATE, {"mints": altered(lambda mint: mint.status == 429, mints(), at=15.1)}, "nobody tried again"),
    (OUTAGE, {"mints": tuple(mint for mint in mints() if not mint.fault)}, "the outage hit no renewal"),
    (OUTAGE, {"mints": altered(lambda mint: mint.at == 23.1, mints(), at=30.0)}, "anna was not renewed after it"),
    (HAND, {"seen": altered(lambda seen: seen.at == 15.0, events(), why="automatic-renewal")}, "by hand 0 times"),
    (SILENCE, {"seen": without("state-changed", "cleo")}, "cleo was never ended"),
    (
        SILENCE,
        {"seen": altered(lambda seen: seen.why == "goodbye", events(), why="inactivity-timeout")},
        "anna was ended",
    ),
    (SILENCE, {"said": altered(lambda said: said.at == 27.0, turns(), at=30.0)}, "9.0 s after the last word, not 12 s"),
    (
        SILENCE,
        {"said": altered(lambda said: said.at == 27.0, turns(), at=20.0)},
        "19.0 s after the last word, not 12 s",
    ),
    (CALLS, {"said": tuple(said for said in turns() if said.who != "ben")}, "ben never got an answer"),
    (
        CALLS,
        {"said": (*turns(), Said(at=3, who="ben", client="aiohttp", outcome="refused with 401"))},
        "refused with 401",
    ),
    (TOLD, extra(Seen(at=41, who="ben", type="session-ended", why="goodbye")), "session-ended was told 2 times"),
    (TOLD, {"seen": without("session-ended", "ben")}, "session-ended was told 0 times"),
    (
        TOLD,
        extra(Seen(at=5, who="ben", type="state-changed", previous="paused", new="active")),
        "as if it had been paused",
    ),
    (TOLD, {"seen": tuple(seen for seen in events() if seen.new != "ended")}, "ben was never told to be over"),
    (PLAN, {"planned": ()}, "cleo's failed round had no plan"),
    (PLAN, {"planned": (planned(at=30.0),)}, "cleo's failed round had no plan"),
    (PLAN, {"planned": (planned(), planned(at=23.0))}, "1 rounds failed, but 2 plans were run"),
    (PLAN, {"planned": (planned(tried=()),)}, "cleo's plan ran no step, not TEST_AUTHENTICATION"),
    (PLAN, {"planned": (planned(fallback=None),)}, "step None worked, fallback None"),
    (PLAN, {"planned": (planned(step="TEST_AUTHENTICATION"),)}, "fallback degraded-features"),
    (PLAN, {"seen": without("renewal-failed", "cleo")}, "no round failed"),
    (WORSE, {"shown": ()}, "the host was never told"),
    (WORSE, {"shown": (shown(22.5, True),)}, "the host was not told of the end"),
    (WORSE, {"shown": (shown(28.5, True), shown(29.0, False))}, "before any plan fell back"),
    (WORSE, cleo_told(), "cleo failed a round and was not degraded"),
    (WORSE, cleo_told(True), "cleo never was well again"),
    (WORSE, cleo_told(True, True, False), "cleo was told to be degraded out of turn"),
    (
        WORSE,
        {"seen": tuple(seen for seen in events() if (seen.type, seen.at) != ("renewal-completed", 26.5))},
        "cleo was well again without a new key",
    ),
    (LAYERS, {"attempts": 5}, "the provider got 17 requests for 5 attempts"),
    (LAYERS, {"attempts": 18}, "the provider got 17 requests for 18 attempts"),
    (LAYERS, {"mints": (), "attempts": 0}, "nothing was asked"),
    (NOTICE, {"notices": ()}, "nobody was told"),
    (NOTICE, {"notices": good().notices * 2}, "cleo was told 2 times of UNAVAILABLE"),
    (
        NOTICE,
        {"notices": (*good().notices, Notice(at=23, who="ben", code="X", told=False))},
        "1 plans repaired nothing, but 2 errors",
    ),
    (OUTLIVES, {"call": None}, "there was no long call"),
    (OUTLIVES, {"call": call(lost="no connection for 300 s")}, "it was lost: no connection for 300 s"),
    (OUTLIVES, {"call": call(handovers=1)}, "it moved 1 times, not 2"),
    (OUTLIVES, {"call": call(lasted=6.9)}, "it lasted 6.9 s only"),
    (OUTLIVES, emma_had(emmas(11, code=1001, by="server")), "the provider cut 1 connections for their age"),
    (OUTLIVES, emma_had(emmas(11, at=50.0)), "a connection lived 9.0 s"),
    (CRASH, emma_had(*(emmas(number) for number in EMMAS if number != 13)), "dropped none of its connections"),
    (CRASH, {"call": call(falls=0)}, "it came back 0 times"),
    (CRASH, {"call": call(falls=2)}, "it came back 2 times"),
    (CRASH, {"call": call(asked_again=0)}, "0 answers were asked for again"),
    (WORDS, transcribed(0, 1, 2, 4, 5), "missing: assistant The one by the window."),
    (WORDS, transcribed(0, 1, 2, 3, 4, 5, 5), "too much: assistant You said: Thank you."),
    (WORDS, transcribed(0, 1, 4, 3, 2, 5), "out of order: user Thank you."),
    (WORDS, {"call": call(said=(), transcript=())}, "nothing was said"),
    (WORDS, {"call": None}, "nothing was said"),
    (WORDS, {"turns": answers()[1:3]}, "too much: assistant The one by the window."),
    (WORDS, {"turns": (*answers(), answers()[1])}, "missing: assistant You said: Good evening."),
    (KNOWN, framed(of_item(0)), "missing: user Good evening."),
    (KNOWN, framed(of_item(3)), "missing: call find_table"),
    (KNOWN, framed(of_item(4)), "missing: output find_table"),
    (KNOWN, framed(lambda _: False, *doubled(4, after="item7")), "too much: output find_table {}"),
    (KNOWN, framed(lambda _: False, frame("conversation.item.deleted", item_id="item6")), "missing: user Thank you."),
    (
        KNOWN,
        framed(of_item(4), frame("conversation.item.done", item={**item(4), "call_id": "another"})),
        "too much: output of no call: {}",
    ),
    (
        KNOWN,
        framed(of_item(0), frame("conversation.item.deleted", item_id="item0"), *doubled(0, after="item7")),
        "out of order: assistant You said: Good evening.",
    ),
    (KNOWN, emma_had(), "missing: user Good evening."),
    (REDACTED, {"heard": ("hello",)}, "the provider never heard the card number"),
    (REDACTED, {"stored": ("[card]", "My card is 4111 1111 1111 1111.")}, "stored: My card is 4111"),
    (REDACTED, {"stored": ("hello",)}, "no stored line shows where it was taken out"),
    (LIVE, {"purged": good().purged[1:]}, "ben was not purged while live"),
    (LIVE, receipts(0, cleared=0), "it cleared nothing"),
    (LIVE, receipts(0, duration=0.6), "it took 0.60 s"),
    (PURGED, {"purged": good().purged[:2]}, "ben was purged 0 times"),
    (PURGED, {"lines_left": 2}, "2 lines were left behind"),
    (PURGED, receipts(1, cleared=9), "cleo: 3 lines are gone, receipts say 9"),
    (PURGED, receipts(1, failed=1), "cleo: the purge left 0 lines"),
    (PURGED, purges("cleo", held={"anna": 5, "ben": 2, "cleo": 1, "emma": 5}), "cleo: the purge left 1 lines"),
    (PURGED, purges("cleo", held={"anna": 5, "emma": 5}), "ben: 6 lines are gone, receipts say 4, after cleo's purge"),
    (PURGED, receipts(5, cleared=2), "2 lines of everybody were left for the end"),
    (LEFT, {"tasks_left": ("voicepilot-mint 7",)}, "task voicepilot-mint 7"),
    (LEFT, {"sockets_left": 2}, "2 sockets of this process"),
    (LEFT, {"connections": (connection(1), connection(2, closed=False))}, "1 connections at the provider"),
    (LEFT, {"logged": ("voicepilot: a handler raised",)}, "a handler raised"),
]


@pytest.mark.parametrize(("promise", "changes", "said"), BREAKS, ids=[f"{each[0]}: {each[2]}" for each in BREAKS])
def test_a_broken_promise_is_found(promise: str, changes: dict[str, Any], said: str) -> None:
    found = broken_by(good(**changes))
    assert any(said in line for line in found.get(promise, ())), found


def test_every_promise_is_broken_by_some_test() -> None:
    assert {text for text, _ in PROMISES} == {promise for promise, _, _ in BREAKS}


def test_nothing_seen_keeps_no_promise_that_needs_something_to_happen() -> None:
    nothing = History(terms=good().terms)
    assert set(broken_by(nothing)) == {text for text, _ in PROMISES} - {LEFT}


def test_a_cancelled_attempt_may_have_reached_the_provider_or_not() -> None:
    told = len(mints()) - 1
    assert broken_by(good(attempts=told, abandoned=1)) == {}
    assert broken_by(good(attempts=len(mints()), abandoned=1)) == {}


def test_a_plan_whose_step_worked_enters_no_fallback_and_reports_no_error() -> None:
    both = (planned(), planned(at=24.0, step="TEST_AUTHENTICATION", fallback=None))
    again = Seen(at=23.9, who="cleo", type="renewal-failed")
    assert broken_by(good(planned=both, **extra(again))) == {}


def test_a_503_in_the_outage_is_nobodys_bad_key() -> None:
    down = Refused(at=22, path="/v1/realtime", status=503, credential="key-x")
    assert broken_by(good(refused=(down,))) == {}


def test_a_key_handed_out_late_leaves_a_gap() -> None:
    late = altered(lambda held: held.key == "ben-26.7", leases(), at=37.3)  # the key before lapsed at 35.3
    found = broken_by(good(held=late))
    assert found == {VALID: ("ben had none for 2.00 s",)}


def test_holding_the_old_key_again_counts_as_sharing_nothing() -> None:
    again = (*leases(), Held(at=39.5, who="ben", key="ben-26.7"))
    assert broken_by(good(held=again)) == {}
