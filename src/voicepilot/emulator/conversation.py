"""One realtime session as its clients see it: events in, events out, and nothing else.

Pure: `now` is an argument, ids come from a source, and waiting is left to whoever asks `wake_at`. The socket around it
is sockets.py. Event order: realtime-wire.md D3; error codes: D5; how a session ends: B3.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable, Iterator

from voicepilot.emulator.agenda import Play
from voicepilot.emulator.answers import Answerer
from voicepilot.emulator.audio import Format, format_of
from voicepilot.emulator.checks import Json, WireError, invalid
from voicepilot.emulator.client_events import checked_event, decoded
from voicepilot.emulator.countdown import Countdown
from voicepilot.emulator.effects import Close, Drip, Drop, Effect, Freeze, SendRaw
from voicepilot.emulator.faults import Fault
from voicepilot.emulator.hearing import Ear, SpeechStarted, SpeechStopped
from voicepilot.emulator.ids import Ids
from voicepilot.emulator.items import Entry, Items
from voicepilot.emulator.response import Run
from voicepilot.emulator.responses import Responses
from voicepilot.emulator.session import merged
from voicepilot.emulator.stage import FaultSource, Stage, Terms
from voicepilot.emulator.usage import audio_in_tokens, text_tokens

BUDGET = 64  # effects given at once, or a few more, so that a long answer can be interrupted and fills no memory
MOST_HELD = 64 * 1024 * 1024  # bytes of items one conversation holds
MOST_AUDIO = 64 * 1024 * 1024  # bytes of audio it holds for conversation.item.retrieve
OVERSIZED = 8 * 1024 * 1024  # characters in the frame of an `oversized` fault


class Conversation:
    """A session from its first event to its end."""

    def __init__(
        self, session: Json, answerer: Answerer, *, terms: Terms, ids: Ids, faults: FaultSource, now: float
    ) -> None:
        self.session = copy.deepcopy(session)
        self.ends_at = now + terms.life
        self.session["expires_at"] = int(self.ends_at)
        self._stage = Stage(terms, ids, faults, now)
        self._items = Items()
        self._ear = Ear()
        self._responses = Responses(self._stage, self._items, answerer, self._after)
        self._speech_item = ""  # the id promised to the turn being spoken
        self._deferred: list[Json] = []  # outputs of functions that the running response still calls
        self._stirred = 0  # counts what ends a silence, so that an old idle timer knows it is stale
        self._held = 0
        self._countdown = Countdown(self._misfortune)
        self._handlers: dict[str, Callable[[Json], None]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit_by_hand,
            "input_audio_buffer.clear": self._clear,
            "output_audio_buffer.clear": self._clear_output,
            "conversation.item.create": self._create,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.truncate": self._truncate,
            "conversation.item.delete": self._delete,
            "response.create": self._respond,
            "response.cancel": lambda event: self._responses.cancel(event.get("response_id")),
        }
        self._stage.agenda.add(self.ends_at, self._expiry(with_event=True))

    # -- called by the shell --------------------------------------------------------------------------------------

    def open(self, now: float) -> list[Effect]:
        """The first event of a new socket; a sideband gets none (realtime-wire.md C3)."""
        out = self._stage.begin(now)
        self._stage.send("session.created", session=copy.deepcopy(self.session))
        return self._countdown.applied(out)

    def receive(self, data: str | bytes, now: float) -> list[Effect]:
        """A frame from a client."""
        out = self._stage.begin(now)
        event_id = None
        try:
            event = decoded(data)
            event_id = event["event_id"][:512] if isinstance(event.get("event_id"), str) else None
            checked = checked_event(event)
            self._hold(event["type"], len(data))
            self._handlers[event["type"]](checked)
        except WireError as error:
            self._stage.send("error", error={**error.body, "event_id": event_id})
        return self._countdown.applied(out)

    def wake(self, now: float) -> list[Effect]:
        """What is due by now."""
        out = self._stage.begin(now)
        for effect in self._stage.agenda.run(now, BUDGET):
            out.append(effect)  # one by one: a play may send by itself between two effects
        return self._countdown.applied(out)

    def wake_at(self) -> float | None:
        """When to call `wake`."""
        return self._stage.agenda.next_at()

    def hang_up(self, at: float) -> None:
        """The call ends."""
        self._stage.agenda.add(at, [Close(1000, "")])
        self.ends_at = at

    def strike(self, fault: Fault, at: float) -> None:
        """A fault befalls this session then, or once it has sent as many more events as the fault says."""
        if fault.after_events is None:
            self._stage.agenda.add(at, self._misfortune(fault))
        else:
            self._countdown.add(fault, fault.after_events)

    # -- asked by tests -------------------------------------------------------------------------------------------

    def history(self) -> list[Json]:
        """The items there are, in their order, as on the wire."""
        return [copy.deepcopy(entry.item) for entry in self._items]

    def audio_of(self, item_id: str) -> bytes:
        """The sound of an item; nothing where there is none, or it was forgotten."""
        entry = self._items.get(item_id)
        return bytes(entry.audio) if entry else b""

    # -- session --------------------------------------------------------------------------------------------------

    def _update(self, event: Json) -> None:
        self.session = merged(self.session, event["session"], spoke=self._responses.spoke)
        fault = self._stage.faults.take("update")
        if fault and fault.kind == "missing":
            return
        if fault:
            delay = self._stage.seconds(fault.seconds or 1.0)
            self._stage.agenda.add(self._stage.now + delay, self._updated())
            return
        self._stage.out.extend(self._updated())

    def _updated(self) -> Iterator[Effect]:
        yield self._stage.event("session.updated", session=copy.deepcopy(self.session))

    def _expiry(self, *, with_event: bool) -> Iterator[Effect]:
        minutes = round(self._stage.terms.life * self._stage.terms.scale / 60, 2)
        message = f"Your session hit the maximum duration of {minutes:g} minutes."
        if with_event:
            yield self._stage.event("error", error={**WireError(message, "session_expired").body, "event_id": None})
        yield Close(1001, message)

    def _misfortune(self, fault: Fault) -> Iterator[Effect]:
        match fault.kind:
            case "drop":
                yield Drop()
            case "freeze":
                yield Freeze()
            case "drip":
                yield Drip(self._stage.seconds(fault.seconds or 1.0))
            case "malformed":
                yield SendRaw('{"type": "response.output_text.delta", "delta": "…')
            case "oversized":
                yield self._stage.event("session.updated", session=self.session, padding="x" * OVERSIZED)
            case _:
                yield from self._expiry(with_event=fault.kind == "expire")

    def _respond(self, event: Json) -> None:
        if self.session["type"] != "realtime":
            raise invalid("type", "A transcription session gives no responses.")
        self._responses.start(self.session, event.get("response") or {})

    # -- items ----------------------------------------------------------------------------------------------------

    def _create(self, event: Json) -> None:
        entry: Entry = event["item"]
        if entry.item["type"] == "function_call_output":
            call = self._items.call(entry.item["call_id"])
            if call is None:
                message = f"Tool call ID '{entry.item['call_id']}' not found in conversation."
                raise WireError(message, "invalid_tool_call_id")
            active = self._responses.active
            if active and active.made(call.item["id"]):
                # The provider takes it, and acknowledges it once the response is done (realtime-wire.md D3).
                self._deferred.append(event)
                return
        entry.item["id"] = entry.item["id"] or self._stage.make("item_")
        self._stage.out += self._added(entry, event.get("previous_item_id"))

    def _added(self, entry: Entry, after: str | None = None) -> Iterator[Effect]:
        previous = self._items.add(entry, after)
        for kind in ("conversation.item.added", "conversation.item.done"):
            yield self._stage.event(kind, previous_item_id=previous, item=copy.deepcopy(entry.item))

    def _entry(self, event: Json, doing: str) -> Entry:
        entry = self._items.get(event["item_id"])
        if entry is None:
            message = f"Error {doing[:-1]}ing item: the item with id '{event['item_id']}' does not exist."
            raise WireError(message, f"item_{doing}_invalid_item_id", "item_id")
        return entry

    def _retrieve(self, event: Json) -> None:
        entry = self._entry(event, "retrieve")
        item = copy.deepcopy(entry.item)
        for part in item.get("content", ()):
            if part["type"] in {"input_audio", "output_audio"}:
                part["audio"] = base64.b64encode(entry.audio).decode()
        self._stage.send("conversation.item.retrieved", item=item)

    def _delete(self, event: Json) -> None:
        self._entry(event, "delete")
        self._items.remove(event["item_id"])
        self._stage.send("conversation.item.deleted", item_id=event["item_id"])

    def _truncate(self, event: Json) -> None:
        entry = self._entry(event, "truncate")
        index, end = event["content_index"], event["audio_end_ms"]
        content = entry.item.get("content", [])
        if (
            entry.item.get("role") != "assistant"
            or not index < len(content)
            or content[index]["type"] != "output_audio"
        ):
            raise invalid("item_id", "Only the audio of an assistant message can be truncated.")
        if end > entry.audio_ms:
            message = f"Audio content of {entry.audio_ms}ms is already shorter than {end}ms"
            raise invalid("audio_end_ms", message)
        # What was not heard was not said: the transcript goes too (realtime-wire.md D3, "barge-in").
        content[index]["transcript"] = ""
        del entry.audio[format_of(self.session["audio"]["output"]["format"]).size(end / 1000) :]
        entry.audio_ms = end
        place = {"item_id": event["item_id"], "content_index": index, "audio_end_ms": end}
        self._stage.send("conversation.item.truncated", **place)

    def _hold(self, kind: str, size: int) -> None:
        if kind != "conversation.item.create":
            return
        if self._held + size > MOST_HELD:
            raise WireError("The conversation holds more than this emulator keeps.", "conversation_too_large")
        self._held += size

    # -- audio in -------------------------------------------------------------------------------------------------

    @property
    def _vad(self) -> Json | None:
        vad: Json | None = self.session["audio"]["input"]["turn_detection"]
        return vad

    @property
    def _input_format(self) -> Format:
        return format_of(self.session["audio"]["input"]["format"])

    def _append(self, event: Json) -> None:
        for heard in self._ear.append(event["audio"], self._vad, self._input_format):
            match heard:
                case SpeechStarted(start):
                    self._speech_began(start)
                case SpeechStopped(end, audio):
                    self._speech_ended(end, audio)

    def _speech_began(self, start: int) -> None:
        self._stirred += 1
        self._speech_item = self._stage.make("item_")
        place = {"audio_start_ms": start, "item_id": self._speech_item}
        self._stage.send("input_audio_buffer.speech_started", **place)
        if self._vad and self._vad["interrupt_response"]:
            self._responses.interrupt()

    def _speech_ended(self, end: int, audio: bytes) -> None:
        place = {"audio_end_ms": end, "item_id": self._speech_item}
        self._stage.send("input_audio_buffer.speech_stopped", **place)
        self._turn(audio)

    def _commit_by_hand(self, _: Json) -> None:
        audio = self._ear.commit(self._input_format)
        if not self._speech_item:
            self._speech_item = self._stage.make("item_")
        # By hand there is never an answer before response.create, not even with turn detection on.
        self._stage.agenda.add(self._stage.now, self._committed(audio))

    def _clear(self, _: Json) -> None:
        self._ear.clear()
        self._speech_item = ""
        self._stage.send("input_audio_buffer.cleared")

    def _clear_output(self, _: Json) -> None:
        if not self._stage.terms.call:
            raise invalid("type", "output_audio_buffer.clear is for WebRTC and SIP sessions only.")
        active = self._responses.active
        self._stage.send("output_audio_buffer.cleared", response_id=active.id if active else None)

    def _turn(self, audio: bytes) -> None:
        """The user's turn is over; answer it if that is how turns are detected."""
        transcription = self._committed(audio)
        answered = self.session["type"] == "realtime" and self._vad and self._vad["create_response"]
        if answered and not self._responses.active:
            self._responses.start(self.session, {}, before=transcription)
        else:
            self._stage.agenda.add(self._stage.now, transcription)

    def _committed(self, audio: bytes) -> Play:
        """Make the buffer an item; gives the events of its transcription, which come when they come."""
        item_id, self._speech_item = self._speech_item, ""
        seconds = self._input_format.seconds(len(audio))
        words = self._responses.hear(seconds) if audio else ""
        entry = Entry(
            {
                "id": item_id,
                "type": "message",
                "status": "completed",
                "role": "user",
                "content": [{"type": "input_audio", "transcript": None}],
            },
            bytearray(audio),
            heard=seconds,
            words=words,
        )
        self._stage.send("input_audio_buffer.committed", item_id=item_id, previous_item_id=self._items.last_id)
        self._stage.out += self._added(entry)
        self._items.forget_audio(MOST_AUDIO)
        wanted = self.session["audio"]["input"]["transcription"]
        return self._transcription(item_id, words, seconds) if wanted else iter(())

    def _transcription(self, item_id: str, words: str, seconds: float) -> Iterator[Effect]:
        kind = "conversation.item.input_audio_transcription"
        place = {"item_id": item_id, "content_index": 0}
        if fault := self._stage.faults.take("transcription"):
            error = WireError(fault.message or "Transcription failed.", fault.code or "DeploymentNotFound")
            yield self._stage.event(f"{kind}.failed", **place, error=error.body)
            return
        for word in re.findall(r"\s*\S+", words):
            padding = self._stage.ids.token(max(1, 16 - len(word) % 16))
            yield self._stage.event(f"{kind}.delta", **place, delta=word, logprobs=None, obfuscation=padding)
        spent, made = audio_in_tokens(seconds), text_tokens(words)
        usage = {
            "type": "tokens",
            "total_tokens": spent + made,
            "input_tokens": spent,
            "output_tokens": made,
            "input_token_details": {"text_tokens": 0, "audio_tokens": spent},
        }
        yield self._stage.event(f"{kind}.completed", **place, transcript=words, usage=usage, logprobs=None)

    # -- after a response -----------------------------------------------------------------------------------------

    def _after(self, run: Run) -> Iterator[Effect]:
        deferred, self._deferred = self._deferred, []
        for event in deferred:
            entry: Entry = event["item"]
            entry.item["id"] = entry.item["id"] or self._stage.make("item_")
            try:
                yield from self._added(entry, event.get("previous_item_id"))
            except WireError as error:
                yield self._stage.event("error", error={**error.body, "event_id": event.get("event_id")})
        self._stirred += 1
        timeout = (self._vad or {}).get("idle_timeout_ms")
        if timeout:
            playback = 0.0 if self._stage.terms.pace else run.spoken
            delay = self._stage.seconds(playback + timeout / 1000)
            self._stage.agenda.add(self._stage.now + delay, self._idle(self._stirred))

    def _idle(self, stirred: int) -> Iterator[Effect]:
        """Nobody spoke for `idle_timeout_ms`: an empty turn, which the model answers (realtime-wire.md D3, "idle")."""
        if stirred != self._stirred or self._ear.speaking or self._responses.active:
            return
        at = self._ear.position_ms
        self._speech_item = self._stage.make("item_")
        place = {"audio_start_ms": at, "audio_end_ms": at, "item_id": self._speech_item}
        yield self._stage.event("input_audio_buffer.timeout_triggered", **place)
        self._turn(b"")
