"""From nothing to a connection that knows what the others know: dial, greet, configure, replay, acknowledge."""

from __future__ import annotations

from typing import Any

from voicepilot.conversation.effects import Dial, Report, Send, Summarise, Yield
from voicepilot.conversation.happenings import Lost
from voicepilot.conversation.inputs import Dialled, Greeted, Heard, Input, Unconfirmed
from voicepilot.conversation.link import Link, Stage
from voicepilot.conversation.state import Json, State
from voicepilot.errors import Fault, FaultDomain
from voicepilot.ports import ConnectionPhase, ConnectionStatus

DEFAULT_LIFE = 3_600.0
"""Seconds a connection lives where the provider does not say (realtime-wire.md B3)."""

CONFIRMED_WITHIN = 5.0
"""Seconds the server has to confirm the options; the official agents client waits as long (realtime-wire.md E3)."""


def dial(state: State, now: float) -> None:
    """Order the next connection."""
    state.numbers += 1
    state.attempts += 1
    limit = state.config.restore_timeout_seconds
    state.incoming = Link(state.numbers, now + limit)
    state.out.append(Dial(state.numbers, limit))


def await_greeting(state: State, given: Dialled, now: float) -> None:
    """It is open; the server speaks first."""
    link = incoming(state)
    link.stage = Stage.GREETING
    link.note_alive(now)


def greet(state: State, given: Greeted, now: float) -> None:
    """Configure it, or go on where there is nothing to configure."""
    link = incoming(state)
    link.note_alive(now)
    link.learn(given.event["session"])
    lives = [life for life in (given.life, state.config.max_connection_seconds) if life is not None]
    link.cut_at = now + min(lives, default=DEFAULT_LIFE)
    if not state.connected:
        state.out.append(Yield(dict(given.event)))
    if state.active is None:
        status = ConnectionStatus.DEGRADED if state.connected else ConnectionStatus.UNKNOWN
        state.out.append(Report(ConnectionPhase.RESTORING, status))
    if state.session:
        _configure(state, link, now)
    else:
        _catch_up(state, link)


def _configure(state: State, link: Link, now: float) -> None:
    """Send the options; what it is to be told waits until they are confirmed."""
    link.stage, link.confirm_by = Stage.CONFIGURING, now + CONFIRMED_WITHIN
    link.update_id, link.options = state.event_id(), state.session
    session = {"type": link.session["type"], **state.session} if "type" in link.session else state.session
    state.out.append(Send(link.number, {"type": "session.update", "event_id": link.update_id, "session": session}))


def hear_incoming(state: State, given: Heard, now: float) -> None:
    """Take note of what the server acknowledges."""
    event, link = given.event, incoming(state)
    link.note_alive(now)
    match event["type"]:
        case "session.updated":
            link.learn(event["session"])
            if not state.connected:
                state.out.append(Yield(event))
            if link.stage is Stage.CONFIGURING:
                _catch_up(state, link)
        case "conversation.item.added":
            link.known.add(event["item"]["id"])
        case "conversation.item.done" | "conversation.item.created":
            _acknowledged(state, link, event["item"]["id"])
        case "conversation.item.deleted":
            link.known.discard(event["item_id"])
        case "error":
            _refused(state, link, event["error"])


def skip_configuring(state: State, _: Unconfirmed, now: float) -> None:
    """The server does not confirm the options; it works off what it hears in order, so nothing that follows is lost."""
    link = incoming(state)
    link.configured, link.heard_at = False, now  # it was silent so long because it had been asked nothing else
    _catch_up(state, link)


def catch_up(state: State, _: Input, now: float) -> None:
    """Tell the next connection what changed on the one that carried the conversation meanwhile."""
    link = incoming(state)
    link.limit_at = now + state.config.restore_timeout_seconds
    if link.options != state.session:
        _configure(state, link, now)
    else:
        _catch_up(state, link)


def _catch_up(state: State, link: Link) -> None:
    """Send what it does not have, in order and chained, and wait until it has all of it."""
    _delete_surplus(state, link)
    has = link.known | link.owed
    link.version = state.version
    replay = state.mirror.replay(state.config.replay_token_budget, known=has, refused=link.refused)
    link.renamed.update(replay.renamed)
    link.dropped = replay.dropped
    link.lost = [*(one for one in link.lost if one.item_id in link.refused), *replay.lost]
    for event in replay.events:
        item = event["item"]
        after = event.get("previous_item_id")
        after = after if after in has or after == "root" else link.last_item
        event_id = state.event_id()
        link.creates[event_id] = (item["id"], after)
        link.owed.add(item["id"])
        link.replayed.append(item["id"])
        link.last_item = item["id"]
        has.add(item["id"])
        state.out.append(Send(link.number, {**event, "event_id": event_id, "previous_item_id": after}))
    if replay.dropped_items and replay.dropped != state.summarising:
        state.summarising = replay.dropped
        state.out.append(Summarise(replay.dropped_items))
    link.stage = Stage.REPLAYING if link.owed else Stage.SYNCED


def _delete_surplus(state: State, link: Link) -> None:
    there = set(state.mirror.item_ids())
    for item_id in sorted(link.known - (there - link.stale)):
        link.known.discard(item_id)
        forget = {"type": "conversation.item.delete", "event_id": state.event_id(), "item_id": item_id}
        state.out.append(Send(link.number, forget))
    link.stale &= link.owed  # what it was just told is out of date too, once it has it


def _acknowledged(state: State, link: Link, item_id: str) -> None:
    link.known.add(item_id)
    link.owed.discard(item_id)
    if link.stage is Stage.REPLAYING and not link.owed:
        _settle(state, link)


def _settle(state: State, link: Link) -> None:
    """All that it was told is answered; it may have been refused some only for its place."""
    if link.displaced:
        link.displaced = False
        link.last_item = link.replayed[-1] if link.replayed else "root"
        _catch_up(state, link)
    else:
        link.stage = Stage.SYNCED


def _refused(state: State, link: Link, error: Json) -> None:
    """The server does not take an item, or the options."""
    event_id = error.get("event_id")
    if event_id == link.update_id and link.stage is Stage.CONFIGURING:
        link.configured = False
        _catch_up(state, link)
        return
    if event_id not in link.creates:
        return
    item_id, after = link.creates.pop(event_id)
    link.owed.discard(item_id)
    link.replayed.remove(item_id)
    link.displaced = True
    if after in link.known or after == "root":  # else it only followed one that was refused, and is told again
        link.refused.add(item_id)
        link.lost.append(Lost(item_id, f"the provider refused it: {error.get('message')}"))
    if not link.owed:
        _settle(state, link)


def incoming(state: State) -> Link:
    """The connection that is being made ready; the table asks only where there is one."""
    if state.incoming is None:
        raise AssertionError("there is no incoming connection")
    return state.incoming


def merged(session: Json, changes: Json) -> Json:
    """The options after a `session.update`: nested objects merge, everything else is replaced (realtime-wire.md D4)."""
    result: dict[str, Any] = dict(session)
    for name, value in changes.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


NOT_READY = Fault(
    code="CONNECTION_TIMEOUT",
    message="the connection was not open, configured and restored in time",
    remediation="Check the network to the provider, or raise restore_timeout_seconds.",
    retryable=True,
    domain=FaultDomain.TRANSPORT,
)
