"""Sections 12, 8 and 15 of the original's defects, where they concern retention, redaction and transcripts."""

from __future__ import annotations

import asyncio

import pytest
from tests.privacy.cast import FakeHolder, World, a_world
from tests.privacy.test_story import a_stage

from voicepilot import SessionEnded, SessionManager
from voicepilot.emulator import RealtimeEmulator
from voicepilot.errors import ConfigurationError
from voicepilot.privacy import (
    DataClass,
    Found,
    PrivacyController,
    RedactionRule,
    Redactor,
    RetentionPolicy,
    TranscriptStore,
)

AUDIO, PARTIAL, FINAL, DIAGNOSTICS = DataClass

# --- section 12: privacy controller and redaction --------------------------------------------------------------------


@pytest.mark.defect(172)
async def test_one_sessions_data_is_purged_alone() -> None:
    async with a_world() as world:
        holder = FakeHolder()
        for session_id in ("a", "b"):
            for data_class in DataClass:
                world.hold(holder, session_id, data_class)
        assert (await world.purge("a")).cleared == 4
        assert {session_id for session_id, _ in holder.items} == {"b"}


@pytest.mark.defect(173)
@pytest.mark.parametrize(("target", "reason"), [("everything", "user-requested"), ("all", "no-such-reason")])
async def test_an_unknown_target_or_reason_is_an_error_and_not_a_success(target: str, reason: str) -> None:
    async with a_world() as world:
        world.hold(FakeHolder())
        with pytest.raises(ConfigurationError, match="must be one of"):
            await world.purge("a", target, reason)
        assert (world.receipts, len(world.controller.held())) == ([], 1)


@pytest.mark.defect(174)
async def test_an_ordinary_sweep_says_retention_expired() -> None:
    async with a_world() as world:
        world.hold(FakeHolder(), released=True)
        await asyncio.sleep(6)
        world.hold(FakeHolder(), released=True)
        world.controller.update_policy(RetentionPolicy(audio_seconds=1))
        await asyncio.sleep(2)
        world.hold(FakeHolder(), "a", FINAL, released=True)
        await asyncio.sleep(10)
        world.controller.update_policy(RetentionPolicy(final_transcript_seconds=1))
        await asyncio.sleep(1)
        assert [receipt.reason for receipt in world.receipts] == [
            "retention-expired",
            "retention-expired",
            "policy-update",
        ]


@pytest.mark.defect(175)
async def test_a_failing_purge_is_not_retried_every_second() -> None:
    async with a_world() as world:
        holder = FakeHolder(error=OSError())
        world.hold(holder, released=True)
        await asyncio.sleep(605)
        assert len(holder.asked) == 10  # after 5 s, and then after 1, 2, 4 … 256 s more


@pytest.mark.defect(176)
async def test_disposing_an_old_registration_leaves_the_newer_one_of_the_same_id() -> None:
    async with a_world() as world:
        old = world.controller.register("a", AUDIO, FakeHolder())
        world.controller.register("a", AUDIO, FakeHolder().add("a", AUDIO))
        old.dispose()
        assert (await world.purge()).cleared == 1


@pytest.mark.defect(177)
async def test_one_expired_transcript_takes_no_other_with_it() -> None:
    async with a_stage() as stage:
        a, b = await stage.start(), await stage.start()
        stage.controller.register(a, FINAL, FakeHolder("caption").add(a, FINAL)).release()
        for session_id in (a, b):
            stage.store.append_final(session_id, "user", "still talking")
        await asyncio.sleep(200)
        assert [(r.session_id, r.target, r.cleared) for r in stage.receipts] == [(a, "transcripts", 1)]
        assert len(stage.store.turns(a)) == len(stage.store.turns(b)) == 1


@pytest.mark.defect(178)
async def test_a_purge_asks_all_at_once_for_half_a_second_and_nobody_twice() -> None:
    async with a_world() as world:
        slow = [FakeHolder(f"slow-{number}", takes=0.3) for number in range(20)]
        hangs = FakeHolder("hangs", takes=1e6)
        for holder in (*slow, hangs):
            world.hold(holder, released=True)
        await asyncio.sleep(4.9)
        began = world.clock.now()
        receipt = await world.purge()  # the sweep comes due meanwhile
        assert world.clock.now() - began <= 0.5
        assert (receipt.cleared, receipt.failed) == (20, 1)
        assert {len(holder.asked) for holder in (*slow, hangs)} == {1}


@pytest.mark.defect(180)
def test_one_invalid_rule_does_not_disable_redaction() -> None:
    redactor = Redactor([RedactionRule("(unclosed", "broken"), RedactionRule("swordfish", "password")])
    assert redactor.redact("swordfish, ann@example.com").text == "[password], [email]"
    assert "(broken)" in redactor.refused[0]


@pytest.mark.defect(180)
def test_a_later_rules_offsets_are_those_of_the_original() -> None:
    redactor = Redactor([RedactionRule("aa", "a-very-long-label"), RedactionRule("3456789", "digits")])
    assert redactor.redact("aa 3456789").found == (Found("a-very-long-label", 0, 2), Found("digits", 3, 10))


@pytest.mark.defect(180)
@pytest.mark.defect(97)
def test_the_original_is_kept_neither_in_clear_nor_as_a_hash() -> None:
    redaction = Redactor().redact("4111 1111 1111 1111")
    assert redaction.text == "[card]"
    # The whole of what is returned: nothing but the text, and where how much was taken out under which label.
    assert [(found.label, found.start, found.end) for found in redaction.found] == [("card", 0, 19)]
    assert redaction.__struct_fields__ + Found.__struct_fields__ == ("text", "found", "label", "start", "end")


# --- section 8: conversations and transcripts ------------------------------------------------------------------------


def a_store(world: World) -> TranscriptStore:
    return TranscriptStore(world.controller, clock=world.clock)


@pytest.mark.defect(95)
async def test_a_hundred_deltas_keep_one_turn_and_one_registration() -> None:
    async with a_world() as world:
        store = a_store(world)
        for length in range(1, 101):
            store.put_partial("a", "user", "x" * length, "u1")
        (turn,) = store.turns("a")
        assert (len(turn.text), turn.sequence, len(world.controller.held())) == (100, 1, 1)


@pytest.mark.defect(96)
async def test_text_is_redacted_before_it_is_stored() -> None:
    async with a_world() as world:
        store = TranscriptStore(world.controller, redactor=Redactor([RedactionRule("sang at dawn", "song")]))
        store.append_final("a", "user", "my card is 4111 1111 1111 1111 and it sang at dawn")
        assert store.turns("a")[0].text == "my card is [card] and it [song]"


@pytest.mark.defect(98)
@pytest.mark.defect(99)
async def test_words_are_filed_under_who_spoke_and_outlive_the_starts_and_ends_of_others() -> None:
    async with a_stage() as stage:
        first, second = await stage.start(), await stage.start()
        stage.store.put_partial(first, "user", "the first spe", "u1")
        stage.store.append_final(second, "user", "the second speaks", "u1")
        third = await stage.start()
        await stage.manager.end_session(third)
        await stage.manager.end_session(second)
        assert [turn.text for turn in stage.store.turns(first)] == ["the first spe"]
        assert stage.store.turns(second) == ()


@pytest.mark.defect(100)
async def test_both_roles_are_stored() -> None:
    async with a_world() as world:
        store = a_store(world)
        store.append_final("a", "user", "a question")
        store.append_final("a", "assistant", "an answer")
        assert [turn.role for turn in store.turns("a")] == ["user", "assistant"]


# --- section 15: storage ---------------------------------------------------------------------------------------------


@pytest.mark.defect(200)
async def test_retention_counts_from_the_end_of_the_need_and_not_from_the_start_of_the_session() -> None:
    async with a_stage() as stage:
        session_id = await stage.start()
        stage.store.append_final(session_id, "user", "two minutes ago")
        await asyncio.sleep(150)
        stage.store.append_final(session_id, "user", "goodbye")
        assert len(stage.store.turns(session_id)) == 2
        await stage.manager.end_session(session_id)
        assert stage.ended[session_id].cleared == 2


@pytest.mark.defect(202)
async def test_starting_up_purges_nothing() -> None:
    world = World()
    receipts = world.receipts
    world.controller.on_purged(receipts.append)
    async with world.controller:
        holder = FakeHolder()
        world.hold(holder, "from-before", FINAL)
        await asyncio.sleep(1_000)
        await world.controller.initialize()
        assert (receipts, len(holder.items)) == ([], 1)


@pytest.mark.defect(43)
async def test_the_purge_takes_the_working_memory_and_the_hook_before_it_had_its_chance() -> None:
    async with a_stage() as stage:
        session_id = await stage.start()
        stage.store.append_final(session_id, "user", "goodbye")
        archive: list[int] = []

        class Hooks:
            def on_session_ending(self, session: object) -> None:
                archive.append(len(stage.store.turns(session_id)))

        stage.manager.register_conversation_hooks(Hooks())
        await stage.manager.end_session(session_id)
        assert (archive, stage.store.turns(session_id)) == ([1], ())


@pytest.mark.sockets
@pytest.mark.defect(44)
async def test_a_manager_as_it_is_shipped_purges_a_sessions_transcript_at_its_end() -> None:
    ended: list[SessionEnded] = []
    async with RealtimeEmulator() as emulator:
        manager = SessionManager.from_settings(base_url=emulator.base_url, api_key="sk-test")
        async with manager:
            manager.on_session_ended(ended.append)
            assert isinstance(manager.privacy_controller, PrivacyController)
            store = TranscriptStore(manager.privacy_controller)
            session_id = (await manager.start_session()).session_id
            store.append_final(session_id, "user", "my card is 4111 1111 1111 1111")
            assert [turn.text for turn in store.turns(session_id)] == ["my card is [card]"]
            await manager.end_session(session_id)
            assert store.append_final(session_id, "user", "too late") is None
    assert [(event.receipt.cleared, event.receipt.complete) for event in ended] == [(1, True)]
    assert len(store) == 0
