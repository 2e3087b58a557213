"""From one connection to the next: by the core alone, step by step."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.conversation.core import BY_HAND, LATER, LISTENING, Core, typed

from voicepilot.conversation import effects as fx
from voicepilot.conversation import inputs as happen
from voicepilot.conversation.guards import MOST_FLAPS
from voicepilot.conversation.happenings import (
    ConversationRestored,
    Handover,
    InputDropped,
    Reconnecting,
    Restored,
    TurnInterrupted,
)
from voicepilot.conversation.state import Phase
from voicepilot.errors import Fault, FaultDomain
from voicepilot.ports import ConnectionPhase, ConnectionStatus


class TestHandover:
    def ready(self, **config: Any) -> Core:
        """The next connection is about to be ready: the old one has been told that its audio is not wanted."""
        return Core(session=LISTENING, **config).connect(life=600).prepare()

    def test_the_next_connection_is_dialled_at_the_margin(self) -> None:
        core = Core().connect(life=600)
        assert core.state.prepare_at == core.now + 470
        core.prepare()
        assert core.phase() is Phase.PREPARING
        assert len(core.ordered(fx.Dial)) == 1

    def test_but_not_before_half_its_life(self) -> None:
        core = Core().connect(life=100)
        assert core.state.prepare_at == core.now + 40

    def test_it_moves_at_once_where_nobody_speaks(self) -> None:
        core = self.ready().restore()
        assert core.phase() is Phase.SUSPENDING
        assert core.ordered(fx.Suspend, core.all) == [fx.Suspend("handover", answer=True)]
        core.give(happen.Suspended())
        assert core.phase() is Phase.LIVE
        assert core.active == 2
        assert core.happening(Handover) == Handover(at=core.now, connection=2, forced=False, restored=Restored())
        assert core.ordered(fx.HangUp) == [fx.HangUp(1)]
        assert core.ordered(fx.Resume) == [fx.Resume()]

    def test_it_waits_for_the_end_of_an_answer(self) -> None:
        core = self.ready()
        core.hear_answer("r", to="said").restore()
        assert core.phase() is Phase.PREPARING
        core.hear("response.done", response={"id": "r", "output": []})
        assert core.phase() is Phase.SUSPENDING

    def test_it_waits_for_what_was_said_to_be_confirmed(self) -> None:
        core = self.ready().say_text("a").restore()
        assert core.phase() is Phase.PREPARING
        core.hear("conversation.item.added", item=typed("a"), previous_item_id=None)
        assert core.phase() is Phase.SUSPENDING

    def test_it_waits_for_an_answer_that_the_server_owes_but_not_for_ever(self) -> None:
        core = self.ready().say_audio(2)
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None).restore()
        assert core.phase() is Phase.PREPARING
        core.listen(6).give(happen.Ponged(1))
        assert core.phase() is Phase.SUSPENDING

    def test_it_waits_for_speech_to_end(self) -> None:
        core = self.ready().say_audio(2)
        core.hear("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0).restore()
        assert core.phase() is Phase.PREPARING

    def test_audio_alone_is_no_reason_to_wait(self) -> None:
        core = self.ready().say_audio().restore()
        assert core.phase() is Phase.SUSPENDING

    def test_what_is_said_while_it_moves_waits_for_the_new_connection(self) -> None:
        core = self.ready().restore()
        core.say_text("a")
        assert core.sent() == []
        core.give(happen.Suspended())
        assert core.sent(2) == ["conversation.item.create"]
        assert core.happening(Handover).restored.events_resent == 1

    def test_speech_that_the_old_connection_was_told_to_forget_does_not_hold_it_up(self) -> None:
        core = self.ready()
        core.say_audio().restore().give(happen.Suspended())
        assert core.sent(1) == ["input_audio_buffer.clear"]
        core.hear("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        assert core.phase() is Phase.SETTLING
        core.hear("input_audio_buffer.cleared")
        assert "input_audio_buffer.cleared" not in core.told(), "the client asked for no clear"
        assert core.phase() is Phase.LIVE
        assert core.active == 2
        assert core.sent(2) == ["input_audio_buffer.append"]
        assert core.happening(Handover).forced is False

    def test_a_turn_that_the_old_connection_found_as_it_was_left_is_answered_there(self) -> None:
        core = self.ready().say_audio().restore().give(happen.Suspended())
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=1_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None)
        core.hear("input_audio_buffer.cleared")
        assert core.phase() is Phase.SETTLING
        core.hear_answer("r")
        for item_id in ("u", "item_r"):
            for order in core.ordered(fx.Send, core.all):
                if order.link == 2 and order.event.get("item", {}).get("id") == item_id:
                    core.acknowledge(order)
        assert (core.phase(), core.active) == (Phase.LIVE, 2)
        assert core.happening(Handover).forced is False

    def test_audio_that_the_old_connection_alone_had_is_told_to_be_lost_when_it_is_left(self) -> None:
        core = self.ready(max_queued_audio_seconds=2)
        core.say_audio(5).restore()
        assert core.phase() is Phase.SUSPENDING
        core.give(happen.Suspended())
        core.now += 0.5
        core.hear("input_audio_buffer.cleared")
        assert core.happening(InputDropped) == InputDropped(at=core.now, start=0, end=3)
        restored = core.happening(Handover).restored
        assert (restored.audio_forgotten, restored.audio_resent) == (3, 2)

    def test_a_standby_that_waited_long_has_time_to_catch_up(self) -> None:
        core = self.ready()
        core.hear_answer("r", to="begun").restore()
        core.listen(60)
        core.hear_answer("r", to="done")
        core.give(happen.Suspended())
        assert core.sent(2) == ["conversation.item.create"], "what was said while it waited"
        core.pass_time(1)
        assert core.incoming == 2, "it has just been asked"
        core.hear_item({"id": "item_r", "type": "message", "role": "assistant", "content": []}, 2)
        assert core.active == 2

    def test_options_changed_while_it_was_being_prepared_come_along(self) -> None:
        core = Core({"instructions": "be nice"}).connect(life=600).prepare()
        link = core.incoming
        core.restore()
        core.state.phase, core.now = Phase.PREPARING, core.now  # as if somebody had spoken until now
        core.say("session.update", session={"type": "realtime", "instructions": "be curt"})
        core.hear("session.updated", session={**BY_HAND, "instructions": "be curt"})
        core.give(happen.Suspended())
        told = [order.event for order in core.ordered(fx.Send, core.all) if order.link == link]
        assert told[-1]["type"] == "session.update"
        assert told[-1]["session"]["instructions"] == "be curt"
        assert core.active == 1
        core.hear("session.updated", link, session={**BY_HAND, "instructions": "be curt"})
        assert core.active == link

    def test_a_cancel_still_reaches_the_old_connection_that_is_answering(self) -> None:
        core = self.late()
        core.say("response.cancel")
        assert core.sent(1) == ["response.cancel"]

    def late(self) -> Core:
        """An answer is under way, and the cut is near."""
        core = self.ready()
        core.hear_answer("r", "yes indeed", to="begun").restore()
        core.give(happen.DeadlinePassed(happen.Deadline.MOVE), happen.Suspended())
        assert core.phase() is Phase.SETTLING
        return core

    def test_an_answer_that_does_not_end_is_cut_short_and_asked_for_again(self) -> None:
        core = self.late()
        core.give(happen.DeadlinePassed(happen.Deadline.CUT))
        assert core.phase() is Phase.LIVE
        assert core.active == 2
        assert core.happening(Handover).forced is True
        assert core.happening(TurnInterrupted).action == "retry"
        assert core.sent(2) == ["response.create"]

    def test_the_handover_after_that_waits_for_pauses_again(self) -> None:
        core = self.late().give(happen.DeadlinePassed(happen.Deadline.CUT))
        core.hear_answer("s", to="begun").prepare().restore()
        assert core.phase() is Phase.PREPARING
        core.hear("response.done", response={"id": "s", "output": []})
        core.say_audio().give(happen.Suspended())
        assert core.phase() is Phase.SETTLING
        core.hear("conversation.item.input_audio_transcription.delta", item_id="u", delta="x")
        assert core.told() == ["conversation.item.input_audio_transcription.delta"]
        core.hear("rate_limits.updated")
        assert core.told() == ["rate_limits.updated"], "it is heard as long as it was not cut short"

    def test_what_it_still_says_afterwards_is_of_no_interest(self) -> None:
        core = Core(session=LISTENING).connect(life=600)
        core.say_text("a").hear_item(core.ordered(fx.Send)[0].event["item"])
        core.prepare().hear_answer("r", to="begun").restore()
        core.say_text("b")  # unconfirmed, so that the standby has something to learn
        core.hear_item(core.ordered(fx.Send)[0].event["item"])
        core.give(happen.DeadlinePassed(happen.Deadline.MOVE), happen.Suspended())
        core.give(happen.DeadlinePassed(happen.Deadline.CUT))
        assert core.phase() is Phase.SETTLING
        item = {"id": "item_r", "type": "message", "role": "assistant", "status": "completed", "content": []}
        core.hear("response.output_text.delta", response_id="r", item_id="item_r", delta="no")
        assert core.told() == []
        core.hear("conversation.item.done", item=item, previous_item_id=None)
        assert core.told() == []
        assert "item_r" not in core.state.mirror.item_ids()

    def test_a_standby_that_fails_is_tried_again_later(self) -> None:
        core = self.ready().give(happen.DialFailed(2, LATER))
        assert core.phase() is Phase.LIVE
        assert core.state.prepare_at is not None
        assert core.state.prepare_at > core.now

    def test_it_stays_where_it_is_when_the_standby_is_lost_at_the_last_moment(self) -> None:
        core = self.ready()
        core.say_audio().restore().give(happen.Suspended(), happen.Fell(2, LATER))
        core.say_text("a")
        assert core.sent() == []
        core.hear("input_audio_buffer.cleared")
        assert core.phase() is Phase.LIVE
        assert core.sent(1) == ["input_audio_buffer.append", "conversation.item.create"]
        assert core.ordered(fx.Resume) == [fx.Resume()]
        assert core.ordered(fx.Report) == [fx.Report(ConnectionPhase.LIVE, ConnectionStatus.DEGRADED, LATER)]


class TestFall:
    def test_audio_that_was_sent_and_not_kept_is_told_to_be_lost(self) -> None:
        core = Core(max_queued_audio_seconds=1).connect()
        core.say_audio(3)
        assert "voicepilot.input-dropped" not in core.told(ever=True), "the server has it"
        core.fall().restore()
        lost = core.happening(InputDropped)
        assert (lost.start, lost.end) == (0, 2)
        restored = core.happening(ConversationRestored).restored
        assert (restored.audio_forgotten, restored.audio_resent) == (2, 1)

    def test_a_standby_is_told_what_the_fall_left_of_an_answer(self) -> None:
        core = Core(session=LISTENING, on_interrupted_turn="report").connect(life=600).prepare()
        core.hear_answer("r", "yes indeed", to="begun").restore()
        assert core.sent(2, ever=True) == []
        core.fall()
        assert core.phase() is Phase.CONNECTING
        (told,) = core.ordered(fx.Send)
        assert told.event["item"]["content"] == [{"type": "output_text", "text": "ye"}]
        core.acknowledge(told)
        assert core.active == 2

    def test_what_was_put_between_two_items_stands_between_them(self) -> None:
        core = Core(session=LISTENING).connect(life=600)
        for name, previous in (("a", None), ("b", "a")):
            core.say_text(name).hear("conversation.item.added", item=typed(name), previous_item_id=previous)
        core.prepare().hear_answer("r", to="begun").restore()
        core.say_text("c").hear("conversation.item.added", item=typed("c"), previous_item_id="a")
        core.hear("conversation.item.done", item=typed("c"), previous_item_id="a")
        core.hear("response.done", response={"id": "r", "output": []})
        core.give(happen.Suspended())
        places = {
            order.event["item"]["id"]: order.event["previous_item_id"]
            for order in core.ordered(fx.Send, core.all)
            if order.link == 2 and order.event["type"] == "conversation.item.create"
        }
        assert places["c"] == "a"
        assert places["b"] == "a"

    def test_what_was_on_its_way_when_it_fell_waits_like_the_rest(self) -> None:
        core = Core(max_queued_audio_seconds=1).connect()
        core.say_audio(1).say("input_audio_buffer.commit").fall()
        core.say_audio(1)
        assert core.happening(InputDropped) == InputDropped(at=core.now, start=0, end=1)
        core.all.clear()
        core.restore()
        assert core.sent(2, ever=True) == ["input_audio_buffer.append"], "there is nothing left to commit"

    def test_pieces_that_go_at_once_are_told_as_one(self) -> None:
        core = Core(max_queued_audio_seconds=2).connect().fall()
        core.say_audio(2).say("input_audio_buffer.append", audio=base64.b64encode(bytes(96_000)).decode())
        dropped = [one.event for one in core.ordered(fx.Yield)]
        assert dropped == [InputDropped(at=core.now, start=0, end=2)]

    def test_but_not_what_was_committed(self) -> None:
        core = Core(max_queued_audio_seconds=1).connect()
        core.say_audio(3).say("input_audio_buffer.commit")
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None)
        core.fall().restore()
        assert "voicepilot.input-dropped" not in core.told(ever=True)

    def test_what_was_said_to_a_server_that_hears_nothing_is_said_again(self) -> None:
        core = Core(session=LISTENING).connect()
        for _ in range(9):
            core.say_audio().now += 1
        core.fall().restore()
        assert core.happening(ConversationRestored).restored.audio_resent == 9

    def test_so_is_what_waited_and_was_sent_at_once(self) -> None:
        core = Core(session=LISTENING).connect()
        core.fall().say_audio(30).restore()
        core.now += 0.1
        core.state.links()[0].note_alive(core.now)
        core.say_audio().now += 10
        core.fall().restore()
        assert core.happening(ConversationRestored).restored.audio_resent == 31

    def test_silence_is_not(self) -> None:
        core = Core(session=LISTENING).connect()
        for _ in range(30):
            core.say_audio().listen(1)
        core.fall().restore()
        assert 5 <= core.happening(ConversationRestored).restored.audio_resent <= 8

    @pytest.mark.parametrize("session", [LISTENING, BY_HAND])
    def test_but_all_that_somebody_said_is(self, session: dict[str, Any]) -> None:
        core = Core(session=session).connect()
        if session is LISTENING:
            core.hear("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        for _ in range(30):
            core.say_audio().listen(1)
        core.fall().restore()
        assert core.happening(ConversationRestored).restored.audio_resent == 30


class TestNoUse:
    """What is said again to each connection may be what ends it."""

    def test_connections_that_fall_at_once_are_not_dialled_for_ever(self) -> None:
        core = Core().connect()
        falls = 0
        while core.phase() is not Phase.OVER:
            core.fall()
            falls += 1
            assert falls < 50
            if core.phase() is Phase.WAITING:
                core.pass_time(10)
            if core.phase() is Phase.CONNECTING:
                core.restore()
        assert falls == MOST_FLAPS + 2, "the first was of use; of the others so many were not, and one more ends it"
        (end,) = core.ordered(fx.Finish, core.all)
        assert end == fx.Finish(
            "connection-lost",
            Fault(
                code="CONVERSATION_LOST",
                message="20 connections in a row fell as soon as they were restored: busy",
                remediation="See the reason; something that is said again to each connection may be what ends it.",
                retryable=True,
                domain=FaultDomain.TRANSPORT,
                cause="X_LATER",
            ),
        )

    def test_an_answer_that_ends_every_connection_is_not_asked_for_for_ever(self) -> None:
        core = Core().connect()
        core.say("response.create")
        for _ in range(20):
            core.now += 10  # long enough to be of use, so that there is no pause
            core.state.active.note_alive(core.now) if core.state.active else None
            core.hear("response.created", response={"id": "r"})
            core.fall().restore()
        actions = [
            one.event.action for one in core.ordered(fx.Yield, core.all) if isinstance(one.event, TurnInterrupted)
        ]
        assert actions[0] == "retry"
        assert actions[-1] == "report"


class TestWhatTheReaderIsTold:
    def test_of_a_fall_and_of_its_end(self) -> None:
        core = Core().connect()
        core.say_text("a").say_audio(2)
        core.fall()
        fell_at = core.now
        assert core.happening(Reconnecting) == Reconnecting(at=fell_at, fault=LATER)
        core.pass_time(1).give(happen.DialFailed(core.incoming, LATER))
        assert core.ordered(fx.Report) == [fx.Report(ConnectionPhase.WAITING, ConnectionStatus.FAILED, LATER)]
        core.pass_time(10 - (core.now - fell_at)).restore()
        assert core.happening(ConversationRestored) == ConversationRestored(
            at=core.now,
            connection=2,
            attempts=2,
            outage=10.0,
            restored=Restored(events_resent=3, audio_resent=2),
        )

    def test_of_an_answer_that_was_cut(self) -> None:
        core = Core(on_interrupted_turn="report").connect()
        core.hear_answer("r", "yes indeed", to="begun").fall()
        assert core.happening(TurnInterrupted) == TurnInterrupted(
            at=core.now, response_id="r", action="report", kept=("item_r",), text="ye"
        )

    def test_of_one_that_was_owed(self) -> None:
        core = Core(session=LISTENING, on_interrupted_turn="report").connect().say_audio(2)
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None).fall()
        assert core.happening(TurnInterrupted) == TurnInterrupted(at=core.now, response_id=None, action="report")
