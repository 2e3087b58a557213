"""The machine by hand: opening, turns that are cut, silence, deadlines, and the end."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conversation.core import BY_HAND, LATER, LISTENING, NEVER, SECOND, Core, typed

from voicepilot.conversation import effects as fx
from voicepilot.conversation import inputs as happen
from voicepilot.conversation.happenings import ConversationRestored, Reconnecting, TurnInterrupted
from voicepilot.conversation.inputs import Deadline
from voicepilot.conversation.link import Stage
from voicepilot.conversation.machine import wake_at
from voicepilot.conversation.state import LONGEST_PAUSE, Phase
from voicepilot.errors import Fault
from voicepilot.ports import ConnectionPhase, ConnectionStatus, Usage

SPOKEN = {
    "type": "realtime",
    "audio": {"input": {"turn_detection": {"type": "server_vad"}, "transcription": {"model": "w"}}},
}


def busy(seconds: float) -> Fault:
    return Fault(code="X_BUSY", message="busy", remediation="", retryable=True, retry_after=seconds)


class TestOpening:
    def test_it_dials_configures_and_is_live(self) -> None:
        core = Core({"instructions": "be nice"}).give(happen.ConnectAsked())
        assert core.ordered(fx.Dial) == [fx.Dial(1, core.state.config.restore_timeout_seconds)]
        core.give(happen.Dialled(1))
        assert core.out == []
        assert core.state.incoming is not None
        assert core.state.incoming.stage is Stage.GREETING
        core.give(happen.Greeted(1, {"type": "session.created", "session": BY_HAND}, 600))
        assert core.told() == ["session.created"]
        (update,) = core.ordered(fx.Send)
        assert update.event["type"] == "session.update"
        assert update.event["session"] == {"type": "realtime", "instructions": "be nice"}
        assert core.phase() is Phase.CONNECTING
        core.hear("session.updated", 1, session=BY_HAND)
        assert core.told() == ["session.updated"]
        assert core.phase() is Phase.LIVE
        assert fx.Report(ConnectionPhase.LIVE, ConnectionStatus.HEALTHY) in core.out

    def test_without_options_there_is_nothing_to_configure(self) -> None:
        core = Core().give(happen.ConnectAsked(), happen.Dialled(1))
        core.give(happen.Greeted(1, {"type": "session.created", "session": BY_HAND}, None))
        assert core.phase() is Phase.LIVE
        assert core.sent() == []

    def test_the_preview_is_not_told_a_type_it_does_not_know(self) -> None:
        core = Core({"instructions": "x"}, session={"model": "m"}).give(happen.ConnectAsked(), happen.Dialled(1))
        core.give(happen.Greeted(1, {"type": "session.created", "session": {"model": "m"}}, None))
        assert core.ordered(fx.Send)[0].event["session"] == {"instructions": "x"}

    def test_what_was_said_before_it_is_open_is_said_then(self) -> None:
        core = Core().give(happen.ConnectAsked()).say_text("a").say("response.create")
        assert core.sent() == []
        core.restore()
        assert core.sent(1, ever=True) == ["conversation.item.create", "response.create"]

    def test_options_that_are_refused_end_it(self) -> None:
        core = Core({"voice": "none"}).give(happen.ConnectAsked(), happen.Dialled(1))
        core.give(happen.Greeted(1, {"type": "session.created", "session": BY_HAND}, None))
        (update,) = core.ordered(fx.Send)
        core.hear("error", 1, error={"event_id": update.event["event_id"], "message": "no such voice", "code": "v"})
        (finish,) = core.ordered(fx.Finish)
        assert finish.reason == "connection-refused"
        assert finish.fault is not None
        assert finish.fault.provider_code == "v"
        assert "no such voice" in finish.fault.message

    def test_a_cancel_before_it_is_open_takes_back_what_was_asked_for(self) -> None:
        core = Core().give(happen.ConnectAsked()).say("response.create").say("response.cancel").restore()
        assert core.phase() is Phase.LIVE
        assert core.sent(ever=True) == []

    def test_other_errors_do_not(self) -> None:
        core = Core({"voice": "none"}).give(happen.ConnectAsked(), happen.Dialled(1))
        core.give(happen.Greeted(1, {"type": "session.created", "session": BY_HAND}, None))
        core.hear("error", 1, error={"event_id": "another"})
        assert core.phase() is Phase.CONNECTING

    def test_refused_on_a_later_connection_they_are_done_without(self) -> None:
        core = Core({"voice": "none"}).connect().fall()
        link = core.incoming
        core.give(happen.Dialled(link), happen.Greeted(link, {"type": "session.created", "session": BY_HAND}, None))
        core.hear("error", link, error={"event_id": core.ordered(fx.Send)[-1].event["event_id"]})
        assert core.phase() is Phase.LIVE
        assert core.happening(ConversationRestored).restored.configured is False

    def test_options_that_are_not_confirmed_in_time_are_believed(self) -> None:
        core = Core({"voice": "x"}).connect().fall()
        link = core.incoming
        core.give(happen.Dialled(link), happen.Greeted(link, {"type": "session.created", "session": BY_HAND}, None))
        core.pass_time(4.9)
        assert core.phase() is Phase.CONNECTING
        core.pass_time(0.2)
        assert core.phase() is Phase.LIVE
        assert core.happening(ConversationRestored).restored.configured is False

    def test_a_connection_that_does_not_get_ready_is_given_up(self) -> None:
        core = Core().give(happen.ConnectAsked(), happen.Dialled(1)).pass_time(10)
        assert fx.HangUp(1) in core.out
        assert core.phase() is Phase.WAITING

    def test_the_first_connection_is_given_up_after_its_own_time(self) -> None:
        core = Core(open_timeout_seconds=5).give(happen.ConnectAsked(), happen.DialFailed(1, LATER)).pass_time(4.9)
        assert core.ordered(fx.Finish, core.all) == []
        core.pass_time(0.2)
        (finish,) = core.ordered(fx.Finish)
        assert finish.fault is not None
        assert (finish.fault.code, finish.fault.cause) == ("CONNECTION_TIMEOUT", "X_LATER")


class TestDialling:
    def test_pauses_double_up_to_eight_seconds_and_vary(self) -> None:
        core = Core().connect().fall()
        pauses = []
        for _ in range(10):
            core.give(happen.DialFailed(core.incoming, LATER))
            assert core.state.retry_at is not None
            pauses.append(core.state.retry_at - core.now)
            core.pass_time(pauses[-1])
        for number, pause in enumerate(pauses):
            longest = min(0.25 * 2**number, LONGEST_PAUSE)
            assert longest * 0.75 <= pause <= longest
        assert len({pause / min(0.25 * 2**n, LONGEST_PAUSE) for n, pause in enumerate(pauses)}) > 5

    def test_what_the_provider_asks_for_is_waited(self) -> None:
        core = Core().connect().fall().give(happen.DialFailed(2, busy(30)))
        assert core.state.retry_at == core.now + 30

    def test_it_is_dialled_at_once_after_a_fall(self) -> None:
        core = Core().connect().fall()
        assert core.ordered(fx.Dial)
        assert core.happening(Reconnecting).fault is LATER
        assert core.ordered(fx.Suspend) == [fx.Suspend("reconnect", answer=False)]
        assert core.ordered(fx.Report) == [fx.Report(ConnectionPhase.CONNECTING, ConnectionStatus.FAILED, LATER)]

    def test_but_not_when_it_was_of_no_use(self) -> None:
        core = Core().give(happen.ConnectAsked()).restore().fall()
        assert core.ordered(fx.Dial) == []
        assert core.phase() is Phase.WAITING

    @pytest.mark.parametrize("phase", ["connecting", "live", "preparing", "suspending"])
    def test_what_cannot_be_cured_ends_it(self, phase: str) -> None:
        core = Core().connect(life=600)
        if phase == "connecting":
            core.fall().give(happen.DialFailed(core.incoming, NEVER))
        else:
            if phase != "live":
                core.prepare()
            if phase == "suspending":
                core.restore()
            assert core.phase().value == phase
            core.fall(NEVER)
        (finish,) = core.ordered(fx.Finish)
        assert finish.fault is NEVER
        assert wake_at(core.state) is None

    def test_what_the_provider_forbids_is_not_dialled_for_a_last_time(self) -> None:
        core = Core(max_outage_seconds=20).connect().fall().give(happen.DialFailed(2, busy(60))).pass_time(20)
        assert core.ordered(fx.Finish)

    def test_the_last_dial_is_at_the_end_of_the_outage(self) -> None:
        core = Core(max_outage_seconds=20).connect().fall()
        core.pass_time(19).give(happen.DialFailed(core.incoming, LATER)).pass_time(1)
        assert core.ordered(fx.Finish) == []
        core.give(happen.DialFailed(core.incoming, LATER))
        (finish,) = core.ordered(fx.Finish)
        assert finish.fault is not None
        assert finish.fault.cause == "X_LATER"
        assert finish.fault.message == "no connection for 20 s: busy"

    def test_a_connection_that_nobody_waits_for_is_hung_up(self) -> None:
        core = Core().connect().give(happen.Dialled(77))
        assert core.out == [fx.HangUp(77)]


class TestInterruptedTurns:
    def asked(self, **config: Any) -> Core:
        core = Core(**config).connect().say_text("a")
        core.hear_item(typed("a")).say("response.create", response={"instructions": "briefly"})
        return core

    def test_an_answer_cut_in_the_middle_is_asked_for_again_as_it_was(self) -> None:
        core = self.asked().hear_answer("r", "yes indeed", to="begun")
        core.fall()
        interrupted = core.happening(TurnInterrupted)
        assert (interrupted.response_id, interrupted.action, interrupted.dropped) == ("r", "retry", ("item_r",))
        assert interrupted.text == "ye"
        assert core.ordered(fx.ForgetUtterance) == [fx.ForgetUtterance("item_r")]
        core.all.clear()
        core.restore()
        assert core.sent(2, ever=True) == ["conversation.item.create", "response.create"]
        again = core.ordered(fx.Send, core.all)[-1].event
        assert again["response"] == {"instructions": "briefly"}

    def test_or_only_reported(self) -> None:
        core = self.asked(on_interrupted_turn="report").hear_answer("r", "yes indeed", to="begun")
        core.fall()
        interrupted = core.happening(TurnInterrupted)
        assert (interrupted.action, interrupted.kept) == ("report", ("item_r",))
        core.all.clear()
        core.restore()
        assert core.sent(2, ever=True) == ["conversation.item.create"] * 2

    def test_all_of_whose_words_came_it_is_complete(self) -> None:
        core = self.asked().hear_answer("r", to="said").fall()
        interrupted = core.happening(TurnInterrupted)
        assert (interrupted.action, interrupted.kept) == ("complete", ("item_r",))
        core.all.clear()
        core.restore()
        assert "response.create" not in core.sent(2, ever=True)

    def test_one_that_was_over_is_no_affair_of_the_fall(self) -> None:
        core = self.asked().hear_answer("r").fall()
        assert "voicepilot.turn-interrupted" not in core.told()

    def test_one_that_the_client_cancelled_is_not_asked_for_again(self) -> None:
        core = self.asked().hear_answer("r", to="begun").say("response.cancel").fall()
        assert core.happening(TurnInterrupted).action == "report"

    def test_one_that_was_asked_for_and_had_not_begun_is_in_the_journal(self) -> None:
        core = self.asked().fall()
        assert "voicepilot.turn-interrupted" not in core.told()
        core.all.clear()
        core.restore()
        assert core.sent(2, ever=True) == ["conversation.item.create", "response.create"]

    def test_one_that_the_server_owed_is_asked_for(self) -> None:
        core = Core(session=LISTENING).connect().say_audio(2)
        core.hear("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None)
        core.fall()
        interrupted = core.happening(TurnInterrupted)
        assert (interrupted.response_id, interrupted.action) == (None, "retry")
        core.all.clear()
        core.restore()
        assert core.sent(2, ever=True) == ["conversation.item.create", "response.create"]
        assert core.ordered(fx.Send, core.all)[0].event["item"]["content"][0]["type"] == "input_audio"

    def test_but_not_for_ever(self) -> None:
        core = Core(session=LISTENING).connect().say_audio(2)
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None).listen(6).fall()
        assert "voicepilot.turn-interrupted" not in core.told()

    def test_nor_where_it_answers_only_when_asked(self) -> None:
        session = {
            "type": "realtime",
            "audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}},
        }
        core = Core(session=session).connect().say_audio(2)
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None).fall()
        assert "voicepilot.turn-interrupted" not in core.told()

    def test_a_turn_committed_by_hand_is_not_owed_an_answer(self) -> None:
        core = Core().connect().say_audio(2).say("input_audio_buffer.commit")
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None).fall()
        assert "voicepilot.turn-interrupted" not in core.told()

    def test_what_is_asked_again_is_asked_again_after_another_fall(self) -> None:
        core = self.asked().hear_answer("r", to="begun").fall().restore()
        core.listen(10).fall()
        assert core.told().count("voicepilot.turn-interrupted") == 0
        core.all.clear()
        core.restore()
        assert core.sent(3, ever=True) == ["conversation.item.create", "response.create"]

    def test_once_it_has_begun_it_is_asked_no_more(self) -> None:
        core = self.asked().hear_answer("r", to="begun").fall().restore()
        core.hear_answer("s")
        core.listen(10).fall()
        core.all.clear()
        core.restore()
        assert "response.create" not in core.sent(3, ever=True)

    def test_a_refusal_to_answer_again_is_believed(self) -> None:
        core = self.asked().hear_answer("r", to="begun").fall().restore()
        again = core.ordered(fx.Send, core.all)[-1].event
        core.hear("error", error={"event_id": again["event_id"], "message": "no"})
        core.listen(10).fall()
        core.all.clear()
        core.restore()
        assert "response.create" not in core.sent(3, ever=True)

    def test_a_cancel_while_there_is_no_connection_means_the_answer_that_was_lost(self) -> None:
        core = self.asked().hear_answer("r", to="begun").fall().say("response.cancel")
        core.all.clear()
        core.restore()
        assert "response.create" not in core.sent(2, ever=True)
        assert "response.cancel" not in core.sent(2, ever=True)

    def test_and_one_that_was_asked_for_meanwhile(self) -> None:
        core = Core().connect().fall().say_text("a").say("response.create").say("response.cancel")
        core.all.clear()
        core.restore()
        assert core.sent(2, ever=True) == ["conversation.item.create"]

    def test_and_one_that_was_asked_for_and_had_not_begun(self) -> None:
        core = self.asked().say("response.cancel")
        assert core.sent() == ["response.cancel"]
        core.fall()
        core.all.clear()
        core.restore()
        assert core.sent(2, ever=True) == ["conversation.item.create"]

    def test_or_had_just_begun(self) -> None:
        core = self.asked().say("response.cancel").hear_answer("r", to="begun").fall()
        assert core.happening(TurnInterrupted).action == "report"

    def test_one_that_is_over_is_not_remembered(self) -> None:
        core = self.asked().hear_answer("r", to="begun").say("response.cancel")
        assert (set(core.state.turn.asked), core.state.turn.cancelled) == ({"r"}, {"r"})
        core.hear("response.done", response={"id": "r", "output": []})
        assert (core.state.turn.asked, core.state.turn.cancelled) == ({}, set())

    def test_a_cancel_of_another_answer_is_no_affair_of_those_to_come(self) -> None:
        core = Core().connect().fall().say("response.create").say("response.cancel", response_id="old")
        core.all.clear()
        core.restore()
        assert core.sent(2, ever=True) == ["response.create"]


class TestSilence:
    def test_a_silent_peer_is_asked_and_then_given_up(self) -> None:
        core = Core().connect().pass_time(4.4)
        assert core.out == []
        core.pass_time(0.2)
        assert core.ordered(fx.Ping) == [fx.Ping(1)]
        core.pass_time(4.3)
        assert core.phase() is Phase.LIVE
        core.pass_time(0.2)
        assert core.happening(Reconnecting).fault.code == "PEER_SILENT"
        assert fx.HangUp(1) in core.all

    @pytest.mark.parametrize("sign", ["pong", "event"])
    def test_any_sign_of_life_counts(self, sign: str) -> None:
        core = Core().connect()
        for _ in range(100):
            core.pass_time(4.6)
            core.give(happen.Ponged(1)) if sign == "pong" else core.hear("response.output_text.delta", delta="x")
        assert core.phase() is Phase.LIVE
        assert len(core.ordered(fx.Ping, core.all)) == 100

    def test_a_standby_is_asked_too(self) -> None:
        core = Core(session=LISTENING).connect(life=600).prepare()
        core.hear_answer("r", to="begun").restore()
        core.pass_time(4.6)
        assert core.ordered(fx.Ping) == [fx.Ping(1), fx.Ping(2)]
        core.give(happen.Ponged(1)).pass_time(4.4)
        assert core.phase() is Phase.LIVE, "the standby is given up, and the conversation goes on"
        assert fx.HangUp(2) in core.out


class TestDraining:
    def moved(self) -> Core:
        """It moved while a transcript was under way."""
        core = Core(session=SPOKEN).connect(life=600).say_audio(2)
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None)
        core.hear_answer("r").prepare().restore(session=SPOKEN).give(happen.Suspended())
        assert core.active == 2
        return core

    def completed(self, core: Core, link: int = 1) -> Core:
        kind = "conversation.item.input_audio_transcription.completed"
        return core.hear(kind, link, item_id="u", content_index=0, transcript="hello")

    def test_the_old_connection_is_heard_until_the_transcript_has_come(self) -> None:
        core = self.moved()
        assert core.ordered(fx.HangUp) == []
        self.completed(core)
        assert core.told() == ["conversation.item.input_audio_transcription.completed"]
        core.pass_time(0)
        assert core.ordered(fx.HangUp) == [fx.HangUp(1)]
        core.listen(10).fall().restore(session=SPOKEN)
        replayed = [
            order.event["item"]["content"]
            for order in core.ordered(fx.Send, core.all)
            if order.link == 3 and "item" in order.event
        ]
        assert replayed[0] == [{"type": "input_text", "text": "hello"}]

    def test_but_not_for_ever(self) -> None:
        core = self.moved().pass_time(4.9)
        assert core.ordered(fx.HangUp) == []
        core.pass_time(0.2)
        assert core.ordered(fx.HangUp) == [fx.HangUp(1)]

    def test_the_rest_of_what_it_says_is_of_no_interest(self) -> None:
        core = self.moved().hear("response.output_text.delta", 1, delta="x", item_id="i")
        assert core.told() == []
        core.hear("response.done", 1, response={"id": "x", "usage": {"input_tokens": 3}})
        assert core.told() == []
        assert core.ordered(fx.Count) == [fx.Count(Usage(input_tokens=3))]

    def test_its_fall_is_no_fall(self) -> None:
        core = self.moved().give(happen.Fell(1, LATER))
        assert core.told() == []
        assert core.out == [fx.HangUp(1)]

    def test_a_failed_transcription_is_not_waited_for(self) -> None:
        core = self.moved().hear("conversation.item.input_audio_transcription.failed", 1, item_id="u", error={})
        core.pass_time(0)
        assert core.ordered(fx.HangUp) == [fx.HangUp(1)]

    def test_a_transcript_that_went_with_its_connection_is_not_waited_for(self) -> None:
        core = Core(session=SPOKEN).connect(life=600).say_audio(2)
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None)
        core.hear_answer("r").fall().restore(session=SPOKEN)
        core.prepare().restore(session=SPOKEN).give(happen.Suspended())
        assert core.active == 3
        assert core.ordered(fx.HangUp) == [fx.HangUp(2)]

    def test_without_patience_it_is_hung_up_at_once(self) -> None:
        core = Core(session=SPOKEN, drain_seconds=0).connect(life=600).say_audio(2)
        core.hear("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2_000)
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None)
        core.hear_answer("r").prepare().restore(session=SPOKEN).give(happen.Suspended())
        assert core.ordered(fx.HangUp) == [fx.HangUp(1)]


class TestCounting:
    def test_audio_is_counted_by_seconds_and_tokens_as_the_provider_says(self) -> None:
        core = Core().connect().say_audio(3).say("input_audio_buffer.commit")
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None)
        assert core.ordered(fx.Count) == [fx.Count(Usage(input_audio_seconds=3))]
        core.hear("response.output_audio.delta", delta=SECOND)
        core.hear("response.done", response={"id": "r", "usage": {"output_tokens": 7}})
        assert core.ordered(fx.Count) == [fx.Count(Usage(output_tokens=7, output_audio_seconds=1))]
        assert core.state.used == Usage(input_audio_seconds=3, output_tokens=7, output_audio_seconds=1)

    def test_a_long_turn_is_counted_on_the_way(self) -> None:
        core = Core().connect().say_audio(11)
        assert core.ordered(fx.Count) == [fx.Count(Usage(input_audio_seconds=5))] * 2


class TestTheEnd:
    @pytest.mark.parametrize("phase", ["new", "connecting", "waiting", "live", "preparing", "suspending", "settling"])
    def test_whatever_is_open_is_hung_up(self, phase: str) -> None:
        core = Core(session=LISTENING)
        if phase != "new":
            core.connect(life=600)
        match phase:
            case "connecting":
                core.fall()
            case "waiting":
                core.fall().give(happen.DialFailed(core.incoming, LATER))
            case "preparing":
                core.prepare()
            case "suspending":
                core.prepare().restore()
            case "settling":
                core.say_audio().prepare().restore().give(happen.Suspended())
        assert core.phase().value == phase
        links = [link.number for link in core.state.links()]
        core.give(happen.CloseAsked("enough"))
        assert [order.link for order in core.ordered(fx.HangUp)] == links
        assert core.ordered(fx.Finish) == [fx.Finish("enough")]
        assert fx.Report(ConnectionPhase.CLOSED, ConnectionStatus.UNKNOWN) in core.out
        assert core.phase() is Phase.OVER
        assert wake_at(core.state) is None
        assert len(core.state.journal) == len(core.state.mirror) == 0

    def test_nothing_happens_afterwards(self) -> None:
        core = Core().connect().give(happen.CloseAsked("enough"))
        given: list[happen.Input] = [
            happen.ConnectAsked(),
            happen.Said({"type": "response.create"}),
            happen.Fell(1, LATER),
            happen.CloseAsked("again"),
            happen.Suspended(),
            *(happen.DeadlinePassed(deadline) for deadline in Deadline),
        ]
        assert core.give(*given).out == []

    def test_an_expiry_is_told_as_a_fall_and_not_as_an_error(self) -> None:
        core = Core().connect().hear("error", error={"code": "session_expired", "message": "too old"})
        assert core.told() == []
        core.hear("error", error={"code": "server_error", "message": "oops"})
        assert core.told() == ["error"]


def test_options_say_their_type_except_to_azure_s_preview() -> None:
    """Its sessions are flat and have no type (realtime-wire.md A3)."""
    assert Core().state.is_typed()
    assert Core().connect().state.is_typed()
    assert not Core(session={"modalities": ["text"], "turn_detection": None}).connect().state.is_typed()


def test_audio_is_measured_as_the_connection_says_that_carries_it() -> None:
    core = Core(session={"input_audio_format": "g711_ulaw"}).connect()
    core.say("input_audio_buffer.append", audio="A" * 3_200)
    assert core.state.journal.audio == 0.3
