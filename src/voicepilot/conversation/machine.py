"""The machine: `step` lets something happen to a conversation, `wake` lets its deadlines pass."""

from __future__ import annotations

from collections.abc import Iterator

from voicepilot.conversation.effects import Effect
from voicepilot.conversation.inputs import Deadline, DeadlinePassed, Fell, Input, Silent, Unconfirmed
from voicepilot.conversation.link import Link, Stage
from voicepilot.conversation.restoring import NOT_READY
from voicepilot.conversation.rules import LOOK, ROWS, Rule, What, what
from voicepilot.conversation.state import State
from voicepilot.errors import Fault, FaultDomain

SILENT = Fault(
    code="PEER_SILENT",
    message="the provider answers no more, although the connection was not closed",
    remediation="It is replaced; if it happens often, look at the network, or at heartbeat_seconds.",
    retryable=True,
    domain=FaultDomain.TRANSPORT,
)


def step(state: State, given: Input, now: float) -> list[Effect]:
    """Let `given` happen; the effects are to be performed in order."""
    state.out, state.journal.now = [], now
    row = _row(state, what(state, given), given, now)
    if row is not None:
        _follow(state, row, given, now)
        while (row := _row(state, LOOK, given, now)) is not None:
            _follow(state, row, given, now)
    return state.out


def _follow(state: State, row: Rule, given: Input, now: float) -> None:
    row.do(state, given, now)
    if row.to is not None:
        state.phase = row.to


def _row(state: State, kind: What, given: Input, now: float) -> Rule | None:
    for row in ROWS.get((state.phase, kind), ()):
        if row.when is None or row.when(state, given, now):
            return row
    return None


def wake(state: State, now: float) -> list[Effect]:
    """Let everything that is due happen."""
    out: list[Effect] = []
    for given in list(_due(state, now)):
        out += step(state, given, now)
    return out


def wake_at(state: State) -> float | None:
    """When to call `wake`."""
    return state.due_at()


def _due(state: State, now: float) -> Iterator[Input]:
    for deadline in Deadline:
        at = getattr(state, deadline.value)
        if at is not None and at <= now:
            yield DeadlinePassed(deadline)
    for link in state.links():
        if link.due_at(state.config.heartbeat_seconds) <= now:
            yield _overdue(link, now)


def _overdue(link: Link, now: float) -> Input:
    if link.stage is Stage.CONFIGURING and now < link.limit_at:
        return Unconfirmed(link.number)
    if link.draining or link.stage is not Stage.SYNCED:
        return Fell(link.number, NOT_READY)
    return Silent(link.number) if link.pinged_at is None else Fell(link.number, SILENT)
