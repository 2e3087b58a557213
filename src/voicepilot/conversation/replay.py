"""What to send to a connection so that it holds the conversation: the items to create, and those that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from voicepilot.conversation.happenings import Lost
from voicepilot.conversation.item import CUT_CALL, NO_CALL, Again, Entry, Json, legal_call_id
from voicepilot.conversation.items import turns

BYTES_A_TOKEN = 4
"""UTF-8 bytes of text. Rough, and enough for a bound."""

AUDIO_TOKENS_A_SECOND = 10
"""The provider counts the user's audio by tenths of a second."""

IMAGE_TOKENS = 800
"""About what a picture of 1,024 by 1,024 costs in full detail."""

ITEM_TOKENS = 4
"""What an item costs besides its content."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """The events that give a connection what it does not have of the conversation, and what they leave out."""

    events: tuple[Json, ...] = ()  # `conversation.item.create`, in order, each chained to the item before it
    item_ids: tuple[str, ...] = ()  # of the items they create
    lost: tuple[Lost, ...] = ()  # cannot be said again, or not all of it
    unfinished: tuple[str, ...] = ()  # still being said; a later replay has them
    dropped: tuple[str, ...] = ()  # did not fit the budget, or were forgotten before (the last thousand of these)
    dropped_items: tuple[Json, ...] = ()  # those of the budget, after the earlier summary, to be summarised
    renamed: Mapping[str, str] = {}  # call ids that the provider would refuse, and those in their place
    tokens: int = 0  # what all costs that fits the budget, about


class Sayable(msgspec.Struct, frozen=True):
    """What of the conversation can be said again, in order."""

    items: dict[str, Json]
    lost: tuple[Lost, ...]
    unfinished: tuple[str, ...]
    renamed: dict[str, str]


def sayable(entries: Sequence[Entry], said: Callable[[Entry], Again]) -> Sayable:
    """Go through the conversation; an output is said only behind its call, a call that was cut off not at all."""
    calls = _Calls(entries)
    finished = [entry for entry in entries if entry.finished and not calls.waits(entry)]
    unfinished = tuple(entry.id for entry in entries if not entry.finished or calls.waits(entry))
    items: dict[str, Json] = {}
    lost: list[Lost] = []
    renamed: dict[str, str] = {}
    for entry in finished:
        reason = calls.refused(entry)
        one = said(entry) if reason is None else Again(None, (reason,))
        lost += [Lost(entry.id, missing) for missing in dict.fromkeys(one.missing)]
        if one.item is None:
            continue
        items[entry.id] = one.item
        calls.said(entry)
        original = entry.item.get("call_id")
        if original and original != one.item["call_id"]:
            renamed[original] = one.item["call_id"]
    return Sayable(items, tuple(lost), unfinished, renamed)


class _Calls:
    """Which function calls have been said, are being made, or have an output."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        calls = [entry for entry in entries if entry.kind == "function_call"]
        self._said: set[str] = set()
        self._running = {_call_id(entry) for entry in calls if not entry.finished}
        self._answered = {_call_id(entry) for entry in entries if entry.kind == "function_call_output"}

    def waits(self, entry: Entry) -> bool:
        """Whether it answers a call that is still being made."""
        return entry.kind == "function_call_output" and _call_id(entry) in self._running

    def refused(self, entry: Entry) -> str | None:
        """Why a new connection must not get it."""
        cut = entry.kind == "function_call" and entry.item.get("status") == "incomplete"
        if cut and _call_id(entry) not in self._answered:
            return CUT_CALL
        if entry.kind == "function_call_output" and _call_id(entry) not in self._said:
            return NO_CALL
        return None

    def said(self, entry: Entry) -> None:
        """A new connection gets it."""
        if entry.kind == "function_call":
            self._said.add(_call_id(entry))


def _call_id(entry: Entry) -> str:
    return legal_call_id(str(entry.item.get("call_id")))


# --- the budget -----------------------------------------------------------------------------------------------------


def tokens(item: Json, audio: float) -> int:
    """About how many tokens an item costs that holds so many seconds of audio."""
    total = ITEM_TOKENS + math.ceil(audio * AUDIO_TOKENS_A_SECOND)
    total += sum(_text_tokens(item.get(name)) for name in ("name", "arguments", "output"))
    for part in item.get("content") or ():
        total += IMAGE_TOKENS if part["type"] == "input_image" else _text_tokens(part.get("text"))
    return total


def _text_tokens(text: str | None) -> int:
    return math.ceil(len((text or "").encode(errors="surrogatepass")) / BYTES_A_TOKEN)


def surplus(items: Sequence[Json], costs: Mapping[str, int], limit: int | None) -> set[str]:
    """The ids that must go so that the rest costs no more than `limit`: the oldest turns, of the last its oldest items.

    An output goes with its call, wherever it stands. System messages stay.
    """
    gone: set[str] = set()
    left = sum(costs[item["id"]] for item in items)
    if limit is None or left <= limit:
        return gone
    outputs = _outputs(items)
    for group in _groups(items):
        if left <= limit:
            break
        going = {one for item in group for one in (item["id"], *outputs.get(item["id"], ()))} - gone
        left -= sum(costs[item_id] for item_id in going)
        gone |= going
    return gone


def _groups(items: Sequence[Json]) -> Iterator[list[Json]]:
    """The turns, and of the last one each item."""
    rounds = list(turns(items))
    yield from rounds[:-1]
    for item in rounds[-1] if rounds else ():
        yield [item]


def _outputs(items: Iterable[Json]) -> dict[str, list[str]]:
    """The ids of each call's outputs, by the id of the call's item."""
    callers: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for item in items:
        if item["type"] == "function_call":
            callers[item.get("call_id", "")] = item["id"]
        elif item["type"] == "function_call_output":
            found.setdefault(callers[item["call_id"]], []).append(item["id"])
    return found


# --- the events -----------------------------------------------------------------------------------------------------


def creations(order: Iterable[str], wanted: Mapping[str, Json], known: Collection[str]) -> Iterator[Json]:
    """An event for each item that is wanted and not known there; it shall stand behind the one before it."""
    previous = "root"
    for item_id in order:
        if item_id in wanted and item_id not in known:
            yield {"type": "conversation.item.create", "previous_item_id": previous, "item": wanted[item_id]}
        if item_id in wanted or item_id in known:
            previous = item_id
