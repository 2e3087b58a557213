"""Whether the demo's long call was carried whole: judged from what was heard, the transcript and the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from voicepilot.cli.demo.care import Finding, Judges
from voicepilot.cli.demo.history import History, LongCall
from voicepilot.emulator.record import Connection, Frame

CLOCKS = 0.1
"""Seconds two clocks may disagree."""

EXPIRED = 1001
"""How the provider closes a connection that is too old."""

CUT = 1006

Words = tuple[tuple[str, str], ...]
"""Who said what: user or assistant; call and output are a tool's."""


def _outlives(history: History) -> Finding:
    terms, call = history.terms, history.call
    if call is None:
        return "there was none", ["there was no long call"]
    broken = [f"it was lost: {call.lost}"] if call.lost else []
    if call.handovers < terms.handovers:
        broken.append(f"it moved {call.handovers} times, not {terms.handovers}")
    if call.lasted <= terms.connection_life:
        broken.append(f"it lasted {call.lasted:.1f} s only")
    lives = [(each, each.closed) for each in _connections(history)]
    too_old = sum(closed is not None and closed.code == EXPIRED for _, closed in lives)
    if too_old:
        broken.append(f"the provider cut {too_old} connections for their age")
    longest = max((closed.at - each.opened.at for each, closed in lives if closed is not None), default=0.0)
    if longest > terms.connection_life + CLOCKS:
        broken.append(f"a connection lived {longest:.1f} s, so there was no limit to outlive")
    return f"{call.lasted:.0f} s, on {len(lives)} connections of at most {terms.connection_life:g} s", broken


def _crash(history: History) -> Finding:
    call = history.call or LongCall()
    cut = sum(each.closed is not None and each.closed.code == CUT for each in _connections(history))
    broken = [] if cut else ["the provider dropped none of its connections"]
    if call.falls != 1:
        broken.append(f"it came back {call.falls} times, not once")
    if call.asked_again != 1:
        broken.append(f"{call.asked_again} answers were asked for again, not the one that was cut")
    return f"back after {call.outage:.2f} s; {call.asked_again} answer that it cut was asked for again", broken


def _transcribed(history: History) -> Finding:
    call = history.call or LongCall()
    said = tuple(each for each in call.said if each[0] in {"user", "assistant"})
    broken = differences(said, call.transcript) or _unheard(history, said)
    words = sum(len(text.split()) for _, text in said)
    return f"{words} words, {len(said)} turns", broken


def _unheard(history: History, said: Words) -> list[str]:
    """What the provider says it answered, and nobody heard; and the other way round."""
    mine = {each.opened.connection for each in _connections(history)}
    answered = [turn.text for turn in history.turns if turn.connection in mine and turn.status == "completed"]
    return differences(
        tuple(("assistant", text) for text in answered if text),
        tuple(each for each in said if each[0] == "assistant"),
    )


def _known(history: History) -> Finding:
    call, connections = history.call or LongCall(), _connections(history)
    last = connections[-1].opened.connection if connections else 0
    known = items_of(frame for frame in history.frames if frame.connection == last)
    tools = sum(kind in {"call", "output"} for kind, _ in known)
    return f"{len(known)} items, {tools} of them a tool's", differences(call.said, known)


def differences(expected: Words, found: Words) -> list[str]:
    """What is missing, what is too much; and if nothing is, whether the order is another."""
    wanted, got = Counter(expected), Counter(found)
    broken = [f"missing: {kind} {text}" for kind, text in (wanted - got).elements()]
    broken += [f"too much: {kind} {text}" for kind, text in (got - wanted).elements()]
    if not broken and expected != found:
        first = next(there for here, there in zip(expected, found, strict=True) if here != there)
        broken.append(f"out of order: {first[0]} {first[1]}")
    return broken if expected else ["nothing was said"]


def items_of(frames: Iterable[Frame]) -> Words:
    """The conversation as one connection has it in the end, from what the provider sent on it."""
    order: list[str] = []
    items: dict[str, Words] = {}
    names: dict[str, str] = {}  # of tools, by the id of the call
    for frame in frames:
        if frame.direction != "out":
            continue
        event = frame.event
        if frame.type == "conversation.item.added":
            after = event.get("previous_item_id")
            order.insert(order.index(after) + 1 if after in order else 0, event["item"]["id"])
        elif frame.type == "conversation.item.done":
            items[event["item"]["id"]] = (_words_of(event["item"], names),)
        elif frame.type == "conversation.item.deleted":
            order.remove(event["item_id"])
    return tuple(each for item_id in order for each in items.get(item_id, ()))


def _words_of(item: dict[str, object], names: dict[str, str]) -> tuple[str, str]:
    call_id, name = str(item.get("call_id")), str(item.get("name"))
    if item["type"] == "function_call":
        names[call_id] = name
        return "call", f"{name} {item['arguments']}"
    if item["type"] == "function_call_output":
        return "output", f"{names.get(call_id, 'of no call:')} {item['output']}"
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    return str(item.get("role")), "".join(part.get("text") or "" for part in parts)


def _connections(history: History) -> list[Connection]:
    """Those of the long call: opened with a key of its session."""
    keys = {held.key for held in history.held if held.who == history.terms.long_caller}
    return [each for each in history.connections if each.opened.credential in keys]


CARRIED: Judges = (
    ("a call outlives the provider's limit", _outlives),
    ("a crash costs it no word", _crash),
    ("each word is in the transcript once", _transcribed),
    ("the provider knows it all, tools too", _known),
)
