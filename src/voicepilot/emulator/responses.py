"""Who answers when: the responses of a conversation, from `response.create` to what follows `response.done`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from voicepilot.emulator.agenda import Play
from voicepilot.emulator.answers import Answerer, Fail, Part, Turn, Wait, parts_of
from voicepilot.emulator.audio import format_of
from voicepilot.emulator.checks import Json, WireError
from voicepilot.emulator.effects import Effect
from voicepilot.emulator.items import Entry, Items
from voicepilot.emulator.response import Manner, Run
from voicepilot.emulator.stage import Stage
from voicepilot.emulator.usage import audio_in_tokens, text_tokens


class Responses:
    """At most one response of the conversation runs at a time; those out of band run beside it."""

    def __init__(
        self, stage: Stage, items: Items, answerer: Answerer, after: Callable[[Run], Iterator[Effect]]
    ) -> None:
        self.spoke = False  # audio was heard, which locks the voice
        self._stage = stage
        self._items = items
        self._answerer = answerer
        self._after = after
        self._runs: dict[str, Run] = {}
        self._number = 0
        self._conversation_id = stage.make("conv_")

    @property
    def active(self) -> Run | None:
        """The response of the conversation that is running."""
        return next((run for run in self._runs.values() if run.in_conversation), None)

    def start(self, session: Json, asked: Json, before: Play | None = None) -> None:
        """Begin a response; `before` is played between `response.created` and its first output."""
        in_conversation = asked.get("conversation", "auto") != "none"
        active = self.active
        if in_conversation and active:
            raise WireError(
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        entries = self._entries(asked)
        run = self._run(session, asked, entries, in_conversation=in_conversation)
        self._runs[run.id] = run
        self._stage.send("response.created", response=copy.deepcopy(run.response))
        if before is not None:
            self._stage.agenda.add(self._stage.now, before)
        delay = self._stage.seconds(self._stage.faults.delay("response"))
        self._stage.agenda.add(self._stage.now + delay, self._play(run))

    def cancel(self, response_id: str | None) -> None:
        """The client wants no more of a response."""
        run = self._runs.get(response_id) if response_id else self.active
        if run is None:
            raise WireError("Cancellation failed: no active response found", "response_cancel_not_active")
        self._stage.out += self._cut(run, "client_cancelled")

    def interrupt(self) -> None:
        """The user speaks over the answer."""
        if run := self.active:
            self._stage.out += self._cut(run, "turn_detected")

    def hear(self, seconds: float) -> str:
        """The words of the user's audio: the script's, or a description, since nothing here understands speech."""
        said = self._answerer.hear(seconds)
        return f"({seconds:.1f} seconds of audio)" if said is None else said

    def _entries(self, asked: Json) -> list[Entry]:
        if asked.get("input") is None:
            return list(self._items)
        return [self._referred(index, given) for index, given in enumerate(asked["input"])]

    def _referred(self, index: int, given: Entry | Json) -> Entry:
        if isinstance(given, Entry):
            return given
        entry = self._items.get(given["id"])
        if entry is None:
            message = f"Item with ID '{given['id']}' not found in the conversation."
            raise WireError(message, "invalid_value", f"response.input[{index}].id")
        return entry

    def _run(self, session: Json, asked: Json, entries: list[Entry], *, in_conversation: bool) -> Run:
        modalities = asked.get("output_modalities", session["output_modalities"])
        output = {**session["audio"]["output"], **asked.get("audio", {}).get("output", {})}
        if self.spoke and output["voice"] != session["audio"]["output"]["voice"]:
            message = "Cannot update a conversation's voice if assistant audio is present."
            raise WireError(message, "cannot_update_voice", "response.audio.output.voice")
        limit = asked.get("max_output_tokens", session["max_output_tokens"])
        manner = Manner(
            audio=modalities == ["audio"],
            form=format_of(output["format"]),
            pace=self._stage.terms.pace,
            speed=output["speed"],
            limit=limit if isinstance(limit, int) else None,
        )
        response: Json = {
            "object": "realtime.response",
            "id": self._stage.make("resp_"),
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "conversation_id": self._conversation_id if in_conversation else None,
            "output_modalities": modalities,
            "max_output_tokens": limit,
            "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
            "usage": None,
            "metadata": asked.get("metadata"),
        }
        return Run(
            response,
            self._reply(session, asked, entries),
            manner,
            items=self._items if in_conversation else None,
            context=_context(session, entries),
            make=self._stage.make,
            token=self._stage.ids.token,
        )

    def _reply(self, session: Json, asked: Json, entries: list[Entry]) -> tuple[Part, ...]:
        fault = self._stage.faults.take("response")
        if fault and fault.kind == "failed":
            return (Fail(fault.message or Fail().message, fault.code),)
        last = next((entry for entry in reversed(entries) if _asks(entry.item)), None)
        turn = Turn(
            text=last.words if last else "",
            heard=last.heard if last else 0.0,
            number=self._number,
            instructions=str(asked.get("instructions", session["instructions"])),
            items=tuple(copy.deepcopy(entry.item) for entry in entries),
            response={name: value for name, value in asked.items() if name != "input"},
        )
        self._number += 1
        try:
            parts = parts_of(self._answerer.answer(turn))
        except Exception as error:  # the user's own code: the client must see a failed response
            return (Fail(f"the answer function raised {type(error).__name__}: {error}"),)
        if fault:
            parts = (Wait(fault.seconds or 1.0), *parts)
        return tuple(Wait(self._stage.seconds(part.seconds)) if isinstance(part, Wait) else part for part in parts)

    def _play(self, run: Run) -> Play:
        for step in run.play():
            if isinstance(step, float | int):
                yield step
            else:
                yield from self._shown(step, run)
            if run.over and run.id not in self._runs:
                return
        yield from self._finished(run)

    def _shown(self, event: Json, run: Run) -> Iterator[Effect]:
        kind = event["type"]
        if kind == "response.output_audio.delta":
            self.spoke = True
            if self._stage.terms.call:
                return
        yield self._stage.stamped(event)
        if kind == "response.content_part.added" and self._stage.terms.call and event["part"]["type"] == "audio":
            run.playing = True
            yield self._stage.event("output_audio_buffer.started", response_id=run.id)

    def _cut(self, run: Run, reason: str) -> Iterator[Effect]:
        if run.playing:
            run.playing = False
            yield self._stage.event("output_audio_buffer.cleared", response_id=run.id)
        for event in run.cut(reason):
            yield self._stage.stamped(event)
        yield from self._finished(run)

    def _finished(self, run: Run) -> Iterator[Effect]:
        self._runs.pop(run.id, None)
        if run.spoken and not self._stage.terms.azure:
            yield self._stage.event("rate_limits.updated", rate_limits=[self._rate_limit()])
        if run.playing:
            yield self._stage.event("output_audio_buffer.stopped", response_id=run.id)
        if run.in_conversation:
            yield from self._after(run)

    def _rate_limit(self) -> Json:
        # After the response, tokens only, and only where audio was made by OpenAI (realtime-wire.md D2).
        return {"name": "tokens", "limit": 40_000, "remaining": 40_000, "reset_seconds": 0.0}


def _asks(item: Json) -> bool:
    return item["type"] == "function_call_output" or item.get("role") == "user"


def _context(session: Json, entries: list[Entry]) -> tuple[int, int]:
    words = sum(text_tokens(entry.words) for entry in entries if not entry.heard)
    audio = sum(audio_in_tokens(entry.heard) for entry in entries)
    return words + text_tokens(session["instructions"]), audio
