"""Retention: when windows begin and end, sweeps, back-off, and what a new policy does."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.privacy.cast import FakeHolder, a_world, tasks

from voicepilot.errors import ConfigurationError
from voicepilot.privacy import DataClass, RetentionPolicy
from voicepilot.privacy.ledger import Ledger
from voicepilot.privacy.retention import BOUNDS
from voicepilot.testing import run_virtual

AUDIO, PARTIAL, FINAL, DIAGNOSTICS = DataClass
WINDOWS = {AUDIO: 5, PARTIAL: 30, FINAL: 120, DIAGNOSTICS: 86_400}


# --- the policy ------------------------------------------------------------------------------------------------------
def test_the_default_windows_are_those_of_the_product() -> None:
    assert {kind: RetentionPolicy().window(kind) for kind in DataClass} == WINDOWS


@pytest.mark.parametrize("field", BOUNDS)
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), 1e9, True, "5", None])
def test_a_window_out_of_bounds_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{field}: must be"):
        RetentionPolicy(**{field: value})  # type: ignore[arg-type]


def test_every_bad_window_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"audio_seconds.*; diagnostics_seconds") as caught:
        RetentionPolicy(audio_seconds=-1, diagnostics_seconds=1e9)
    assert caught.value.field == "audio_seconds"


async def test_the_policy_in_force_says_since_when_and_whose_it_is() -> None:
    async with a_world() as world:
        began = world.clock.now()
        assert (world.controller.policy.source, world.controller.policy.updated_at) == ("default", began)
        await asyncio.sleep(1)
        world.controller.update_policy(RetentionPolicy(audio_seconds=1))
        assert (world.controller.policy.source, world.controller.policy.updated_at) == ("user", began + 1)
        assert world.controller.policy.policy.audio_seconds == 1
        with pytest.raises(ConfigurationError, match="RetentionPolicy"):
            world.controller.update_policy({"audio_seconds": 2})  # type: ignore[arg-type]
    async with a_world(RetentionPolicy()) as world:
        assert world.controller.policy.source == "user"


# --- windows ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("data_class", DataClass)
async def test_data_goes_when_its_window_is_over_and_not_before(data_class: DataClass) -> None:
    async with a_world() as world:
        holder = FakeHolder()
        world.hold(holder, "a", data_class, released=True)
        await asyncio.sleep(WINDOWS[data_class] - 0.01)
        assert holder.items
        await asyncio.sleep(0.02)
        assert not holder.items
        ((session_id, _, reason, cleared, failed),) = world.told()
        assert (session_id, reason, cleared, failed) == ("a", "retention-expired", 1, 0)


async def test_what_the_live_session_needs_stays_however_long_it_lives() -> None:
    async with a_world() as world:
        holder = FakeHolder()
        world.hold(holder, "a", FINAL)
        await asyncio.sleep(10_000)
        assert holder.items
        world.controller.session_over("a")
        await asyncio.sleep(119)
        assert holder.items
        await asyncio.sleep(2)
        assert not holder.items


async def test_only_the_session_that_is_over_loses_its_data() -> None:
    async with a_world() as world:
        holder = FakeHolder()
        world.hold(holder, "a", FINAL)
        world.hold(holder, "b", FINAL)
        world.controller.session_over("a")
        await asyncio.sleep(1_000)
        assert set(holder.items) == {("b", FINAL)}
        assert [told[:3] for told in world.told()] == [("a", "transcripts", "retention-expired")]


async def test_what_is_registered_for_a_session_that_is_over_expires_too() -> None:
    async with a_world() as world:
        world.controller.session_over("a")
        assert not world.controller.may_hold("a")
        holder = FakeHolder()
        world.hold(holder)
        await asyncio.sleep(5.1)
        assert not holder.items


async def test_a_sleeping_machine_purges_within_five_seconds_of_waking() -> None:
    async with a_world() as world:
        holder = FakeHolder()
        world.hold(holder, "a", DIAGNOSTICS, released=True)
        await asyncio.sleep(100)
        world.clock.suspend(90_000)
        await asyncio.sleep(5.001)
        assert not holder.items


async def test_a_window_begins_once_however_often_it_is_told() -> None:
    async with a_world() as world:
        holder = FakeHolder().add("a", AUDIO)
        registration = world.controller.register("a", AUDIO, holder)
        registration.release()
        await asyncio.sleep(4)
        registration.release()
        world.controller.session_over("a")
        await asyncio.sleep(1.1)
        assert not holder.items


async def test_a_window_of_zero_means_at_once() -> None:
    async with a_world(RetentionPolicy(audio_seconds=0)) as world:
        holder = FakeHolder()
        world.hold(holder, released=True)
        await asyncio.sleep(0.001)
        assert not holder.items


async def test_there_is_one_timer_and_no_task_while_data_waits() -> None:
    async with a_world() as world:
        for number in range(100):
            world.hold(FakeHolder(f"h{number}"), "a", FINAL, released=True)
        assert tasks() == []
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # there is no public way to see them
        assert len([timer for timer in timers if not timer.cancelled()]) == 1


async def test_more_than_one_slice_is_swept_in_one_go() -> None:
    async with a_world() as world:
        holder = FakeHolder()
        for number in range(1_000):
            world.hold(holder, f"s{number}", released=True)
        await asyncio.sleep(5.01)
        assert (len(holder.items), len(world.receipts), world.controller.held()) == (0, 1_000, ())


async def test_one_slice_at_a_time_is_swept_whoever_asks() -> None:
    async with a_world() as world:
        holder = FakeHolder(takes=0.1)
        for number in range(600):
            world.hold(holder, f"s{number}", released=True)
        await asyncio.sleep(5.05)
        await asyncio.gather(world.controller.sweep(), world.controller.sweep())
        assert (len(holder.asked), holder.most_at_once, len(holder.items)) == (600, 256, 0)


async def test_a_sweep_by_hand_returns_the_receipts_and_joins_the_one_under_way() -> None:
    async with a_world() as world:
        world.hold(FakeHolder(takes=0.2), released=True)
        await asyncio.sleep(5.1)
        assert tasks()
        (receipt,) = await world.controller.sweep()
        assert (receipt.reason, receipt.target, receipt.cleared) == ("retention-expired", "audio", 1)
        assert await world.controller.sweep() == ()


# --- back-off --------------------------------------------------------------------------------------------------------
async def test_a_failing_holder_is_asked_again_later_each_time() -> None:
    async with a_world() as world:
        holder = FakeHolder(error=OSError())
        world.hold(holder, released=True)
        await asyncio.sleep(1_500)
        times = [at for at, _, _ in holder.asked]
        gaps = [round(later - earlier, 1) for earlier, later in itertools.pairwise(times)]
        assert gaps == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
        assert {(told[2], told[4]) for told in world.told()} == {("retention-expired", 1)}
        holder.error = None
        await asyncio.sleep(300)
        assert world.controller.held() == ()


async def test_a_hanging_holder_backs_off_too_and_holds_up_no_other() -> None:
    async with a_world() as world:
        hangs, good = FakeHolder("hangs", takes=1e6), FakeHolder("good")
        world.hold(hangs, released=True)
        world.hold(good, released=True)
        await asyncio.sleep(5.5)
        assert (not good.items, len(hangs.asked)) == (True, 1)
        await asyncio.sleep(20)
        assert (len(hangs.asked), hangs.most_at_once) == (5, 1)


async def test_an_order_that_failed_is_tried_again_for_the_same_reason() -> None:
    async with a_world() as world:
        holder = FakeHolder(error=OSError())
        world.hold(holder, "a", FINAL)
        assert (await world.purge("a", "transcripts")).failed == 1
        holder.error = None
        await asyncio.sleep(1.1)
        assert world.told()[1:] == [("a", "transcripts", "user-requested", 1, 0)]


async def test_no_entry_is_swept_twice_at_once_nor_while_an_order_is_at_it() -> None:
    async with a_world() as world:
        holder = FakeHolder(takes=0.3)
        world.hold(holder, released=True)
        await asyncio.sleep(4.9)
        order = asyncio.ensure_future(world.purge())
        await asyncio.sleep(0.2)
        await world.controller.sweep()
        await order
        assert (holder.most_at_once, len(holder.asked), world.controller.held()) == (1, 1, ())


async def test_an_order_during_a_sweep_waits_its_turn() -> None:
    async with a_world() as world:
        holder = FakeHolder(takes=0.3)
        world.hold(holder, released=True)
        await asyncio.sleep(5.1)
        receipt = await world.purge()
        assert (holder.most_at_once, receipt.complete, receipt.cleared) == (1, True, 0)
        assert world.told()[0][3] == 1


# --- a change of policy ----------------------------------------------------------------------------------------------
async def test_a_shorter_window_sweeps_at_once_and_says_why() -> None:
    async with a_world() as world:
        holder = FakeHolder()
        world.hold(holder, "a", FINAL, released=True)
        world.hold(holder, "b", FINAL)
        await asyncio.sleep(60)
        world.hold(holder, "c", FINAL, released=True)
        world.controller.update_policy(RetentionPolicy(final_transcript_seconds=30))
        await asyncio.sleep(0.001)
        assert world.told() == [("a", "transcripts", "policy-update", 1, 0)]
        await asyncio.sleep(31)
        assert world.told()[1:] == [("c", "transcripts", "retention-expired", 1, 0)]
        assert set(holder.items) == {("b", FINAL)}


async def test_a_longer_window_holds_for_what_is_already_waiting() -> None:
    async with a_world() as world:
        holder = FakeHolder()
        world.hold(holder, released=True)
        world.controller.update_policy(RetentionPolicy(audio_seconds=60))
        await asyncio.sleep(59)
        assert holder.items
        await asyncio.sleep(2)
        assert not holder.items


async def test_a_policy_taken_back_before_the_sweep_leaves_no_wrong_reason() -> None:
    async with a_world() as world:
        world.hold(FakeHolder(), "a", FINAL, released=True)
        await asyncio.sleep(60)
        world.controller.update_policy(RetentionPolicy(final_transcript_seconds=1))
        world.controller.update_policy(RetentionPolicy())
        await asyncio.sleep(61)
        assert world.told() == [("a", "transcripts", "retention-expired", 1, 0)]


async def test_a_change_of_policy_does_not_hurry_a_holder_that_backs_off() -> None:
    async with a_world() as world:
        holder = FakeHolder(error=OSError())
        world.hold(holder, released=True)
        await asyncio.sleep(13)
        asked = len(holder.asked)
        world.controller.update_policy(RetentionPolicy(audio_seconds=1))
        await asyncio.sleep(0.1)
        assert len(holder.asked) == asked


# --- the ledger against a simple model -------------------------------------------------------------------------------
STEPS = st.lists(
    st.tuples(st.sampled_from(["register", "release", "over", "take", "policy"]), st.integers(0, 3), st.integers(0, 9)),
    max_size=60,
)


@given(STEPS)
def test_the_ledger_knows_what_is_due_as_a_plain_list_would(steps: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        ledger, now = Ledger(RetentionPolicy()), 0.0
        for action, who, seconds in steps:
            now += seconds
            session_id = f"s{who}"
            match action:
                case "register":
                    ledger.register(session_id, AUDIO, "h", FakeHolder(), now)
                case "release":
                    for entry in ledger.select(session_id, frozenset({AUDIO})):
                        ledger.release(entry, now)
                case "over":
                    ledger.session_over(session_id, now)
                case "policy":
                    ledger.change_policy(RetentionPolicy(audio_seconds=seconds), now)
                case "take":
                    expected = {
                        e.session_id for e in ledger if (due := e.due_at(ledger.policy)) is not None and due <= now
                    }
                    taken = ledger.take_due(now, 100)
                    assert {entry.session_id for entry in taken} == expected
                    ledger.begin(taken)
                    for entry in taken:
                        ledger.cleared(entry, entry.generation)
                    ledger.end(taken)
            dues = [due for entry in ledger if (due := entry.due_at(ledger.policy)) is not None]
            assert ledger.next_due() == min(dues, default=None)
            assert len(ledger) == len(list(ledger))

    run_virtual(play())


async def test_a_long_life_leaves_no_rubbish_in_the_ledger() -> None:
    async with a_world() as world:
        ledger = world.controller._ledger
        for number in range(3_000):
            with world.controller.register(f"s{number}", AUDIO, FakeHolder()) as registration:
                registration.release()
        assert (len(ledger), len(ledger._heap) < 100, ledger._sessions) == (0, True, {})
        for number in range(12_000):
            world.controller.session_over(f"s{number}")
        assert len(ledger._over) == 10_000
