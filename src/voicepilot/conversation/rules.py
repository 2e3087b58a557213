"""What can happen to a conversation in each phase, as a table. Read this first.

A row says: in any of these phases, when this happens, and if the guard agrees, do the action and be in that phase. The
first row that fits wins. After each input the rows for `LOOK` are tried, until none fits: what has become possible by
what happened. `IGNORED` says what means nothing where; a test proves that every pair is in one of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

from voicepilot.conversation import moving as move
from voicepilot.conversation import restoring as restore
from voicepilot.conversation import talking as talk
from voicepilot.conversation.guards import (
    can_be_cured,
    cannot_be_cured,
    cannot_wait,
    has_still_to_learn,
    incoming_is_synced,
    is_behind,
    is_hopeless,
    is_settled,
    may_move,
    options_refused,
    was_abandoned,
    was_cut_short,
    was_last,
    was_left_alone,
    was_steady,
)
from voicepilot.conversation.inputs import (
    CloseAsked,
    ConnectAsked,
    Deadline,
    DeadlinePassed,
    DialFailed,
    Dialled,
    Fell,
    Greeted,
    Heard,
    Input,
    Ponged,
    Said,
    Silent,
    Summarised,
    Suspended,
    Unconfirmed,
)
from voicepilot.conversation.state import Phase, State

NEW, CONNECTING, WAITING, LIVE, PREPARING, SUSPENDING, SETTLING, OVER = Phase


class Role(StrEnum):
    """What a connection is to the conversation."""

    ACTIVE = "active"  # carries it
    INCOMING = "incoming"  # is being made ready
    DRAINING = "draining"  # was moved away from, and may still say what the user had said
    NONE = "none"  # was hung up; what it says comes too late


class Look(StrEnum):
    """Not an input: what has become possible."""

    LOOK = "look"


LOOK = Look.LOOK
FROM_A_LINK: tuple[type[Input], ...] = (Dialled, DialFailed, Greeted, Unconfirmed, Heard, Ponged, Silent, Fell)

What = type[Input] | tuple[type[Input], Role] | Deadline | Look
"""What a row waits for: an input, or more exactly from which connection, or which deadline passed."""

# The rules pair each action and guard with the input it takes; the type system cannot follow that through a table.
Action = Callable[[State, Any, float], None]
Guard = Callable[[State, Any, float], bool]


class Rule(NamedTuple):
    """One row of the table."""

    phases: frozenset[Phase]
    on: What
    do: Action
    to: Phase | None = None  # None: the phase stays
    when: Guard | None = None


def _in(*phases: Phase) -> frozenset[Phase]:
    return frozenset(phases)


ACTIVE, INCOMING, DRAINING, NONE = Role
ANY = frozenset(Phase)
CARRIED = _in(LIVE, PREPARING, SUSPENDING, SETTLING)
RESTORING = _in(CONNECTING, PREPARING, SUSPENDING, SETTLING)
UNCARRIED = _in(CONNECTING, WAITING)
LASTING = CARRIED | UNCARRIED

# fmt: off
RULES: tuple[Rule, ...] = (
    # A connection for the first time, and after a fall: dial, restore, carry on.
    Rule(_in(NEW),             ConnectAsked,            move.connect,              CONNECTING),
    Rule(RESTORING,            (Dialled, INCOMING),     restore.await_greeting),
    Rule(RESTORING,            (Greeted, INCOMING),     restore.greet),
    Rule(_in(CONNECTING),      (Heard, INCOMING),       move.lose_options,         OVER,       when=options_refused),
    Rule(RESTORING,            (Heard, INCOMING),       restore.hear_incoming),
    Rule(RESTORING,            (Unconfirmed, INCOMING), restore.skip_configuring),
    Rule(_in(CONNECTING),      LOOK,                    restore.catch_up,                      when=is_behind),
    Rule(_in(CONNECTING),      LOOK,                    move.carry_on,             LIVE,       when=incoming_is_synced),
    Rule(_in(CONNECTING),      (DialFailed, INCOMING),  move.lose_last,            OVER,       when=was_last),
    Rule(_in(CONNECTING),      (Fell, INCOMING),        move.lose_last,            OVER,       when=was_last),
    Rule(_in(CONNECTING),      (DialFailed, INCOMING),  move.wait,                 WAITING,    when=can_be_cured),
    Rule(_in(CONNECTING),      (DialFailed, INCOMING),  move.lose,                 OVER),
    Rule(_in(CONNECTING),      (Fell, INCOMING),        move.wait,                 WAITING,    when=can_be_cured),
    Rule(_in(CONNECTING),      (Fell, INCOMING),        move.lose,                 OVER),
    Rule(_in(WAITING),         Deadline.RETRY,          move.dial_again,           CONNECTING),
    Rule(UNCARRIED,            Deadline.GIVE_UP,        move.give_up,              OVER,       when=cannot_wait),
    Rule(_in(WAITING),         Deadline.GIVE_UP,        move.dial_last,            CONNECTING),
    Rule(_in(CONNECTING),      Deadline.GIVE_UP,        move.await_last),

    # Talking.
    Rule(LASTING,              Said,                    talk.say),
    Rule(_in(SETTLING),        (Heard, ACTIVE),         talk.hear_late,                    when=was_cut_short),
    Rule(CARRIED,              (Heard, ACTIVE),         talk.hear),
    Rule(LASTING,              (Heard, DRAINING),       talk.hear_late),
    Rule(LASTING,              Summarised,              talk.learn_summary),

    # The next connection, before this one is cut.
    Rule(_in(LIVE),            Deadline.PREPARE,        move.prepare,              PREPARING),
    Rule(_in(PREPARING),       (DialFailed, INCOMING),  move.prepare_later,        LIVE),
    Rule(_in(PREPARING),       (Fell, INCOMING),        move.prepare_later,        LIVE),
    Rule(CARRIED,              Deadline.MOVE,           move.insist),
    Rule(_in(PREPARING),       LOOK,                    move.suspend,              SUSPENDING, when=may_move),
    Rule(_in(SUSPENDING),      Suspended,               move.settle,               SETTLING),
    Rule(_in(SUSPENDING, SETTLING), (DialFailed, INCOMING), move.drop_next),
    Rule(_in(SUSPENDING, SETTLING), (Fell, INCOMING),   move.drop_next),
    Rule(_in(SETTLING),        Deadline.CUT,            move.cut_short),
    Rule(_in(SETTLING),        LOOK,                    move.abandon,              CONNECTING, when=was_abandoned),
    Rule(_in(SETTLING),        LOOK,                    move.stay,                 LIVE,       when=was_left_alone),
    Rule(_in(SETTLING),        LOOK,                    restore.catch_up,                      when=has_still_to_learn),
    Rule(_in(SETTLING),        LOOK,                    move.hand_over,            LIVE,       when=is_settled),

    # A connection falls.
    Rule(CARRIED,              (Fell, ACTIVE),          move.lose,                 OVER,       when=cannot_be_cured),
    Rule(CARRIED,              (Fell, ACTIVE),          move.fall,                 CONNECTING, when=was_steady),
    Rule(CARRIED,              (Fell, ACTIVE),          move.lose_patience,        OVER,       when=is_hopeless),
    Rule(CARRIED,              (Fell, ACTIVE),          move.fall_again,           WAITING),
    Rule(LASTING,              (Fell, DRAINING),        move.release),

    # Silence.
    Rule(CARRIED,              (Silent, ACTIVE),        talk.ask),
    Rule(RESTORING,            (Silent, INCOMING),      talk.ask),
    Rule(CARRIED,              (Ponged, ACTIVE),        talk.note_answer),
    Rule(RESTORING,            (Ponged, INCOMING),      talk.note_answer),

    # The end.
    Rule(ANY - {OVER},         CloseAsked,              move.close,                OVER),
    Rule(ANY,                  (Dialled, NONE),         move.hang_up),
)

TIMES: frozenset[What] = frozenset(Deadline)
FROM_ACTIVE: frozenset[What] = frozenset({(kind, ACTIVE) for kind in FROM_A_LINK})
FROM_INCOMING: frozenset[What] = frozenset({(kind, INCOMING) for kind in FROM_A_LINK})
FROM_DRAINING: frozenset[What] = frozenset({(kind, DRAINING) for kind in FROM_A_LINK})
TOO_LATE: frozenset[What] = frozenset((kind, NONE) for kind in FROM_A_LINK[1:])  # Dialled, the first, is hung up
# What a connection that is in use no longer does.
OPENING: tuple[type[Input], ...] = (Dialled, DialFailed, Greeted, Unconfirmed)
QUIET: frozenset[What] = frozenset((kind, role) for kind in OPENING for role in (ACTIVE, DRAINING))
DONE: frozenset[What] = frozenset({(Ponged, DRAINING), (Silent, DRAINING), *QUIET, *TOO_LATE})

IGNORED: dict[Phase, frozenset[What]] = {
    NEW: frozenset({Said, Suspended, Summarised, *TIMES, *FROM_ACTIVE, *FROM_INCOMING, *FROM_DRAINING, *TOO_LATE}),
    # No connection is active here; the answer to a Suspend comes too late after a fall.
    CONNECTING: frozenset({ConnectAsked, Suspended, *FROM_ACTIVE, *DONE, *(TIMES - {Deadline.GIVE_UP})}),
    WAITING: frozenset({
        ConnectAsked, Suspended, *FROM_ACTIVE, *FROM_INCOMING, *DONE,
        *(TIMES - {Deadline.GIVE_UP, Deadline.RETRY}),
    }),
    LIVE: frozenset({
        ConnectAsked, Suspended, *FROM_INCOMING, *DONE,
        *(TIMES - {Deadline.PREPARE, Deadline.MOVE}),
    }),
    PREPARING: frozenset({ConnectAsked, Suspended, *DONE, *(TIMES - {Deadline.MOVE})}),
    SUSPENDING: frozenset({ConnectAsked, *DONE, *(TIMES - {Deadline.MOVE})}),
    SETTLING: frozenset({ConnectAsked, Suspended, *DONE, *(TIMES - {Deadline.MOVE, Deadline.CUT})}),
    OVER: frozenset({
        ConnectAsked, Said, Suspended, Summarised, CloseAsked,
        *TIMES, *FROM_ACTIVE, *FROM_INCOMING, *FROM_DRAINING, *TOO_LATE,
    }),
}
# fmt: on


def what(state: State, given: Input) -> What:
    """What a row must wait for to be about `given`."""
    link = getattr(given, "link", None)
    if link is not None:
        return type(given), role_of(state, link)
    return given.deadline if isinstance(given, DeadlinePassed) else type(given)


def role_of(state: State, number: int) -> Role:
    """What a connection is to the conversation now."""
    if state.active is not None and state.active.number == number:
        return ACTIVE
    if state.incoming is not None and state.incoming.number == number:
        return INCOMING
    return DRAINING if any(link.number == number for link in state.drains) else NONE


ALL_WHATS: tuple[What, ...] = (
    *(kind for kind in Input.__args__ if kind is not DeadlinePassed and kind not in FROM_A_LINK),
    *((kind, role) for kind in FROM_A_LINK for role in Role),
    *Deadline,
)

ROWS: dict[tuple[Phase, What], tuple[Rule, ...]] = {
    (phase, kind): rows
    for phase in Phase
    for kind in (*ALL_WHATS, LOOK)
    if (rows := tuple(rule for rule in RULES if phase in rule.phases and rule.on == kind))
}
"""The same table, by phase and input."""
