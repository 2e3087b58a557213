"""In which order what the client said leaves, and what has to wait although there is a connection.

A server gives one answer at a time, and refuses to be asked for another meanwhile (realtime-wire.md D3, D5). So a
`response.create` waits until the answer under way is over, and what was said after it waits behind it, for the answer
must not know it yet. The user's audio goes on, unless its turn is to be closed by something that waits.
"""

from __future__ import annotations

from voicepilot.conversation.effects import Send, Yield
from voicepilot.conversation.happenings import Action, TurnInterrupted
from voicepilot.conversation.journal import APPEND, CLEAR, COMMIT, CREATE, LASTING, RESPOND, TRUNCATE, Entry
from voicepilot.conversation.link import Link
from voicepilot.conversation.mirror import Abandoned
from voicepilot.conversation.state import Phase, State

FLOWING = frozenset({Phase.LIVE, Phase.PREPARING})
"""Where input is sent at once."""

PATIENCE = 60.0
"""Seconds without a sign of an answer after which what waits for its end waits no longer."""


def let_go(state: State, link: Link, entry: Entry) -> None:
    """Send an entry, or let it wait where it is."""
    if _passes(state, entry):
        send(state, link, entry)
        return
    state.waits = True
    state.turn_waits = state.turn_waits or entry.kind in {COMMIT, CLEAR}


def _passes(state: State, entry: Entry) -> bool:
    if entry.kind == APPEND:
        return not state.turn_waits
    if state.waits:
        return entry.kind not in LASTING
    return entry.kind != RESPOND or _is_aside(entry) or not _is_answering(state)


def _is_aside(entry: Entry) -> bool:
    """Whether the answer is no part of the conversation; any number may be given at once."""
    return (entry.event.get("response") or {}).get("conversation") == "none"


def _is_answering(state: State) -> bool:
    return bool(state.turn.asked or state.reask) or state.journal.awaits(RESPOND)


def send_waiting(state: State, link: Link) -> tuple[int, float]:
    """Send what waits, in order, as far as it may go; gives how many events wait, and the seconds of audio in them."""
    state.waits = state.turn_waits = False
    entries = state.journal.unsent()
    for entry in entries:
        let_go(state, link, entry)
    return len(entries), sum(entry.end - entry.start for entry in entries)


def stop_waiting(state: State, now: float) -> None:
    """An answer that is never heard of again must not hold up all others: say so, and let go of what waits for it."""
    link = state.active
    if not state.waits or link is None or state.phase not in FLOWING or now - state.answered_at < PATIENCE:
        return
    state.answered_at = now
    for response_id in state.turn.asked:
        tell_interrupted(state, response_id, "report", state.mirror.abandon(response_id, keep_partial=True), now)
    state.turn.asked.clear()
    state.reask.clear()
    while state.journal.awaits(RESPOND):
        state.journal.fail(RESPOND)
    send_waiting(state, link)


def tell_interrupted(state: State, response_id: str, action: Action, left: Abandoned, now: float) -> None:
    """Say what became of an answer that was cut."""
    told = TurnInterrupted(
        at=now, response_id=response_id, action=action, kept=left.kept, dropped=left.dropped, text=left.text
    )
    state.out.append(Yield(told))


def send(state: State, link: Link, entry: Entry) -> None:
    """Send an entry of the journal, with the call ids that this connection knows."""
    event = entry.event
    if entry.kind == TRUNCATE and event["item_id"] in link.replayed:
        _shorten(state, entry)
        return
    if link.renamed and entry.kind == CREATE:
        item = event["item"]
        if item.get("call_id") in link.renamed:
            event = {**event, "item": {**item, "call_id": link.renamed[item["call_id"]]}}
    state.out.append(Send(link.number, event))
    state.journal.mark_sent(entry)


def _shorten(state: State, entry: Entry) -> None:
    """This connection has the answer's words and not its sound, and would refuse; the next one gets what was heard."""
    place = {name: entry.event.get(name, 0) for name in ("item_id", "content_index", "audio_end_ms")}
    event = {"type": "conversation.item.truncated", "event_id": state.event_id(), **place}
    state.mirror.hear(event)
    state.version += 1
    state.journal.drop(entry)
    state.out.append(Yield(event))
