"""What is said and heard while a connection carries the conversation, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from voicepilot.conversation.effects import Count, NoteActivity, Ping, Send, Yield
from voicepilot.conversation.flowing import FLOWING, let_go, send_waiting, stop_waiting
from voicepilot.conversation.happenings import InputDropped
from voicepilot.conversation.inputs import Heard, Ponged, Said, Silent, Summarised
from voicepilot.conversation.journal import APPEND, COMMIT, CREATE, RESPOND, Entry
from voicepilot.conversation.link import Link, Stage
from voicepilot.conversation.restoring import merged
from voicepilot.conversation.state import Json, Phase, State
from voicepilot.conversation.usage import usage_of
from voicepilot.ports import Usage

NOTHING_USED = Usage()

OWED = 5.0
"""Seconds in which a server that answers by itself begins to; a turn of nothing but noise is never answered."""

COUNTED = 5.0
"""Seconds of the user's audio after which it is counted, if no turn ends before."""

# --- said -----------------------------------------------------------------------------------------------------------


def say(state: State, given: Said, now: float) -> None:
    """Send what the client said, or keep it until there is somebody to send it to."""
    event = _identified(state, given.event)
    kind = event["type"]
    if kind == "response.cancel":
        _cancel(state, event)
        return
    entry = state.journal.add(event)
    if kind == APPEND:
        _note_audio(state, entry)
    elif kind in {CREATE, RESPOND, COMMIT}:
        state.out.append(NoteActivity())
        state.answered_at = now
    if state.phase in FLOWING and state.active is not None:
        let_go(state, state.active, entry)
    _make_room(state, now)


def _identified(state: State, event: Json) -> Json:
    """The event with an id of its own, by which an error will name it; and an item with one, to know it again."""
    if event["type"] == APPEND:
        return event
    event = {"event_id": state.event_id(), **event}
    item = event.get("item")
    if event["type"] == CREATE and isinstance(item, Mapping) and not item.get("id"):
        event["item"] = {**item, "id": state.event_id()}
    return event


def _note_audio(state: State, entry: Entry) -> None:
    state.listened += entry.end - entry.start
    if state.listened >= COUNTED:
        count(state, NOTHING_USED)
    if state.active is not None and not state.active.detects_turns:
        state.out.append(NoteActivity())


def _cancel(state: State, event: Json) -> None:
    """It is about the moment: it overtakes what waits, and where there is no connection the answer is gone with it."""
    wanted = event.get("response_id")
    state.turn.cancelled.update([wanted] if wanted else state.turn.asked)
    waited = 0 if wanted else state.journal.cancel_answers()
    if state.active is None:
        state.reask.clear()
    elif state.turn.asked or not waited:
        state.out.append(Send(state.active.number, event))


def _make_room(state: State, now: float) -> None:
    link = state.active
    quiet = link is not None and link.detects_turns and not state.turn.speaking
    _tell_dropped(state, state.journal.trim(silent_until=link.heard_at if link and quiet else None), now)


def lose_forgotten(state: State, now: float) -> None:
    """What was sent and not kept went with the connection that had it."""
    state.forgotten += state.journal.forgotten
    _tell_dropped(state, state.journal.lose_forgotten(), now)


def _tell_dropped(state: State, pieces: list[tuple[float, float]], now: float) -> None:
    for start, end in pieces:
        last = state.out[-1] if state.out else None
        if isinstance(last, Yield) and isinstance(last.event, InputDropped) and last.event.end == start:
            start = last.event.start  # noqa: PLW2901 - one piece with the one before
            state.out.pop()
        state.out.append(Yield(InputDropped(at=now, start=start, end=end)))


# --- heard ----------------------------------------------------------------------------------------------------------


def hear(state: State, given: Heard, now: float) -> None:
    """Take note of an event on the connection that carries the conversation, and pass it on."""
    event = given.event
    link = state.active
    assert link is not None  # noqa: S101 - the table gives us only what the active connection said
    link.note_alive(now)
    kind = event["type"]
    state.mirror.hear(event)
    if kind.endswith(DELTA):
        stirs = now - state.stirred_at >= OFTEN
    else:
        state.version += 1
        stirs = not kind.startswith(UNSTIRRING)
    note = NOTED.get(kind)
    shown = note is None or note(state, link, event, now) is not False
    if state.waits:
        _look_after_waiting(state, link, kind, now)
    if not shown:
        return
    if stirs:
        state.stirred_at = now
        state.out.append(STIRRED)
    state.out.append(Yield(event))


def _look_after_waiting(state: State, link: Link, kind: str, now: float) -> None:
    if kind.startswith("response."):
        state.answered_at = now
    if kind in ENDS_AN_ANSWER and state.phase in FLOWING:
        send_waiting(state, link)
    else:
        stop_waiting(state, now)


ENDS_AN_ANSWER = frozenset({"response.done", "error"})
"""Events after which what waits for the end of an answer may go."""

STIRRED = NoteActivity()

DELTA = ".delta"
OFTEN = 0.1
"""Seconds; in a stream of deltas it is noted so often that somebody speaks."""

UNSTIRRING = ("rate_limits.", "session.", "error", "input_audio_buffer.cleared")
"""Events that do not show that anybody speaks or types."""


def _confirmed(state: State, _: Link, event: Json, __: float) -> None:
    state.journal.confirm(event)


def _truncated(state: State, _: Link, event: Json, __: float) -> None:
    state.journal.confirm(event)
    if state.incoming is not None:
        state.incoming.stale.add(event["item_id"])


def _item_added(state: State, _: Link, event: Json, __: float) -> None:
    entry = state.journal.confirm(event)
    if entry is not None:
        state.mirror.remember(entry.event["item"])


def _configured(state: State, link: Link, event: Json, _: float) -> None:
    link.learn(event["session"])
    state.journal.rate = link.input_rate
    entry = state.journal.confirm(event)
    if entry is not None:
        state.session = merged(state.session, entry.event["session"])


def _speech_started(state: State, _: Link, __: Json, ___: float) -> None:
    state.turn.speaking = True


def _speech_stopped(state: State, _: Link, event: Json, __: float) -> None:
    state.journal.stopped = event["audio_end_ms"] / 1000


def _committed(state: State, link: Link, event: Json, now: float) -> None:
    found = state.journal.stopped is not None
    audio = state.journal.committed()
    state.turn.speaking = False
    if found and link.answers_by_itself and not state.turn.asked:
        state.turn.owed_until = now + OWED
    # The item exists from here on, although `added` comes after; between the two a connection may fall.
    state.mirror.hear({"type": "conversation.item.added", **_heard_item(event)})
    state.mirror.keep_audio(event["item_id"], audio, rate=state.journal.rate)
    count(state, NOTHING_USED)


def _heard_item(event: Json) -> Json:
    content = [{"type": "input_audio", "transcript": None}]
    item = {"id": event["item_id"], "type": "message", "status": "completed", "role": "user", "content": content}
    return {"previous_item_id": event.get("previous_item_id"), "item": item}


def _cleared(state: State, _: Link, event: Json, __: float) -> bool:
    state.turn.speaking, state.journal.stopped = False, None  # what had been heard of a turn is forgotten with it
    if state.phase is Phase.SETTLING and not state.cleared:
        state.cleared = True  # ours, not the client's
        return False
    state.journal.confirm(event)
    return True


def _answer_began(state: State, _: Link, event: Json, __: float) -> None:
    asked = state.journal.confirm(event)
    state.turn.owed_until = None
    again = state.reask.pop(0) if asked is None and state.reask else None
    response_id = event["response"]["id"]
    state.turn.asked[response_id] = asked.event if asked else again
    if asked is not None and asked.unwanted:
        state.turn.cancelled.add(response_id)


def _answer_over(state: State, link: Link, event: Json, _: float) -> None:
    response = event["response"]
    link.proved, state.reasked = True, 0
    state.turn.asked.pop(response.get("id"), None)
    state.turn.cancelled.discard(response.get("id"))
    count(state, usage_of(response))


def _audio_came(state: State, link: Link, event: Json, _: float) -> None:
    state.spoken += len(event["delta"]) * 0.75 / link.output_rate


def _refused(state: State, _: Link, event: Json, __: float) -> bool:
    state.journal.confirm(event)
    refused = event["error"].get("event_id")
    if refused is not None:
        state.reask = [asked for asked in state.reask if asked["event_id"] != refused]
    elif event["error"].get("type") == "server_error" and not state.turn.asked:
        # It does not say what it is about; an answer that never comes would hold up all that follow it.
        state.journal.fail(RESPOND)
        state.reask.clear()
    # The close that follows says the same, and is not the client's affair.
    return bool(event["error"].get("code") != "session_expired")


Note = Callable[[State, Link, Json, float], bool | None]

NOTED: Mapping[str, Note] = {
    "session.updated": _configured,
    "conversation.item.added": _item_added,
    "conversation.item.created": _item_added,
    "conversation.item.truncated": _truncated,
    "conversation.item.deleted": _confirmed,
    "conversation.item.retrieved": _confirmed,
    "input_audio_buffer.speech_started": _speech_started,
    "input_audio_buffer.speech_stopped": _speech_stopped,
    "input_audio_buffer.timeout_triggered": _speech_stopped,
    "input_audio_buffer.committed": _committed,
    "input_audio_buffer.cleared": _cleared,
    "response.created": _answer_began,
    "response.done": _answer_over,
    "response.output_audio.delta": _audio_came,
    "response.audio.delta": _audio_came,  # the preview's name
    "error": _refused,
}
"""What an event changes besides the mirror. One that gives False is not passed on."""


def learn_summary(state: State, given: Summarised, _: float) -> None:
    """Let a summary stand in the place of what was too much to be said again."""
    state.mirror.summarise(given.item_ids, given.text)
    state.version += 1


def hear_late(state: State, given: Heard, now: float) -> None:
    """A connection that was moved away from still says what the user had said; the rest is of no interest."""
    event = given.event
    if "input_audio_transcription" in event["type"]:
        state.mirror.hear(event)
        state.out.append(Yield(event))
        _release_heard(state, now)
    elif event["type"] == "response.done":
        count(state, usage_of(event["response"]))


def _release_heard(state: State, now: float) -> None:
    """Nothing is awaited of the old connections any more: let them be due."""
    if not state.mirror.pending_transcripts():
        for link in state.drains:
            link.limit_at = now


# --- silence --------------------------------------------------------------------------------------------------------


def ask(state: State, given: Silent, now: float) -> None:
    """Ask a connection whether somebody is there."""
    _link(state, given.link).pinged_at = now
    state.out.append(Ping(given.link))


def note_answer(state: State, given: Ponged, now: float) -> None:
    """Somebody is, or may be."""
    link = _link(state, given.link)
    if given.excused:
        link.excuse(now)
        if link.stage is Stage.REPLAYING:
            link.limit_at = max(link.limit_at, now + state.config.restore_timeout_seconds)
    else:
        link.note_alive(now)
    stop_waiting(state, now)


def _link(state: State, number: int) -> Link:
    return next(link for link in state.links() if link.number == number)


# --- counted --------------------------------------------------------------------------------------------------------


def count(state: State, used: Usage) -> None:
    """Tell the manager what was used since the last time."""
    used += Usage(input_audio_seconds=state.listened, output_audio_seconds=state.spoken)
    state.listened = state.spoken = 0.0
    if used != NOTHING_USED:
        state.used += used
        state.out.append(Count(used))
