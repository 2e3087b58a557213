"""How a connection is made ready: what it is told, what counts as its answer, and what becomes of the options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conversation.core import BY_HAND, LATER, LISTENING, Core, typed

from voicepilot.conversation import effects as fx
from voicepilot.conversation import inputs as happen
from voicepilot.conversation.happenings import ConversationRestored, Lost
from voicepilot.conversation.restoring import merged
from voicepilot.conversation.state import Phase
from voicepilot.ports import ConnectionPhase, ConnectionStatus

Json = dict[str, Any]
PREVIEW: Json = {"model": "m", "modalities": ["text"], "turn_detection": None, "input_audio_format": "pcm16"}


def greeted(core: Core) -> Core:
    link = core.incoming
    greeting = {"type": "session.created", "session": core.session}
    return core.give(happen.Dialled(link), happen.Greeted(link, greeting, None))


def fallen(*item_ids: str, session: Json = BY_HAND) -> Core:
    """A conversation of these items whose connection fell, and whose next one is being told them."""
    core = Core(session=session).connect()
    before = None
    for item_id in item_ids:
        core.hear("conversation.item.added", item=typed(item_id), previous_item_id=before)
        core.hear("conversation.item.done", item=typed(item_id), previous_item_id=before)
        before = item_id
    return greeted(core.fall())


class TestWhileItIsMadeReady:
    def test_the_first_is_reported_as_nothing_yet_and_the_next_as_worse_than_usual(self) -> None:
        core = greeted(Core({"voice": "v"}).give(happen.ConnectAsked()))
        assert core.ordered(fx.Report) == [fx.Report(ConnectionPhase.RESTORING, ConnectionStatus.UNKNOWN)]
        assert fallen("a").ordered(fx.Report) == [fx.Report(ConnectionPhase.RESTORING, ConnectionStatus.DEGRADED)]

    def test_a_standby_is_not_reported(self) -> None:
        core = greeted(Core().connect(life=600).prepare())
        assert not [one for one in core.ordered(fx.Report) if one.phase is ConnectionPhase.RESTORING]

    @pytest.mark.parametrize("kind", ["conversation.item.done", "conversation.item.created"])
    def test_an_item_is_acknowledged_in_both_dialects(self, kind: str) -> None:
        core = fallen("a")
        assert core.phase() is Phase.CONNECTING
        core.hear(kind, core.incoming, item=typed("a"), previous_item_id=None)
        assert core.phase() is Phase.LIVE
        assert core.happening(ConversationRestored).restored.replayed == ("a",)

    def test_but_not_by_having_been_added(self) -> None:
        core = fallen("a")
        core.hear("conversation.item.added", core.incoming, item=typed("a"), previous_item_id=None)
        assert core.phase() is Phase.CONNECTING

    def test_what_is_refused_is_lost_with_the_provider_s_words(self) -> None:
        core = fallen("a", "b")
        first, second = core.ordered(fx.Send)
        core.hear("error", core.incoming, error={"event_id": first.event["event_id"], "message": "no pictures"})
        core.acknowledge(second)
        restored = core.happening(ConversationRestored).restored
        assert restored.lost == (Lost("a", "the provider refused it: no pictures"),)
        assert restored.replayed == ("b",)

    def test_what_is_refused_behind_an_item_that_is_there_was_not_refused_for_its_place(self) -> None:
        core = fallen("a", "b")
        first, second = core.ordered(fx.Send)
        core.hear("conversation.item.added", core.incoming, item=first.event["item"], previous_item_id=None)
        core.hear("error", core.incoming, error={"event_id": second.event["event_id"], "message": "no"})
        core.hear("conversation.item.done", core.incoming, item=first.event["item"], previous_item_id=None)
        assert core.happening(ConversationRestored).restored.lost == (Lost("b", "the provider refused it: no"),)

    def test_where_everything_was_refused_it_goes_on_without(self) -> None:
        core = fallen("a")
        (only,) = core.ordered(fx.Send)
        core.hear("error", core.incoming, error={"event_id": only.event["event_id"], "message": "no"})
        assert core.phase() is Phase.LIVE
        assert core.happening(ConversationRestored).restored.lost == (Lost("a", "the provider refused it: no"),)

    def test_what_it_is_told_has_an_id_and_its_place(self) -> None:
        told = [order.event for order in fallen("a", "b").ordered(fx.Send)]
        assert [(event["item"]["id"], event["previous_item_id"]) for event in told] == [("a", "root"), ("b", "a")]
        assert len({event["event_id"] for event in told}) == 2

    def test_in_the_preview_the_assistant_s_words_are_text(self) -> None:
        core = Core(session=PREVIEW).connect()
        core.hear_answer("r", "yes indeed")
        (told,) = greeted(core.fall()).ordered(fx.Send)
        assert told.event["item"]["content"] == [{"type": "text", "text": "yes indeed"}]


class TestASummary:
    def test_is_asked_for_once_of_the_same(self) -> None:
        core = Core(replay_token_budget=30).connect()
        for item_id in "dcba":  # each in front of the others
            core.hear_item(typed(item_id, "word " * 10))
        greeted(core.fall())
        (asked,) = core.ordered(fx.Summarise)
        assert [item["id"] for item in asked.items] == ["a", "b", "c"]
        core.give(happen.DialFailed(core.incoming, LATER)).pass_time(10)
        greeted(core)
        assert core.ordered(fx.Send), "it is told the rest"
        assert core.ordered(fx.Summarise) == [], "nothing more was dropped"

    def test_is_not_asked_for_where_everything_fits(self) -> None:
        assert fallen("a").ordered(fx.Summarise) == []

    def test_that_comes_late_is_told_to_the_standby_too(self) -> None:
        core = Core(session=LISTENING).connect(life=600)
        for item_id in ("a", "b"):
            core.hear_item(typed(item_id))
        core.prepare().hear_answer("r", to="begun").restore()
        core.give(happen.Summarised(("a",), "They met."))
        core.all.clear()
        core.hear_answer("r").give(happen.Suspended())
        told = [order.event for order in core.ordered(fx.Send, core.all) if order.link == core.incoming]
        assert [event["item_id"] for event in told if event["type"] == "conversation.item.delete"] == ["a"]
        summaries = [event["item"] for event in told if event.get("item", {}).get("role") == "system"]
        assert [item["content"] for item in summaries] == [[{"type": "input_text", "text": "They met."}]]


class TestMergedOptions:
    @pytest.mark.parametrize(
        ("session", "changes", "result"),
        [
            ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
            ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
            ({"a": {"x": {"p": 1}}}, {"a": {"x": {"q": 2}}}, {"a": {"x": {"p": 1, "q": 2}}}),
            ({"a": {"x": 1}}, {"a": None}, {"a": None}),
            ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}),
            ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ],
    )
    def test_objects_merge_and_the_rest_is_replaced(self, session: Json, changes: Json, result: Json) -> None:
        assert merged(session, changes) == result

    @given(st.recursive(st.none() | st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner)))
    def test_what_was_said_last_holds(self, options: Any) -> None:
        session = {"a": {"a": 1, "b": {"c": 2}}, "b": 3}
        before = repr(session)
        once = merged(session, {"a": options})
        assert merged(once, {"a": options}) == once
        assert repr(session) == before
