"""In which order what the client said leaves, and what waits for the end of an answer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.conversation.core import BY_HAND, LISTENING, SECOND, Core, typed
from tests.conversation.world import a_talk

from voicepilot.conversation import effects as fx
from voicepilot.conversation import inputs as happen
from voicepilot.conversation.happenings import TurnInterrupted
from voicepilot.conversation.item import legal_call_id

APPEND = "input_audio_buffer.append"


def sent(core: Core) -> list[str]:
    return [effect.event["type"] for effect in core.all if isinstance(effect, fx.Send)]


def answering(core: Core) -> Core:
    core.connect().say("response.create")
    core.hear("response.created", response={"id": "r"})
    core.all.clear()
    return core


def done(core: Core) -> Core:
    return core.hear("response.done", response={"id": "r", "output": []})


class TestAnAnswerAtATime:
    def test_an_answer_asked_for_during_another_waits_for_its_end(self) -> None:
        core = answering(Core()).say("response.create")
        assert sent(core) == []
        done(core)
        assert sent(core) == ["response.create"]

    def test_so_does_what_was_said_after_it(self) -> None:
        core = answering(Core()).say("response.create").say_text("later")
        assert sent(core) == []
        done(core)
        assert sent(core) == ["response.create", "conversation.item.create"]

    def test_but_not_what_was_said_before_it(self) -> None:
        core = answering(Core()).say_text("before")
        assert sent(core) == ["conversation.item.create"]

    def test_the_third_waits_for_the_end_of_the_second(self) -> None:
        core = answering(Core()).say("response.create").say("response.create")
        done(core)
        assert sent(core) == ["response.create"]
        core.hear("response.created", response={"id": "r"})
        done(core)
        assert sent(core) == ["response.create", "response.create"]

    def test_one_that_was_asked_for_and_has_not_begun_counts_too(self) -> None:
        core = Core().connect().say("response.create").say("response.create")
        assert sent(core) == ["response.create"]

    def test_an_answer_beside_the_conversation_waits_for_nothing(self) -> None:
        core = answering(Core()).say("response.create", response={"conversation": "none"})
        assert sent(core) == ["response.create"]

    def test_a_cancel_goes_out_at_once(self) -> None:
        core = answering(Core()).say("response.create").say("response.cancel")
        assert sent(core) == ["response.cancel"]

    def test_a_refusal_ends_the_wait_as_an_answer_does(self) -> None:
        core = Core().connect().say("response.create", event_id="first").say("response.create")
        core.all.clear()
        core.hear("error", error={"message": "no", "event_id": "first"})
        assert sent(core) == ["response.create"]


class TestAnAnswerThatNeverEnds:
    """What waits for its end does not wait for ever, as long as the connection lives."""

    def live_on(self, core: Core, seconds: int) -> Core:
        for _ in range(seconds // 4):
            core.now += 4
            core.give(happen.Ponged(core.active))
        return core

    def test_what_waits_goes_after_a_minute_without_a_sign_of_it(self) -> None:
        core = answering(Core()).say("response.create")
        self.live_on(core, 56)
        assert sent(core) == []
        self.live_on(core, 8)
        assert sent(core) == ["response.create"]
        assert core.happening(TurnInterrupted) == TurnInterrupted(at=1_070.0, response_id="r", action="report")

    def test_one_that_never_began_is_not_told_of(self) -> None:
        core = Core().connect().say("response.create").say("response.create")
        self.live_on(core, 64)
        assert sent(core) == ["response.create", "response.create"]
        assert not [one for one in core.all if isinstance(one, fx.Yield)]

    def test_one_that_goes_on_for_long_is_waited_for(self) -> None:
        core = answering(Core()).say("response.create")
        for _ in range(30):
            self.live_on(core, 8)
            core.hear("response.output_text.delta", item_id="i", delta="…")
        assert sent(core) == []

    def test_other_events_are_no_sign_of_it(self) -> None:
        core = answering(Core()).say("response.create")
        for _ in range(70):
            core.now += 1
            core.hear("rate_limits.updated")
        assert sent(core) == ["response.create"]


class TestTheUsersAudio:
    @pytest.mark.parametrize("session", [LISTENING, BY_HAND])
    def test_it_goes_on_while_an_answer_is_waited_for(self, session: dict[str, Any]) -> None:
        core = answering(Core(session=session)).say("response.create").say(APPEND, audio=SECOND)
        assert sent(core) == [APPEND]

    def test_but_not_past_the_end_of_its_turn(self) -> None:
        core = answering(Core()).say("response.create").say("input_audio_buffer.commit").say(APPEND, audio=SECOND)
        assert sent(core) == []
        done(core)
        assert sent(core) == ["response.create", "input_audio_buffer.commit", APPEND]


async def test_lines_typed_in_a_hurry_are_answered_one_after_the_other() -> None:
    lines = ["one", "two", "three", "four"]
    async with a_talk() as talk:
        for line in lines:
            await talk.conversation.say(line)
        await talk.hear_out()
    assert talk.answered() == [f"re {line}" for line in lines]
    assert talk.errors() == []


async def test_lines_typed_during_an_outage_are_answered_one_after_the_other() -> None:
    async with a_talk() as talk:
        talk.line.outage(5)
        for line in ("one", "two", "three"):
            await talk.conversation.say(line)
        await talk.hear_out()
    assert talk.answered() == ["re one", "re two", "re three"]
    assert talk.errors() == []


class TestWhatWasTruncated:
    async def test_an_answer_that_was_replayed_as_text_is_shortened_for_the_next_connection(self) -> None:
        """The server would refuse: it has the words and no sound."""
        audio = {"output_modalities": ["audio"]}
        async with a_talk(audio) as talk:
            await talk.conversation.say("one two three four five six")
            await talk.hear_out()
            (item_id,) = [item["id"] for item in talk.line.items() if item["role"] == "assistant"]
            talk.line.cut()
            await talk.hear_out()
            await talk.conversation.conversation.item.truncate(item_id=item_id, audio_end_ms=10)
            await talk.hear_out()
            assert talk.of("conversation.item.truncated")[-1]["item_id"] == item_id
            talk.line.cut()
            await talk.hear_out()
            assert "six" not in str([item for item in talk.line.items() if item["role"] == "assistant"])
        assert talk.errors() == []

    async def test_an_answer_that_the_next_connection_has_already_is_replaced_there(self) -> None:
        """Truncated between the replay and the move: held off by an answer that takes its time."""
        audio = {"output_modalities": ["audio"]}
        async with a_talk(audio, session_life=200, pacing="realtime") as talk:
            await talk.conversation.say("one two three four five six")
            await talk.hear_out()
            (item_id,) = [item["id"] for item in talk.line.items() if item["role"] == "assistant"]
            while talk.conversation.phase != "preparing":
                await talk.conversation.say("word " * 40)
                await talk.until(lambda: len(talk.of("response.created")) > len(talk.of("response.done")))
                await talk.until(
                    lambda: (
                        talk.conversation.phase == "preparing"
                        or len(talk.of("response.created")) == len(talk.of("response.done"))
                    )
                )
            await talk.until(lambda: len(talk.line.record.connections()) == 2 and len(talk.line.items()) > 1)
            await talk.conversation.conversation.item.truncate(item_id=item_id, audio_end_ms=10)
            await talk.until(lambda: bool(talk.of("voicepilot.handover")))
            kept = {item["id"]: item for item in talk.line.items()}
            assert "six" not in str(kept.get(item_id))
        assert talk.errors() == []

    def test_the_reader_is_told_which_part_was_shortened_and_where(self) -> None:
        core = Core().connect()
        core.hear_answer("r", "one two three")
        core.fall().restore()
        version = core.state.version
        core.say("conversation.item.truncate", item_id="item_r", content_index=1, audio_end_ms=10)
        assert sent(core)[-1] != "conversation.item.truncate"
        (told,) = core.ordered(fx.Yield)
        assert isinstance(told.event, dict)
        assert told.event.pop("event_id").startswith("vp_t_")
        assert told.event == {
            "type": "conversation.item.truncated",
            "item_id": "item_r",
            "content_index": 1,
            "audio_end_ms": 10,
        }
        assert len(core.state.journal) == 0
        assert core.state.version > version, "a standby has to be told"
        core.say("conversation.item.truncate", item_id="item_r", audio_end_ms=10)
        (told,) = core.ordered(fx.Yield)
        assert isinstance(told.event, dict)
        assert told.event["content_index"] == 0


class TestCallsWithLongIds:
    LONG = "call_" + "x" * 40

    def test_the_output_names_the_call_as_the_connection_knows_it(self) -> None:
        """A client may not use ids as long as the server's: the replay gives the call a shorter one."""
        call = {"id": "c", "type": "function_call", "status": "completed", "name": "f", "arguments": "{}"}
        core = Core().connect().hear_item({**call, "call_id": self.LONG}).fall().restore()
        core.say("conversation.item.create", item=self.output("o", self.LONG))
        core.say("conversation.item.create", item=self.output("p", "call_1"))
        first, second = [order.event["item"] for order in core.ordered(fx.Send, core.all)][-2:]
        assert first == self.output("o", legal_call_id(self.LONG))
        assert second == self.output("p", "call_1")
        assert [entry.event["item"]["call_id"] for entry in core.state.journal] == [self.LONG, "call_1"]

    def output(self, item_id: str, call_id: str) -> dict[str, str]:
        return {"id": item_id, "type": "function_call_output", "call_id": call_id, "output": "x"}


class TestWhatIsRefusedOnReplay:
    def refused(self, core: Core, which: list[str]) -> list[str]:
        """Answer every create of the incoming connection; those in `which` and what follows them are refused."""
        known = {"root"}
        while creates := [
            effect.event
            for effect in core.all
            if isinstance(effect, fx.Send) and effect.link == 2 and effect.event["type"] == "conversation.item.create"
        ]:
            core.all.clear()
            for event in creates:
                item = event["item"]
                if item["id"] in which or event["previous_item_id"] not in known:
                    core.hear("error", link=2, error={"message": "no", "event_id": event["event_id"]})
                else:
                    known.add(item["id"])
                    core.hear("conversation.item.added", link=2, item=item)
                    core.hear("conversation.item.done", link=2, item=item)
        return sorted(known - {"root"})

    @pytest.mark.parametrize("which", [["a"], ["b"], ["a", "c"], ["e"], []])
    def test_only_what_cannot_be_said_again_is_missing(self, which: list[str]) -> None:
        core = Core().connect(life=600)
        for before, item_id in pairwise([None, *"abcde"]):
            core.hear("conversation.item.added", item=typed(str(item_id)), previous_item_id=before)
            core.hear("conversation.item.done", item=typed(str(item_id)), previous_item_id=before)
        core.prepare().give(happen.Dialled(2))
        core.give(happen.Greeted(2, {"type": "session.created", "session": BY_HAND}, 600))
        assert self.refused(core, which) == [item_id for item_id in "abcde" if item_id not in which]
        assert core.state.incoming is not None or core.state.active is not None
        link = core.state.incoming or core.state.active
        assert link is not None
        assert [lost.item_id for lost in link.lost] == which
        assert all(before < after for before, after in pairwise(link.replayed))
