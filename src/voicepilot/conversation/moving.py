"""How a conversation gets from one connection to the next: handed over in time, or after a fall."""

from __future__ import annotations

from voicepilot.conversation.effects import (
    Finish,
    ForgetUtterance,
    HangUp,
    Report,
    Resume,
    Send,
    Suspend,
    Yield,
)
from voicepilot.conversation.flowing import send_waiting, tell_interrupted
from voicepilot.conversation.happenings import (
    Action,
    ConversationRestored,
    Handover,
    Reconnecting,
    Restored,
    TurnInterrupted,
)
from voicepilot.conversation.inputs import CloseAsked, DialFailed, Dialled, Fell, Heard, Input
from voicepilot.conversation.journal import CLEAR, RESPOND
from voicepilot.conversation.link import Link
from voicepilot.conversation.restoring import NOT_READY, dial, incoming
from voicepilot.conversation.state import Json, Phase, State, Turn
from voicepilot.conversation.talking import lose_forgotten
from voicepilot.errors import Fault, FaultDomain
from voicepilot.ports import ConnectionPhase, ConnectionStatus

MOST_REASKED = 8
"""Times that answers are asked for again before one is heard to its end: it may be the answer that ends connections."""

CUT_RESERVE = 1.0
"""Seconds before the cut at which the end of an answer is awaited no longer; a quarter of the deadline, if less."""


# --- dialling -------------------------------------------------------------------------------------------------------


def connect(state: State, _: Input, now: float) -> None:
    """Dial for the first time."""
    state.lost_at = now
    state.give_up_at = now + state.config.open_timeout_seconds
    state.out.append(Report(ConnectionPhase.CONNECTING, ConnectionStatus.UNKNOWN))
    dial(state, now)


def dial_again(state: State, _: Input, now: float) -> None:
    """The pause is over."""
    state.retry_at = None
    dial(state, now)


def dial_last(state: State, _: Input, now: float) -> None:
    """The outage has lasted as long as it may: try once more, so that one of just this length is survived."""
    state.retry_at = state.give_up_at = None
    state.is_last = True
    dial(state, now)


def await_last(state: State, _: Input, __: float) -> None:
    """It has, and a dial is under way: it is the last."""
    state.give_up_at, state.is_last = None, True


def wait(state: State, given: DialFailed | Fell, now: float) -> None:
    """No connection yet: pause, longer each time, or as long as the provider asked."""
    _drop_incoming(state)
    state.faulted = given.fault
    state.retry_at = now + max(state.pause_before_dial(), given.fault.retry_after or 0.0)
    state.out.append(Report(ConnectionPhase.WAITING, ConnectionStatus.FAILED, given.fault))


def prepare(state: State, _: Input, now: float) -> None:
    """Dial the next connection while this one carries on."""
    state.prepare_at = None
    state.out.append(Report(ConnectionPhase.MOVING, ConnectionStatus.HEALTHY))
    dial(state, now)


def prepare_later(state: State, given: DialFailed | Fell, now: float) -> None:
    """The next connection failed; this one still carries the conversation, so there is time for another."""
    _drop_incoming(state)
    state.prepare_at = now + max(state.pause_before_dial(), given.fault.retry_after or 0.0)
    state.out.append(Report(ConnectionPhase.LIVE, ConnectionStatus.DEGRADED, given.fault))


def _drop_incoming(state: State) -> None:
    if state.incoming is not None:
        state.out.append(HangUp(state.incoming.number))
        state.incoming = None


# --- handing over ---------------------------------------------------------------------------------------------------


def insist(state: State, _: Input, __: float) -> None:
    """The cut is near: a pause is awaited no longer."""
    state.move_at, state.must_move = None, True


def suspend(state: State, _: Input, __: float) -> None:
    """Tell the application; what the client says meanwhile waits."""
    state.out.append(Suspend("handover", answer=True))


def settle(state: State, _: Input, now: float) -> None:
    """Take back the audio that the old connection has not committed; afterwards it cannot commit it any more."""
    old = active(state)
    patience = state.config.handover_deadline_seconds
    state.cut_at = max(now, min(old.cut_at - min(CUT_RESERVE, patience / 4), now + patience))
    state.cleared = not state.journal.has_sent_audio()
    if not state.cleared:
        state.out.append(Send(old.number, {"type": CLEAR, "event_id": state.event_id()}))


def cut_short(state: State, _: Input, now: float) -> None:
    """The old connection is about to be cut: wait no longer for the end of an answer."""
    state.cut_at, state.forced, state.cleared = None, True, True
    _interrupt(state, now)


def hand_over(state: State, _: Input, now: float) -> None:
    """Input and output move over."""
    old, forced = active(state), state.forced
    restored = _promote(state, now)
    state.out.append(Yield(Handover(at=now, connection=state.connected, forced=forced, restored=restored)))
    _release(state, old, now)
    state.out.append(Resume())


def _release(state: State, old: Link, now: float) -> None:
    """Hear the old connection until what the user said there is written down."""
    if old.transcribes and state.mirror.pending_transcripts() and state.config.drain_seconds > 0:
        old.draining, old.limit_at = True, now + state.config.drain_seconds
        state.drains.append(old)
    else:
        state.out.append(HangUp(old.number))


def release(state: State, given: Fell, now: float) -> None:
    """Nothing more is expected from a connection that was moved away from."""
    state.drains = [link for link in state.drains if link.number != given.link]
    hang_up(state, given, now)


def hang_up(state: State, given: Fell | Dialled, _: float) -> None:
    """Nobody needs this connection."""
    state.out.append(HangUp(given.link))


def drop_next(state: State, given: DialFailed | Fell, _: float) -> None:
    """The next connection is gone when the conversation was about to move to it."""
    state.faulted = given.fault
    _drop_incoming(state)


def abandon(state: State, _: Input, now: float) -> None:
    """It is too late to stay: what was cut short would never be asked again on the connection that was to be left."""
    fall(state, Fell(active(state).number, state.faulted or NOT_READY), now)


def stay(state: State, _: Input, now: float) -> None:
    """The next connection is gone before the conversation moved to it: carry on where we are."""
    old = active(state)
    lose_forgotten(state, now)
    state.journal.unsend_audio()
    state.cut_at, state.forced = None, False
    state.prepare_at = now + state.pause_before_dial()
    send_waiting(state, old)
    state.out.append(Resume())
    state.out.append(Report(ConnectionPhase.LIVE, ConnectionStatus.DEGRADED, state.faulted))


# --- falling --------------------------------------------------------------------------------------------------------


def fall(state: State, given: Fell, now: float) -> None:
    """The connection that carried the conversation is gone: dial at once, unless the next one is on its way."""
    _lose_active(state, given, now)
    state.flaps = 0
    if state.incoming is None:
        dial(state, now)


def fall_again(state: State, given: Fell, now: float) -> None:
    """It is gone before it was of any use: pause before the next one."""
    _lose_active(state, given, now)
    state.flaps += 1
    state.attempts = state.flaps
    state.retry_at = now + state.pause_before_dial()


def _lose_active(state: State, given: Fell, now: float) -> None:
    old = active(state)
    state.active = None
    state.prepare_at = state.move_at = state.cut_at = None
    state.lost_at, state.faulted = now, given.fault
    state.give_up_at = now + state.config.max_outage_seconds
    state.out.append(HangUp(old.number))
    state.out.append(Report(ConnectionPhase.CONNECTING, ConnectionStatus.FAILED, given.fault))
    if state.phase not in {Phase.SUSPENDING, Phase.SETTLING}:  # where the application knows already
        state.out.append(Suspend("reconnect", answer=False))
    state.out.append(Yield(Reconnecting(at=now, fault=given.fault)))
    lose_forgotten(state, now)
    state.journal.start_over()
    _interrupt(state, now)
    state.mirror.expect_no_transcripts()


def carry_on(state: State, _: Input, now: float) -> None:
    """The new connection knows everything: go on with it."""
    first, began, attempts = not state.connected, state.lost_at or now, state.attempts - state.flaps
    restored = _promote(state, now)
    if first:
        return
    state.out.append(
        Yield(
            ConversationRestored(
                at=now, connection=state.connected, attempts=max(1, attempts), outage=now - began, restored=restored
            )
        )
    )
    state.out.append(Resume())


def _promote(state: State, now: float) -> Restored:
    """Let the incoming connection carry the conversation, and send it all that waits."""
    link = incoming(state)
    state.active, state.incoming = link, None
    link.began_at = now
    state.connected += 1
    state.attempts = 0
    state.lost_at = state.give_up_at = state.faulted = state.cut_at = None
    state.must_move = state.forced = state.is_last = False
    state.turn = Turn()
    _plan_handover(state, link, now)
    state.journal.rate = link.input_rate
    state.mirror.hear({"type": "session.updated", "session": link.session})
    lose_forgotten(state, now)
    forgotten, state.forgotten = state.forgotten, 0.0
    state.journal.start_over()
    state.out.append(Report(ConnectionPhase.LIVE, ConnectionStatus.HEALTHY))
    state.out.extend(Send(link.number, event) for event in state.reask)
    events, audio = send_waiting(state, link)
    return Restored(
        replayed=tuple(link.replayed),
        dropped=link.dropped,
        lost=tuple(link.lost),
        configured=link.configured,
        events_resent=events,
        audio_resent=audio,
        audio_forgotten=forgotten,
    )


def _plan_handover(state: State, link: Link, now: float) -> None:
    life = link.cut_at - now
    state.prepare_at = now + max(life / 2, life - state.config.handover_margin_seconds)
    state.move_at = now + max(life * 3 / 4, life - state.config.handover_deadline_seconds)


def _interrupt(state: State, now: float) -> None:
    """Settle the answers that are cut in the middle, and the one that was owed."""
    turn, state.turn = state.turn, Turn()
    state.version += 1
    for response_id, asked in turn.asked.items():
        _settle_answer(state, response_id, asked, now, unwanted=response_id in turn.cancelled)
    if turn.owed_until is not None and turn.owed_until > now:
        action: Action = "retry" if _asks_again(state) else "report"
        if action == "retry":
            _ask_again(state, None)
        state.out.append(Yield(TurnInterrupted(at=now, response_id=None, action=action)))


def _settle_answer(state: State, response_id: str, asked: Json | None, now: float, *, unwanted: bool) -> None:
    retry = _asks_again(state) and not unwanted
    left = state.mirror.abandon(response_id, keep_partial=not retry)
    action: Action
    if left.kept and not left.unfinished:
        action = "complete"
    elif retry:
        action = "retry"
        _ask_again(state, asked)
        state.out.extend(ForgetUtterance(item_id) for item_id in left.dropped)
    else:
        action = "report"
    tell_interrupted(state, response_id, action, left, now)


def _asks_again(state: State) -> bool:
    return state.config.on_interrupted_turn == "retry" and state.reasked < MOST_REASKED


def _ask_again(state: State, asked: Json | None) -> None:
    state.reasked += 1
    state.reask.append({**(asked or {"type": RESPOND}), "event_id": state.event_id()})


# --- the end --------------------------------------------------------------------------------------------------------


def close(state: State, given: CloseAsked, _: float) -> None:
    """Hang up everywhere and forget what was said."""
    _end(state, given.reason, None)


def give_up(state: State, _: Input, now: float) -> None:
    """The outage has lasted too long."""
    why = state.faulted.message if state.faulted else "no connection was ready in time"
    fault = Fault(
        code="CONVERSATION_LOST" if state.connected else "CONNECTION_TIMEOUT",
        message=f"no connection for {now - (state.lost_at or now):.0f} s: {why}",
        remediation="Check the network and the provider's status; max_outage_seconds says how long is waited.",
        retryable=True,
        domain=state.faulted.domain if state.faulted else FaultDomain.TRANSPORT,
        cause=state.faulted.code if state.faulted else None,
    )
    _end(state, "connection-lost", fault)


def lose_patience(state: State, given: Fell, now: float) -> None:
    """One connection after the other fell before it was of any use."""
    fault = Fault(
        code="CONVERSATION_LOST",
        message=f"{state.flaps} connections in a row fell as soon as they were restored: {given.fault.message}",
        remediation="See the reason; something that is said again to each connection may be what ends it.",
        retryable=True,
        domain=given.fault.domain,
        cause=given.fault.code,
    )
    _end(state, "connection-lost", fault)


def lose_last(state: State, given: DialFailed | Fell, now: float) -> None:
    """The last dial failed."""
    state.faulted = given.fault
    give_up(state, given, now)


def lose_options(state: State, given: Heard, _: float) -> None:
    """The options that `connect` was given cannot be used."""
    error = given.event["error"]
    fault = Fault(
        code="SESSION_OPTIONS_REFUSED",
        message=f"the provider refused the session's options: {error.get('message')}",
        remediation="Correct the option it names, in connect() or start_session().",
        retryable=False,
        domain=FaultDomain.SESSION,
        provider_code=error.get("code"),
    )
    _end(state, "connection-refused", fault)


def lose(state: State, given: DialFailed | Fell, _: float) -> None:
    """Trying again cannot help."""
    _end(state, "connection-refused", given.fault)


def _end(state: State, reason: str, fault: Fault | None) -> None:
    state.out.extend(HangUp(link.number) for link in state.links())
    state.active = state.incoming = None
    state.drains.clear()
    for name in ("give_up_at", "retry_at", "prepare_at", "move_at", "cut_at"):
        setattr(state, name, None)
    status = ConnectionStatus.FAILED if fault else ConnectionStatus.UNKNOWN
    state.out.append(Report(ConnectionPhase.CLOSED, status, fault))
    state.out.append(Finish(reason, fault))
    state.journal.clear()
    state.mirror.clear()
    state.reask.clear()
    state.turn, state.session = Turn(), {}


def active(state: State) -> Link:
    """The connection that carries the conversation; the table asks only where there is one."""
    if state.active is None:
        raise AssertionError("no connection carries the conversation")
    return state.active
