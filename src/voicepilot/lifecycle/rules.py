"""What can happen in each phase, as a table. Read this first.

A row says: in any of these phases, when this happens, and if the guard agrees, do the action and be in that phase.
The first row that fits wins. `IGNORED` lists what means nothing in a phase; a test proves that every pair of phase and
input is in one of the two. What a row does is in `actions.py` (starting, ending), `renewing.py` and `upkeep.py`; the
guards are in `guards.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from voicepilot.lifecycle import actions as do
from voicepilot.lifecycle import leash
from voicepilot.lifecycle import renewing as renew
from voicepilot.lifecycle import upkeep as keep
from voicepilot.lifecycle.guards import (
    between_rounds,
    dial_waits,
    dial_with_new_key,
    for_dial,
    for_dial_while_paused,
    hopeless,
    is_ours,
    may_retry,
    paused_by_user,
    will_be_failed,
    with_new_key,
)
from voicepilot.lifecycle.inputs import (
    ConfigUpdated,
    ConnectionClosed,
    ConnectionReported,
    DeadlinePassed,
    EndRequested,
    HoldReleased,
    HoldTaken,
    Hook,
    HookFinished,
    Input,
    KeyMinted,
    KeyRejected,
    MintFailed,
    PauseRequested,
    PlanWorked,
    Purged,
    RenewRequested,
    ResumeRequested,
    SlotRefused,
    SlotReserved,
    StartRequested,
    UsageReported,
)
from voicepilot.lifecycle.phases import RUNNING, Phase
from voicepilot.lifecycle.session import Deadline, Session
from voicepilot.lifecycle.steps import Outcome

IDLE, STARTING, ACTIVE, RENEWING, RECOVERING, PAUSED, ENDING, ENDED, FAILED = Phase

What = type[Input] | Deadline | Hook
"""What a row waits for: an input, or more exactly which deadline passed or which hook finished."""

# The rules pair each action and guard with the input it takes; the type system cannot follow that through a table.
Action = Callable[[Session, Any, float], Outcome]
Guard = Callable[[Session, Any, float], bool]


class Rule(NamedTuple):
    """One row of the table."""

    phases: frozenset[Phase]
    on: What
    do: Action
    to: Phase | None = None  # None: the phase stays
    when: Guard | None = None
    why: str = ""  # the reason published with the change; an ending gives its own


def _in(*phases: Phase) -> frozenset[Phase]:
    return frozenset(phases)


ANY = frozenset(Phase)
NOT_RUNNING = ANY - RUNNING
CALM = _in(ACTIVE, PAUSED)
FETCHING = _in(RENEWING, RECOVERING)
UNSTARTED = _in(IDLE, STARTING)

# fmt: off
RULES: tuple[Rule, ...] = (
    # Starting: a slot, then a key, then the application.
    Rule(_in(IDLE),                StartRequested,      do.ask_slot),
    Rule(_in(IDLE),                SlotReserved,        do.begin_start,            STARTING,   why="slot reserved"),
    Rule(_in(IDLE),                SlotRefused,         do.refuse_start,           FAILED),
    Rule(_in(IDLE),                EndRequested,        do.abandon_start,          ENDED),
    Rule(_in(STARTING),            KeyMinted,           do.go_live,                ACTIVE,     is_ours, "first key fetched"),
    Rule(_in(STARTING),            MintFailed,          do.try_later,              None,       may_retry),
    Rule(_in(STARTING),            MintFailed,          do.fail_start,             ENDING,     is_ours),
    Rule(_in(STARTING),            Deadline.RETRY,      do.mint_again),
    Rule(_in(STARTING),            Deadline.START,      do.time_out_start,         ENDING),
    Rule(RUNNING,                  Hook.READY,          do.answer_start),

    # Renewing: fetch, suspend, swap, resume. One path for the timer and for the hand; a dial wants only the key.
    Rule(CALM,                     Deadline.RENEW,      renew.renew_on_time,       RENEWING,   why="the key's time is nearly up"),
    Rule(CALM,                     RenewRequested,      renew.renew_on_request,    RENEWING,   why="renewal requested"),
    Rule(CALM,                     KeyRejected,         renew.renew_rejected,      RENEWING,   why="the provider refused the key"),
    Rule(FETCHING,                 KeyMinted,           renew.adopt_for_dial,      PAUSED,     for_dial_while_paused, "renewed"),
    Rule(FETCHING,                 KeyMinted,           renew.adopt_for_dial,      ACTIVE,     for_dial,   "renewed"),
    Rule(_in(RENEWING),            KeyMinted,           renew.adopt_at_once,       None,       dial_waits),
    Rule(_in(RENEWING),            KeyMinted,           renew.hold_new_key,        None,       is_ours),
    Rule(FETCHING,                 Hook.SUSPENDING,     renew.swap,                None,       with_new_key),
    Rule(FETCHING,                 Hook.SUSPENDING,     renew.resume_after_swap),
    Rule(FETCHING,                 Hook.RESUMED,        renew.complete_renewal,    PAUSED,     paused_by_user, "renewed"),
    Rule(FETCHING,                 Hook.RESUMED,        renew.complete_renewal,    ACTIVE,     why="renewed"),
    Rule(FETCHING,                 MintFailed,          renew.retry_later,         None,       may_retry),
    Rule(FETCHING,                 MintFailed,          renew.fail_for_good,       ENDING,     hopeless),
    Rule(_in(RENEWING),            MintFailed,          renew.fail_round,          PAUSED,     paused_by_user, "round failed"),
    Rule(_in(RENEWING),            MintFailed,          renew.fail_round,          ACTIVE,     is_ours, "round failed"),
    Rule(FETCHING,                 Deadline.RETRY,      do.mint_again),
    Rule(FETCHING,                 KeyRejected,         renew.note_rejection),

    # Recovering: the key lapsed; keep the slot and keep trying.
    Rule(_in(RENEWING),            Deadline.EXPIRY,     renew.swap_early,          None,       with_new_key),
    Rule(RUNNING,                  Deadline.EXPIRY,     renew.lapse,               RECOVERING, why="the key expired"),
    Rule(_in(RECOVERING),          KeyMinted,           renew.adopt_at_once,       None,       is_ours),
    Rule(_in(RECOVERING),          MintFailed,          renew.fail_round,          None,       is_ours),
    Rule(_in(RECOVERING),          Deadline.RENEW,      renew.renew_to_recover),
    Rule(_in(RECOVERING),          RenewRequested,      renew.renew_on_request,    None,       between_rounds),
    Rule(_in(RENEWING),            RenewRequested,      renew.swap_early,          None,       dial_with_new_key),
    Rule(FETCHING,                 RenewRequested,      renew.join_round),
    Rule(RUNNING,                  PlanWorked,          renew.hasten),

    # Keys that nobody waits for any more.
    Rule(ANY,                      KeyMinted,           do.give_back),

    # Upkeep.
    Rule(RUNNING,                  Deadline.HEARTBEAT,  keep.beat),
    Rule(RUNNING,                  Deadline.IDLE,       do.end_idle,               ENDING),
    Rule(_in(ACTIVE),              PauseRequested,      keep.pause,                PAUSED,     why="paused"),
    Rule(FETCHING,                 PauseRequested,      keep.pause),
    Rule(_in(PAUSED),              ResumeRequested,     keep.resume,               ACTIVE,     why="resumed"),
    Rule(FETCHING,                 ResumeRequested,     keep.resume),
    Rule(RUNNING,                  HoldTaken,           keep.take_hold),
    Rule(RUNNING,                  HoldReleased,        keep.release_hold),
    Rule(RUNNING | UNSTARTED,      ConfigUpdated,       keep.reconfigure),
    Rule(RUNNING,                  ConnectionReported,  keep.note_connection),

    # The leash: what is used counts, also what is told late; a limit is told before it ends the session.
    Rule(RUNNING,                  UsageReported,       leash.count_usage),
    Rule(_in(ENDING),              UsageReported,       leash.add_usage),
    Rule(RUNNING,                  Deadline.WARNING,    leash.look),
    Rule(RUNNING,                  Deadline.LIMIT,      leash.end_at_limit,        ENDING),

    # Ending: the application, the connection and the key, the data; then it is over.
    Rule(RUNNING | _in(STARTING),  EndRequested,        do.begin_ending,           ENDING),
    Rule(_in(ENDING),              Hook.ENDING,         do.close),
    Rule(_in(ENDING),              ConnectionClosed,    do.forget_key),
    Rule(_in(ENDING),              Purged,              do.finish,                 FAILED,     will_be_failed),
    Rule(_in(ENDING),              Purged,              do.finish,                 ENDED),
    Rule(NOT_RUNNING,              RenewRequested,      renew.refuse_renewal),
)

SLOT_ANSWERS: set[What] = {StartRequested, SlotReserved, SlotRefused}
TIMERS: set[What] = set(Deadline)
HOOKS: set[What] = set(Hook)

NOTHING_MATTERS: set[What] = {
    *SLOT_ANSWERS, MintFailed, EndRequested, PauseRequested, ResumeRequested, HoldTaken, HoldReleased, PlanWorked,
    ConfigUpdated, ConnectionReported, UsageReported, KeyRejected, ConnectionClosed, Purged, *TIMERS, *HOOKS,
}

IGNORED: dict[Phase, set[What]] = {
    IDLE: {
        MintFailed, PauseRequested, ResumeRequested, HoldTaken, HoldReleased, PlanWorked, ConnectionReported, UsageReported,
        KeyRejected, ConnectionClosed, Purged, *TIMERS, *HOOKS,
    },
    STARTING: {
        *SLOT_ANSWERS, MintFailed, PauseRequested, ResumeRequested, HoldTaken, HoldReleased, PlanWorked, ConnectionReported,
        UsageReported, KeyRejected, ConnectionClosed, Purged, *(TIMERS - {Deadline.RETRY, Deadline.START}), *HOOKS,
    },
    ACTIVE: {
        *SLOT_ANSWERS, MintFailed, ResumeRequested, ConnectionClosed, Purged, Deadline.START, Deadline.RETRY,
        Hook.SUSPENDING, Hook.RESUMED, Hook.ENDING,
    },
    RENEWING: {
        *SLOT_ANSWERS, MintFailed,
        ConnectionClosed, Purged, Deadline.START, Deadline.RENEW, Hook.ENDING,
    },
    RECOVERING: {
        *SLOT_ANSWERS, MintFailed,
        ConnectionClosed, Purged, Deadline.START, Hook.ENDING,
    },
    PAUSED: {
        *SLOT_ANSWERS, MintFailed,
        PauseRequested,  # once, however often it is called
        ConnectionClosed, Purged, Deadline.START, Deadline.RETRY, Hook.SUSPENDING, Hook.RESUMED, Hook.ENDING,
    },
    ENDING: {
        *SLOT_ANSWERS, MintFailed,
        EndRequested,  # joins the end under way
        PauseRequested, ResumeRequested, HoldTaken, HoldReleased, PlanWorked, ConfigUpdated, ConnectionReported, KeyRejected,
        *TIMERS, *(HOOKS - {Hook.ENDING}),
    },
    ENDED: NOTHING_MATTERS,
    FAILED: NOTHING_MATTERS,
}
# fmt: on


def what(given: Input) -> What:
    """What a row must wait for to be about `given`."""
    if isinstance(given, DeadlinePassed):
        return given.deadline
    if isinstance(given, HookFinished):
        return given.hook
    return type(given)


ALL_WHATS: tuple[What, ...] = (
    *(kind for kind in Input.__args__ if kind not in {DeadlinePassed, HookFinished}),
    *Deadline,
    *Hook,
)

ROWS: dict[tuple[Phase, What], tuple[Rule, ...]] = {
    (phase, kind): rows
    for phase in Phase
    for kind in ALL_WHATS
    if (rows := tuple(rule for rule in RULES if phase in rule.phases and rule.on == kind))
}
"""The same table, by phase and input."""
