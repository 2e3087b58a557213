"""When a row of the table applies."""

from __future__ import annotations

from voicepilot.conversation.inputs import DialFailed, Fell, Heard, Input
from voicepilot.conversation.link import Stage
from voicepilot.conversation.state import State

MOST_FLAPS = 20
"""Connections in a row that fall at once before the conversation is given up; about two minutes, with the pauses."""

STEADY = 5.0
"""Seconds after which a connection was of use even if nobody wanted an answer."""


def can_be_cured(_: State, given: DialFailed | Fell, __: float) -> bool:
    """Whether trying again can help."""
    return given.fault.retryable


def cannot_be_cured(_: State, given: DialFailed | Fell, __: float) -> bool:
    """Whether trying again cannot help."""
    return not given.fault.retryable


def was_last(state: State, _: DialFailed | Fell, __: float) -> bool:
    """Whether the outage has lasted too long for another dial."""
    return state.is_last


def cannot_wait(state: State, _: Input, __: float) -> bool:
    """Whether it was never connected, or the provider asked not to be dialled yet."""
    return not state.connected or (state.faulted is not None and bool(state.faulted.retry_after))


def options_refused(state: State, given: Heard, _: float) -> bool:
    """Whether the first connection does not take the options it was opened with."""
    link = state.incoming
    return (
        not state.connected
        and link is not None
        and link.stage is Stage.CONFIGURING
        and given.event["type"] == "error"
        and given.event["error"].get("event_id") == link.update_id
    )


def incoming_is_synced(state: State, _: Input, __: float) -> bool:
    """Whether the next connection has acknowledged all that it was told."""
    return state.incoming is not None and state.incoming.stage is Stage.SYNCED


def is_behind(state: State, given: Input, now: float) -> bool:
    """Whether it has, but more happened since."""
    link = state.incoming
    return link is not None and incoming_is_synced(state, given, now) and link.version != state.version


def is_boundary(state: State, now: float) -> bool:
    """Whether nothing is cut by moving now."""
    return state.turn.is_over(now) and not state.journal.awaits_answer() and not state.reask


def may_move(state: State, given: Input, now: float) -> bool:
    """Whether the next connection is ready, and nobody speaks or the cut is near."""
    return incoming_is_synced(state, given, now) and (state.must_move or is_boundary(state, now))


def _old_is_done(state: State, now: float) -> bool:
    return state.cleared and (state.forced or is_boundary(state, now))


def has_still_to_learn(state: State, given: Input, now: float) -> bool:
    """Whether the old connection has said all it had to say, and the next one does not know it yet."""
    return _old_is_done(state, now) and is_behind(state, given, now)


def is_settled(state: State, given: Input, now: float) -> bool:
    """Whether the old connection has said all it had to say, and the next one knows it."""
    return _old_is_done(state, now) and incoming_is_synced(state, given, now)


def was_steady(state: State, _: Input, now: float) -> bool:
    """Whether the connection was of use, or the next is on its way; else to dial at once would be a hot loop."""
    link = state.active
    return state.incoming is not None or (link is not None and (link.proved or now - link.began_at >= STEADY))


def was_cut_short(state: State, _: Input, __: float) -> bool:
    """Whether the end of an answer is awaited no longer: what the old connection still says of it is settled."""
    return state.forced


def was_abandoned(state: State, _: Input, __: float) -> bool:
    """Whether there is nothing to move to any more, and what the old connection had to say is settled without it."""
    return state.forced and state.incoming is None


def is_hopeless(state: State, _: Input, __: float) -> bool:
    """Whether so many connections in a row were of no use that the next will not be either."""
    return state.flaps >= MOST_FLAPS


def was_left_alone(state: State, _: Input, __: float) -> bool:
    """Whether there is nothing to move to any more."""
    return state.cleared and state.incoming is None
