"""The demo's long call, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.cli.histories import frame

from voicepilot import SessionManager
from voicepilot.cli.demo.call import ASKING, CRASHING, FOUND, GREETING, LAST, OPTIONS, TOOL, LongCaller, answer
from voicepilot.cli.demo.carried import differences, items_of
from voicepilot.emulator.record import Frame
from voicepilot.testing import EmulatedLine, FakeKeyService, VirtualClock


class Call:
    """A long call, its line, and what was told of it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.line = EmulatedLine(clock=self.clock, latency=0.01, session_life=7, answers=answer)
        self.told: list[tuple[str, str, str]] = []
        self.caller: LongCaller

    @asynccontextmanager
    async def held(self, **config: Any) -> AsyncIterator[Call]:  # Any: the fields of ConversationConfig
        async with (
            SessionManager(FakeKeyService(), clock=self.clock, dialler=self.line) as manager,
            manager.session() as session,
            manager.connect(session.session_id, url=self.line.url, config=config, **OPTIONS) as conversation,
            asyncio.TaskGroup() as tasks,
        ):
            self.caller = LongCaller("emma", conversation, lambda *line: self.told.append(line))
            tasks.create_task(self.caller.listen())
            yield self
            await conversation.close()


async def test_everything_that_was_said_is_known_to_the_last_connection_and_to_the_caller() -> None:
    async with Call().held() as call:
        await call.caller.say(GREETING)
        await call.caller.say(ASKING)
        while call.caller.handovers < 2:
            await call.caller.say("Yes.")
        call.line.cut(after_events=CRASHING)
        await call.caller.say("Please say all of that again, slowly, so that I can write it down.")
        await call.caller.say(LAST)
    caller, last = call.caller, call.line.record.connections()[-1].opened.connection
    said = tuple(caller.said)
    assert (caller.falls, caller.asked_again, caller.lost) == (1, 1, "")
    assert caller.outage > 0
    assert said[:5] == (
        ("user", GREETING),
        ("assistant", f"You said: {GREETING}"),
        ("user", ASKING),
        ("call", f'{TOOL} {{"people":4}}'),
        ("output", f"{TOOL} {FOUND}"),
    )
    lines = sum(kind == "user" for kind, _ in said)
    assert said[-1] == ("assistant", f"You have said {lines} things, and the first was: {GREETING}")
    frames = [frame for frame in call.line.record.frames() if frame.connection == last]
    assert differences(said, items_of(frames)) == []
    tones = {text.split(" ")[0]: tone for _, text, tone in call.told}
    assert tones == {"moved": "good", "the": "good", "back": "good"}


def test_an_item_stands_where_the_provider_put_it() -> None:
    def said(item_id: str, after: str | None) -> list[Frame]:
        item = {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": item_id}]}
        return [frame(f"conversation.item.{step}", item=item, previous_item_id=after) for step in ("added", "done")]

    sent = [*said("a", None), *said("c", "a"), *said("b", "a")]
    assert items_of(sent) == (("user", "a"), ("user", "b"), ("user", "c"))


async def test_whoever_loses_the_call_is_told_and_waits_for_nothing() -> None:
    async with Call().held(max_outage_seconds=1) as call:
        call.line.outage(1_000)
        await call.caller.say(GREETING)
        await call.caller.say(LAST)
    assert call.caller.lost.startswith("no connection for 1 s")
    assert call.told[-1][2] == "bad"
    assert call.caller.told_of(lasted=1.0, transcript=()).lost == call.caller.lost


async def test_an_answer_that_is_only_reported_is_not_waited_for() -> None:
    async with Call().held(on_interrupted_turn="report") as call:
        call.line.cut(after_events=CRASHING)
        await call.caller.say("Please say all of that again, slowly, so that I can write it down.")
        await call.caller.say("Yes.")
    assert call.caller.said[-1] == ("assistant", "You said: Yes.")
