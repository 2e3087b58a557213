"""TranscriptStore: what it keeps, in which place, how much, and that nothing is left after a purge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.privacy.cast import FakeHolder, World, a_world
from tests.privacy.walker import Canary, found

from voicepilot.errors import ConfigurationError
from voicepilot.privacy import DataClass, RedactionRule, Redactor, Registration, TranscriptStore

AUDIO, PARTIAL, FINAL, DIAGNOSTICS = DataClass


@asynccontextmanager
async def a_store(**options: Any) -> AsyncIterator[tuple[World, TranscriptStore]]:
    async with a_world() as world:
        yield world, TranscriptStore(world.controller, clock=world.clock, **options)


def said(store: TranscriptStore, session_id: str = "a") -> list[tuple[str, str, bool]]:
    return [(turn.role, turn.text, turn.is_final) for turn in store.turns(session_id)]


def classes(world: World, session_id: str = "a") -> set[DataClass]:
    return {held.data_class for held in world.controller.held(session_id)}


async def test_both_speakers_are_kept_in_order() -> None:
    async with a_store() as (world, store):
        store.append_final("a", "user", "Hello")
        store.append_final("a", "assistant", "Good day")
        assert said(store) == [("user", "Hello", True), ("assistant", "Good day", True)]
        assert [turn.sequence for turn in store.turns("a")] == [1, 2]
        assert {turn.at for turn in store.turns("a")} == {world.clock.now()}


async def test_sessions_do_not_mix() -> None:
    async with a_store() as (_, store):
        store.append_final("a", "user", "I am A", "u1")
        store.append_final("b", "user", "I am B", "u1")
        assert (said(store, "a"), said(store, "b")) == ([("user", "I am A", True)], [("user", "I am B", True)])
        assert (len(store), store.turns("nobody")) == (2, ())


async def test_a_repeat_with_the_same_id_replaces_in_its_place() -> None:
    async with a_store() as (_, store):
        store.append_final("a", "user", "one", "u1")
        store.append_final("a", "user", "two", "u2")
        store.append_final("a", "user", "ONE", "u1")
        assert [(turn.sequence, turn.text) for turn in store.turns("a")] == [(1, "ONE"), (2, "two")]


async def test_a_partial_grows_and_becomes_final_and_is_registered_as_what_it_is() -> None:
    async with a_store() as (world, store):
        store.put_partial("a", "user", "Hel", "u1")
        store.put_partial("a", "user", "Hello", "u1")
        assert (said(store), classes(world)) == ([("user", "Hello", False)], {PARTIAL})
        store.append_final("a", "user", "Hello!", "u1")
        assert (said(store), classes(world)) == ([("user", "Hello!", True)], {FINAL})
        late = store.put_partial("a", "user", "Hell", "u1")
        assert late is store.turns("a")[0]
        store.put_partial("a", "assistant", "Go", "u2")
        assert classes(world) == {PARTIAL, FINAL}
        store.drop("a", "u2")
        store.drop("a", "u1")
        store.drop("a", "u1")
        store.drop("nobody", "u1")
        assert (said(store), classes(world), len(store)) == ([], set(), 0)


async def test_text_is_redacted_before_it_is_kept() -> None:
    async with a_store(redactor=Redactor([RedactionRule("swordfish", "password")])) as (_, store):
        turn = store.append_final("a", "user", "swordfish, 4111 1111 1111 1111")
        assert turn is not None
        assert (turn.text, turn.redactions) == ("[password], [card]", 2)
        store.put_partial("a", "user", "ann@example.com is", "u2")
        assert store.turns("a")[1].text == "[email] is"


async def test_the_oldest_turns_go_when_there_are_too_many() -> None:
    async with a_store(max_turns=3) as (_, store):
        for number in range(5):
            store.append_final("a", "user", str(number))
        assert ([turn.text for turn in store.turns("a")], store.dropped("a")) == (["2", "3", "4"], 2)
        assert [turn.sequence for turn in store.turns("a")] == [3, 4, 5]
        assert store.dropped("nobody") == 0


async def test_the_oldest_turns_go_when_they_are_too_large_together() -> None:
    async with a_store(max_bytes=1_000) as (_, store):
        for letter in "abc":
            store.append_final("a", "user", f"{letter} " + "ü" * 200, letter)
        assert [turn.utterance_id for turn in store.turns("a")] == ["b", "c"]
        store.append_final("a", "user", "b " + "ü" * 450, "b")
        assert [turn.utterance_id for turn in store.turns("a")] == ["b"]
        assert store.dropped("a") == 2


async def test_a_turn_that_is_larger_than_all_the_room_is_withheld() -> None:
    async with a_store(max_bytes=1_000) as (_, store):
        store.append_final("a", "user", "small")
        store.append_final("a", "user", "x " * 600)
        assert [turn.text for turn in store.turns("a")] == ["small", "[too-long]"]


async def test_lone_surrogates_do_not_break_the_count() -> None:
    async with a_store() as (_, store):
        assert store.append_final("a", "user", "\ud83d") is not None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 400), st.booleans()), max_size=40))
def test_the_bounds_hold_and_the_counts_agree_whatever_comes(steps: list[tuple[int, bool, int, bool]]) -> None:
    class Register:
        def register(self, session_id: str, data_class: DataClass, holder: object) -> Registration:
            registered.add(data_class)
            return Registration(lambda: None, lambda: registered.discard(data_class))

        def may_hold(self, session_id: str) -> bool:
            return True

    registered: set[DataClass] = set()
    store = TranscriptStore(Register(), max_turns=4, max_bytes=1_000)
    for who, is_final, size, drop in steps:
        if drop:
            store.drop("a", f"u{who}")
        elif is_final:
            store.append_final("a", "user", "x" * size, f"u{who}")
        else:
            store.put_partial("a", "user", "x" * size, f"u{who}")
        turns = store.turns("a")
        assert len(turns) <= 4
        assert sum(len(turn.text) for turn in turns) <= 1_000
        assert registered == {FINAL if turn.is_final else PARTIAL for turn in turns}
        kept = store._sessions.get("a")
        assert (kept.bytes if kept else 0) == sum(len(turn.text) for turn in turns)


@pytest.mark.parametrize("bounds", [{"max_turns": 0}, {"max_turns": True}, {"max_bytes": 10}, {"max_bytes": "1000"}])
async def test_bounds_that_make_no_sense_are_refused(bounds: dict[str, Any]) -> None:
    async with a_world() as world:
        with pytest.raises(ConfigurationError, match=next(iter(bounds))):
            TranscriptStore(world.controller, **bounds)


async def test_a_speaker_that_nobody_knows_is_refused() -> None:
    async with a_store() as (_, store):
        with pytest.raises(ConfigurationError, match="role"):
            store.append_final("a", "system", "x")  # type: ignore[arg-type]


# --- purging ---------------------------------------------------------------------------------------------------------


async def test_a_purge_takes_one_session_and_counts_its_turns() -> None:
    async with a_store() as (world, store):
        for session_id in ("a", "b"):
            store.append_final(session_id, "user", "one")
            store.put_partial(session_id, "assistant", "tw", "u2")
        receipt = await world.purge("a", "transcripts")
        assert (receipt.cleared, receipt.complete) == (2, True)
        assert (len(said(store, "a")), len(said(store, "b"))) == (0, 2)
        assert (classes(world, "a"), classes(world, "b")) == (set(), {PARTIAL, FINAL})


async def test_the_conversation_goes_on_after_a_purge_of_its_live_session() -> None:
    async with a_store() as (world, store):
        store.append_final("a", "user", "before")
        await world.purge()
        store.append_final("a", "user", "after")
        assert (said(store), classes(world)) == ([("user", "after", True)], {FINAL})
        assert (await world.purge()).cleared == 1


async def test_nothing_is_kept_of_a_session_that_is_over_or_without_a_controller() -> None:
    async with a_store() as (world, store):
        world.controller.session_over("a")
        assert store.append_final("a", "user", "too late") is None
        assert store.put_partial("a", "user", "too", "u1") is None
        await world.controller.dispose()
        assert store.append_final("b", "user", "far too late") is None
        assert len(store) == 0


async def test_a_purge_without_the_controller_takes_the_registration_along() -> None:
    async with a_store() as (world, store):
        store.append_final("a", "user", "one")
        assert await store.purge("a", FINAL) == 1
        assert await store.purge("a", FINAL) == 0
        assert classes(world) == set()


# --- reachable from nowhere ------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_after_a_purge_the_canary_is_reachable_from_no_live_object() -> None:
    async with a_store() as (world, store):
        mine, other = Canary(1), Canary(2)
        store.put_partial("a", "user", mine.say()[:-3], "u1")
        store.append_final("a", "user", mine.say(), "u1")
        store.put_partial("a", "assistant", mine.say(), "u2")
        store.append_final("b", "user", other.say())
        assert found(mine, other) == [2, 1]  # the walker finds them while they are there
        receipt = await world.purge("a")
        assert receipt.complete
        assert found(mine, other) == [0, 1]
        await world.controller.dispose()
        assert found(mine, other) == [0, 0]


@pytest.mark.slow
async def test_a_replaced_or_dropped_utterance_is_reachable_from_nowhere() -> None:
    async with a_store(max_turns=2) as (_, store):
        replaced, dropped, crowded_out = (Canary(number) for number in (3, 4, 5))
        store.put_partial("a", "user", replaced.say(), "u1")
        store.append_final("a", "user", "something else", "u1")
        store.append_final("a", "user", dropped.say(), "u2")
        store.drop("a", "u2")
        store.append_final("a", "user", crowded_out.say(), "u3")
        for number in range(2):
            store.append_final("a", "user", str(number))
        assert found(replaced, dropped, crowded_out) == [0, 0, 0]


@pytest.mark.slow
async def test_what_redaction_took_out_is_reachable_from_nowhere() -> None:
    async with a_store(redactor=Redactor([RedactionRule(r"the canary number \d+ sang at dawn", "song")])) as (_, store):
        canary = Canary(6)
        store.append_final("a", "user", f"{canary.say()}.")
        assert said(store) == [("user", "[song].", True)]
        assert found(canary) == [0]


@pytest.mark.slow
async def test_a_failing_neighbour_keeps_nothing_of_ours() -> None:
    async with a_store() as (world, store):
        canary = Canary(7)
        store.append_final("a", "user", canary.say())
        bad = FakeHolder("bad", error=OSError())
        world.hold(bad)
        assert (await world.purge()).failed == 1
        assert found(canary) == [0]
        bad.error = None
