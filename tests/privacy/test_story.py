"""The controller and the transcripts with the real SessionManager, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.privacy.cast import FakeHolder, StubbornHolder, tasks
from tests.privacy.walker import Canary, found

from voicepilot import PurgeOrder, PurgeReceipt, SessionInfo, SessionManager
from voicepilot.events import SessionEnded
from voicepilot.privacy import DataClass, PrivacyController, RetentionPolicy, TranscriptStore
from voicepilot.testing import FakeKeyService, VirtualClock

FINAL, DIAGNOSTICS = DataClass.FINAL_TRANSCRIPT, DataClass.DIAGNOSTICS


class Stage:
    """A manager, its controller, and what both told."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.controller = PrivacyController(clock=self.clock)
        self.store = TranscriptStore(self.controller, clock=self.clock)
        self.manager = SessionManager(FakeKeyService(), privacy_controller=self.controller, clock=self.clock)
        self.ended: dict[str, PurgeReceipt] = {}
        self.receipts: list[PurgeReceipt] = []

    def note(self, event: SessionEnded) -> None:
        self.ended[event.session_id] = event.receipt

    async def start(self) -> str:
        return (await self.manager.start_session()).session_id


@asynccontextmanager
async def a_stage() -> AsyncIterator[Stage]:
    stage = Stage()
    async with stage.controller, stage.manager:
        stage.manager.on_session_state_changed(stage.controller.on_state_changed)
        stage.manager.on_session_ended(stage.note)
        stage.controller.on_purged(stage.receipts.append)
        yield stage
    assert tasks() == []


@pytest.mark.slow
async def test_ending_a_purges_a_with_a_receipt_and_leaves_b() -> None:
    async with a_stage() as stage:
        a, b = await stage.start(), await stage.start()
        canary = Canary(8)
        stage.store.append_final(a, "user", canary.say())
        stage.store.put_partial(a, "assistant", "I h", "u2")
        stage.store.append_final(b, "user", "B talks too")
        await stage.manager.end_session(a)
        assert stage.ended == {a: PurgeReceipt(session_id=a, reason="user-requested", target="all", cleared=2)}
        assert found(canary) == [0]
        assert [turn.text for turn in stage.store.turns(b)] == ["B talks too"]
        await asyncio.sleep(240)
        assert len(stage.store.turns(b)) == 1
        assert stage.store.append_final(a, "user", "an echo") is None


async def test_the_ending_hook_still_has_the_transcript() -> None:
    async with a_stage() as stage:
        heard: list[str] = []

        def on_session_ending(session: SessionInfo) -> None:
            heard.extend(turn.text for turn in stage.store.turns(session.session_id))

        class Hooks:
            pass

        hooks = Hooks()
        hooks.on_session_ending = on_session_ending  # type: ignore[attr-defined]  # any object with the name will do
        stage.manager.register_conversation_hooks(hooks)
        session_id = await stage.start()
        stage.store.append_final(session_id, "user", "goodbye")
        await stage.manager.end_session(session_id)
        assert (heard, stage.store.turns(session_id)) == (["goodbye"], ())


async def test_a_long_conversation_keeps_its_transcript_until_it_ends() -> None:
    async with a_stage() as stage:
        session_id = await stage.start()
        stage.store.append_final(session_id, "user", "the first words")
        for _ in range(60):
            await asyncio.sleep(60)
            stage.manager.reset_inactivity_timer(session_id)
        assert [turn.text for turn in stage.store.turns(session_id)] == ["the first words"]


async def test_a_users_purge_of_a_live_session_is_quick_and_the_session_goes_on() -> None:
    async with a_stage() as stage:
        a, b = await stage.start(), await stage.start()
        for session_id in (a, b):
            stage.store.append_final(session_id, "user", "x")
        slow = FakeHolder("slow", takes=1e6).add(a, DIAGNOSTICS)
        stage.controller.register(a, DIAGNOSTICS, slow)
        began = stage.clock.now()
        receipt = await stage.controller.purge(PurgeOrder(session_id=a, reason="user-requested"))
        assert stage.clock.now() - began <= 0.5
        assert (receipt.cleared, receipt.failed) == (1, 1)
        assert (len(stage.store.turns(a)), len(stage.store.turns(b))) == (0, 1)
        assert stage.manager.is_session_active(a)
        slow.takes = 0


async def test_an_inactive_session_is_purged_for_that_reason() -> None:
    async with a_stage() as stage:
        session_id = await stage.start()
        stage.store.append_final(session_id, "user", "hello?")
        await asyncio.sleep(301)
        receipt = stage.ended[session_id]
        assert (receipt.reason, receipt.cleared, receipt.complete) == ("inactivity-timeout", 1, True)


async def test_a_session_that_ends_for_a_reason_of_the_applications_own_is_purged_all_the_same() -> None:
    async with a_stage() as stage:
        session_id = await stage.start()
        stage.store.append_final(session_id, "user", "x")
        await stage.manager.end_session(session_id, reason="caller-hung-up")
        await asyncio.sleep(121)  # at the latest; see the reasons in docs/privacy.md
        assert stage.store.turns(session_id) == ()


async def test_a_hanging_holder_does_not_hold_up_the_end_nor_the_others() -> None:
    async with a_stage() as stage:
        a, b = await stage.start(), await stage.start()
        hangs = StubbornHolder("hangs", takes=3)
        for session_id in (a, b):
            stage.store.append_final(session_id, "user", "x")
            stage.controller.register(session_id, DIAGNOSTICS, hangs.add(session_id, DIAGNOSTICS))
        began = stage.clock.now()
        await stage.manager.end_session(a)
        assert stage.clock.now() - began <= 0.5
        receipt = stage.ended[a]
        assert (receipt.cleared, receipt.failed) == (1, 1)
        assert receipt.notes == ("hangs: diagnostics: did not finish within 0.4 s",)
        assert (len(stage.store.turns(b)), hangs.items[b, DIAGNOSTICS]) == (1, 1)
        await asyncio.sleep(4)  # it was late, not lost
        assert stage.controller.held(a) == ()
        hangs.takes = 0


async def test_what_a_failed_purge_left_is_purged_later_without_the_session() -> None:
    async with a_stage() as stage:
        session_id = await stage.start()
        holder = FakeHolder(error=OSError()).add(session_id, DIAGNOSTICS)
        stage.controller.register(session_id, DIAGNOSTICS, holder)
        await stage.manager.end_session(session_id)
        assert not stage.ended[session_id].complete
        holder.error = None
        await asyncio.sleep(1.1)
        assert not holder.items
        assert [receipt.complete for receipt in stage.receipts] == [False, True]


async def test_a_change_of_policy_leaves_what_live_sessions_need() -> None:
    async with a_stage() as stage:
        a, b = await stage.start(), await stage.start()
        holder = FakeHolder().add(a, FINAL).add(b, FINAL)
        await stage.manager.end_session(a)
        for session_id in (a, b):
            stage.controller.register(session_id, FINAL, holder)  # for A this comes late
        await asyncio.sleep(1)
        stage.controller.update_policy(RetentionPolicy(final_transcript_seconds=0.5))
        await asyncio.sleep(0.001)
        assert set(holder.items) == {(b, FINAL)}
        assert [receipt.reason for receipt in stage.receipts] == ["user-requested", "policy-update"]


async def test_a_session_that_never_started_is_over_too() -> None:
    async with a_stage() as stage:
        starting = asyncio.ensure_future(stage.manager.start_session())
        await asyncio.sleep(0)
        (session,) = stage.manager.get_all_sessions()
        starting.cancel()
        await asyncio.sleep(1)
        assert not stage.controller.may_hold(session.session_id)


async def test_disposing_the_manager_purges_every_session_with_its_reason() -> None:
    async with a_stage() as stage:
        ids = {await stage.start(), await stage.start()}
        for session_id in ids:
            stage.store.append_final(session_id, "user", "x")
        await stage.manager.dispose()
        assert {(id_, r.reason, r.cleared, r.complete) for id_, r in stage.ended.items()} == {
            (id_, "disposed", 1, True) for id_ in ids
        }
        assert len(stage.store) == 0
