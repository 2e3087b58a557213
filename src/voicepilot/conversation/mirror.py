"""What has been said, as both sides know it: working memory, bounded, to say it again to a new connection.

It follows the items of the Realtime API (openai-python `types/realtime/realtime_server_event.py`; realtime-wire.md D2,
D3): one is added behind another, said, transcribed, truncated or deleted. What an event says otherwise than documented
is not learned, and never raises. The names of Azure's preview are understood too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import msgspec

from voicepilot.conversation.audio import PCM, audio_of, form_of, rate_of
from voicepilot.conversation.item import Again, Entry, Json, Speech, again, made_id
from voicepilot.conversation.items import Items
from voicepilot.conversation.recordings import MAX_AUDIO, AudioPolicy, Recordings
from voicepilot.conversation.replay import Replay, creations, sayable, surplus, tokens
from voicepilot.conversation.told import Told

MAX_BYTES = 16 * 1024 * 1024
"""Bytes of items kept, about; audio has its own bound."""


class Abandoned(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the items of an answer that was cut in the middle."""

    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()  # those that were still being said, kept or dropped
    text: str = ""  # what they had said so far


class _Running(msgspec.Struct):
    """A response being given."""

    rate: int  # bytes of its audio a second
    item_ids: list[str] = []


class Mirror:
    """The conversation's items in order.

    `keep_audio` says how long the user's audio is kept and `max_audio_seconds` how much of it. Beyond `max_bytes` the
    oldest turns are forgotten, system messages last.
    """

    def __init__(
        self,
        *,
        keep_audio: AudioPolicy = "until-transcribed",
        max_audio_seconds: float = MAX_AUDIO,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._recordings = Recordings(keep_audio, max_audio_seconds)
        self._awaited: dict[str, None] = {}  # items whose transcript is to come, oldest first
        self._items = Items(max_bytes, partial(_forgot, self._recordings, self._awaited))  # no cycle of the two
        self._running: dict[str, _Running] = {}
        self._summary: str | None = None
        self._heard_rate = self._said_rate = PCM  # bytes a second of the user's audio, and of the assistant's
        self._form = ""  # the format of the user's
        self._transcribes = True
        self._spoken = "output_text"

    def __len__(self) -> int:
        return len(self._items.order)

    def item_ids(self) -> tuple[str, ...]:
        """The items of the conversation, in order."""
        return tuple(self._items.order)

    # --- what happens -----------------------------------------------------------------------------------------------

    def hear(self, event: Mapping[str, Any]) -> None:
        """Learn from what the server said; quick where there is nothing to learn, for every sound goes through here."""
        try:
            kind = event["type"]
            if (delta := self._DELTAS.get(kind)) is not None:
                delta(self, event)
            elif (fact := self._FACTS.get(kind)) is not None:
                fact(self, msgspec.convert(event, Told))
        except (TypeError, KeyError, msgspec.ValidationError):
            return  # not as documented

    def remember(self, item: Mapping[str, Any]) -> None:
        """What a client put into an item that it created; the server's echo leaves out audio, and perhaps images."""
        entry = self._items.get(item.get("id", ""))
        if entry is None or entry.item.get("role") != "user":
            return
        content = [part for part in item.get("content") or () if isinstance(part, Mapping)]
        for index, part in enumerate(content):
            if isinstance(part.get("audio"), str):
                self.keep_audio(entry.id, [part["audio"]], content_index=index)
        bare = [{name: value for name, value in part.items() if name != "audio"} for part in content]
        entry.learn({"content": bare})
        self._items.weigh(entry)

    def keep_audio(
        self, item_id: str, audio: Iterable[str], *, rate: float | None = None, content_index: int = 0
    ) -> None:
        """Keep what the user said in an item: pieces of base64, with so many bytes a second, or as the session says."""
        self._recordings.keep(item_id, content_index, audio, rate or self._heard_rate, self._form)
        entry = self._items.get(item_id)
        if entry is not None and entry.is_transcribed(content_index):
            self._recordings.transcribed(item_id, content_index)

    def forget(self, item_id: str) -> None:
        """Lose an item."""
        self._items.remove(item_id)

    def clear(self) -> None:
        """Lose everything; the session is over."""
        self._items.clear()
        self._recordings.clear()
        self._running.clear()
        self._awaited.clear()
        self._summary = None

    # --- sessions ---------------------------------------------------------------------------------------------------

    def _configured(self, told: Told) -> None:
        heard, said = audio_of(told.session, "input"), audio_of(told.session, "output")
        self._form = form_of(heard)
        self._heard_rate, self._said_rate = rate_of(heard), rate_of(said)
        self._transcribes = heard.get("transcription") is not None
        self._spoken = "output_text" if "audio" in told.session else "text"

    # --- items ------------------------------------------------------------------------------------------------------

    def _added(self, told: Told) -> None:
        entry = self._items.learn(told.item)
        if entry is not None:
            # Typed items alone can be put in front; what is spoken is last, or first on a connection with nothing.
            self._items.place(entry, told.previous_item_id, in_front=entry.is_typed)
        self._items.make_room()

    def _done(self, told: Told) -> None:
        self._added(told)
        self._finish(told.item)

    def _finish(self, item: Json) -> None:
        entry = self._items.get(item.get("id", ""))
        if entry is not None:
            entry.done = True

    def _truncated(self, told: Told) -> None:
        entry = self._items.get(told.item_id)
        if entry is not None and entry.is_assistants:
            self._speech(entry, told.content_index).shorten(told.audio_end_ms)
            self._items.weigh(entry)

    def _deleted(self, told: Told) -> None:
        self.forget(told.item_id)

    # --- what the user says -----------------------------------------------------------------------------------------

    def _committed(self, told: Told) -> None:
        entry = self._items.get(told.item_id)
        if self._transcribes and told.item_id and not (entry and entry.is_transcribed(0)):
            self._awaited[told.item_id] = None

    def _transcribed(self, told: Told) -> None:
        self._await_no_more(told.item_id)
        entry = self._items.get(told.item_id)
        if entry is not None and told.transcript is not None:
            entry.transcribed(told.content_index, told.transcript)
            self._items.weigh(entry)
            self._recordings.transcribed(told.item_id, told.content_index)

    def _not_transcribed(self, told: Told) -> None:
        self._await_no_more(told.item_id)

    def _await_no_more(self, item_id: str) -> None:
        self._awaited.pop(item_id, None)

    def pending_transcripts(self) -> tuple[str, ...]:
        """The items of the user's speech whose words are still to come."""
        return tuple(self._awaited)

    def expect_no_transcripts(self) -> None:
        """The connection that owed them is gone."""
        self._awaited.clear()

    # --- what the assistant says ------------------------------------------------------------------------------------

    def _response_created(self, told: Told) -> None:
        if isinstance(response_id := told.response.get("id"), str):
            said = audio_of(told.response, "output")
            self._running[response_id] = _Running(rate_of(said) if form_of(said) else self._said_rate)

    def _output_added(self, told: Told) -> None:
        entry = self._items.learn(told.item)
        if entry is None or told.response_id is None or entry.response_id:
            return
        entry.response_id = told.response_id
        self._running.setdefault(told.response_id, _Running(self._said_rate)).item_ids.append(entry.id)

    def _output_done(self, told: Told) -> None:
        if told.item.get("id") in self._items:
            self._items.learn(told.item)
            self._finish(told.item)
            self._items.make_room()

    def _part_added(self, told: Told) -> None:
        if (entry := self._items.get(told.item_id)) is not None:
            self._speech(entry, told.content_index)

    def _rate_of(self, entry: Entry) -> int:
        running = self._running.get(entry.response_id or "")
        return running.rate if running else self._said_rate

    def _speech(self, entry: Entry, index: int) -> Speech:
        return entry.speech.get(index) or entry.part(index, self._rate_of(entry))

    def _sound_came(self, event: Mapping[str, Any]) -> None:
        entry, delta = self._items.get(event["item_id"]), event["delta"]
        if entry is not None and isinstance(delta, str):
            self._speech(entry, event.get("content_index", 0)).hear(delta)

    def _words_came(self, event: Mapping[str, Any]) -> None:
        entry, delta = self._items.get(event["item_id"]), event["delta"]
        if entry is not None and isinstance(delta, str):
            self._speech(entry, event.get("content_index", 0)).say(delta)
            self._items.grow(entry, len(delta))

    def _words_done(self, told: Told) -> None:
        if (entry := self._items.get(told.item_id)) is not None:
            words = told.text if told.transcript is None else told.transcript
            self._speech(entry, told.content_index).settle(words)
            self._items.weigh(entry)

    def _arguments_done(self, told: Told) -> None:
        entry = self._items.get(told.item_id)
        if entry is not None and told.arguments is not None:
            entry.learn({"arguments": told.arguments, "status": "completed"})
            self._items.weigh(entry)

    def _response_done(self, told: Told) -> None:
        for item in told.response.get("output") or ():
            if isinstance(item, dict) and item.get("id") in self._items:
                self._items.learn(item)
        running = self._running.pop(str(told.response.get("id")), None)
        for item_id in running.item_ids if running else ():
            self._close(item_id, in_conversation=told.response.get("conversation_id") is not None)
        self._items.make_room()

    def _close(self, item_id: str, *, in_conversation: bool) -> None:
        """There is nothing more to come of an item; one out of band is no part of the conversation."""
        entry = self._items.get(item_id)
        if entry is None:
            return
        entry.done = True
        if not entry.placed and in_conversation:
            self._items.place(entry, None, in_front=False)
        elif not entry.placed:
            self.forget(item_id)

    def is_finished(self, item_id: str) -> bool:
        """Whether there is nothing more to come of an item."""
        entry = self._items.get(item_id)
        return entry is not None and entry.finished

    def outputs(self, response_id: str) -> tuple[str, ...]:
        """The items so far of an answer being given."""
        running = self._running.get(response_id)
        return tuple(item_id for item_id in running.item_ids if item_id in self._items) if running else ()

    def text_so_far(self, item_id: str) -> str:
        """What the assistant said in an item; of an interrupted one, what was heard."""
        entry = self._items.get(item_id)
        return entry.text if entry else ""

    def audio_ms(self, item_id: str) -> int:
        """Milliseconds of the assistant's audio that came of an item; of an interrupted one, that were heard."""
        entry = self._items.get(item_id)
        return sum(part.milliseconds for part in entry.speech.values()) if entry else 0

    def abandon(self, response_id: str, *, keep_partial: bool) -> Abandoned:
        """Settle an answer that was cut in the middle. What was finished stays.

        With `keep_partial` so does what had been said of a message; a call without all its arguments never does.
        """
        entries = [entry for item_id in self.outputs(response_id) if (entry := self._items.get(item_id))]
        self._running.pop(response_id, None)
        unfinished = [entry for entry in entries if not entry.finished]
        kept = [entry for entry in entries if entry.placed and (entry.finished or (keep_partial and entry.text))]
        for entry in kept:
            entry.settle()
        dropped = tuple(entry.id for entry in entries if entry not in kept)
        for item_id in dropped:
            self.forget(item_id)
        return Abandoned(
            kept=tuple(entry.id for entry in kept),
            dropped=dropped,
            unfinished=tuple(entry.id for entry in unfinished),
            text=" ".join(entry.text for entry in unfinished if entry.text),
        )

    # --- what to say again ------------------------------------------------------------------------------------------

    def replay(
        self, budget: int | None = None, *, known: Collection[str] = (), refused: Collection[str] = ()
    ) -> Replay:
        """How to give a connection what it does not have, `known` being the ids of what it has.

        All of it together costs about `budget` tokens at most: the oldest turns are left out. What is `refused` there
        is neither sent nor relied on.
        """
        there, refused = frozenset(known), frozenset(refused)
        entries = [entry for entry in self._items if entry.id not in refused]
        said = sayable(entries, self._said_again)
        costs = {item_id: self._cost(item) for item_id, item in said.items.items()}
        gone = surplus(list(said.items.values()), costs, budget)
        wanted = {item_id: item for item_id, item in said.items.items() if item_id not in gone}
        events = tuple(creations((entry.id for entry in entries), wanted, there))
        dropped = [item for item_id, item in said.items.items() if item_id in gone and item_id not in there]
        return Replay(
            events=events,
            item_ids=tuple(event["item"]["id"] for event in events),
            lost=tuple(lost for lost in said.lost if lost.item_id in said.items or lost.item_id not in there),
            unfinished=said.unfinished,
            dropped=(*self._items.forgotten, *(item["id"] for item in dropped)),
            dropped_items=tuple(self._earlier_summary(said.items) + dropped if dropped else ()),
            renamed=said.renamed,
            tokens=sum(costs[item_id] for item_id in wanted),
        )

    def _said_again(self, entry: Entry) -> Again:
        return again(entry, lambda item_id, index: self._recordings.get(item_id, index, self._form), self._spoken)

    def _cost(self, item: Json) -> int:
        heard = any(part["type"] == "input_audio" for part in item.get("content") or ())
        return tokens(item, self._recordings.seconds_of(item["id"]) if heard else 0.0)

    def _earlier_summary(self, items: Mapping[str, Json]) -> list[Json]:
        return [items[self._summary]] if self._summary and self._summary in items else []

    def summarise(self, item_ids: Iterable[str], text: str) -> str | None:
        """Put a system message in the place of items: in front, behind the system messages there. Gives its id.

        None if there is nothing to say, or nothing left of the items.
        """
        replaced = [item_id for item_id in item_ids if item_id in self._items]
        if not replaced or not text:
            return None
        for item_id in replaced:
            self.forget(item_id)
        item_id = made_id("sum_", text, *replaced)
        content = [{"type": "input_text", "text": text}]
        entry = self._items.learn({"id": item_id, "type": "message", "role": "system", "content": content})
        if entry is not None and not entry.placed:
            self._items.place_at(entry, self._items.behind_system_messages())
        self._summary = item_id
        return item_id

    # --- which of all this an event is for --------------------------------------------------------------------------

    _DELTAS: ClassVar[Mapping[str, Callable[[Mirror, Mapping[str, Any]], None]]] = {
        "response.output_audio.delta": _sound_came,
        "response.audio.delta": _sound_came,
        "response.output_audio_transcript.delta": _words_came,
        "response.audio_transcript.delta": _words_came,
        "response.output_text.delta": _words_came,
        "response.text.delta": _words_came,
    }
    _FACTS: ClassVar[Mapping[str, Callable[[Mirror, Told], None]]] = {
        "session.created": _configured,
        "session.updated": _configured,
        "conversation.item.added": _added,
        "conversation.item.created": _added,
        "conversation.item.done": _done,
        "conversation.item.deleted": _deleted,
        "conversation.item.truncated": _truncated,
        "input_audio_buffer.committed": _committed,
        "conversation.item.input_audio_transcription.completed": _transcribed,
        "conversation.item.input_audio_transcription.failed": _not_transcribed,
        "response.created": _response_created,
        "response.output_item.added": _output_added,
        "response.output_item.done": _output_done,
        "response.content_part.added": _part_added,
        "response.output_text.done": _words_done,
        "response.text.done": _words_done,
        "response.output_audio_transcript.done": _words_done,
        "response.audio_transcript.done": _words_done,
        "response.function_call_arguments.done": _arguments_done,
        "response.done": _response_done,
    }


def _forgot(recordings: Recordings, awaited: dict[str, None], item_id: str) -> None:
    recordings.forget(item_id)
    awaited.pop(item_id, None)
