"""PrivacyController: orders, their receipts, and holders that misbehave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.privacy.cast import FakeHolder, StubbornHolder, World, a_world, tasks

from voicepilot.clock import SystemClock
from voicepilot.errors import ConfigurationError, NotInitializedError
from voicepilot.ports import Collaborator, PurgeOrder, Purger, PurgeReceipt
from voicepilot.privacy import EVERY_SESSION, DataClass, PrivacyController, PurgeReason, PurgeTarget

AUDIO, PARTIAL, FINAL, DIAGNOSTICS = DataClass


def elapsed() -> float:
    return round(asyncio.get_running_loop().time(), 3)


# --- what a purge takes ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "gone"),
    [
        ("all", set(DataClass)),
        ("audio", {AUDIO}),
        ("transcripts", {PARTIAL, FINAL}),
        ("diagnostics", {DIAGNOSTICS}),
        ("logs", {DIAGNOSTICS}),
        (PurgeTarget.AUDIO, {AUDIO}),
    ],
)
async def test_a_purge_takes_its_target_of_its_session_and_nothing_else(target: str, gone: set[DataClass]) -> None:
    async with a_world() as world:
        holder = FakeHolder()
        for session_id in ("a", "b"):
            for data_class in DataClass:
                world.hold(holder, session_id, data_class)
        receipt = await world.purge("a", target)
        assert receipt == PurgeReceipt(session_id="a", reason="user-requested", target=target, cleared=len(gone))
        assert receipt.complete
        left = {(held.session_id, held.data_class) for held in world.controller.held()}
        assert left == {("b", kind) for kind in DataClass} | {("a", kind) for kind in set(DataClass) - gone}
        assert left == set(holder.items)


async def test_a_receipt_counts_the_items_of_every_holder() -> None:
    async with a_world() as world:
        for name, count in (("one", 3), ("two", 4)):
            holder = FakeHolder(name).add("a", AUDIO, count)
            world.controller.register("a", AUDIO, holder)
        assert (await world.purge()).cleared == 7


async def test_every_session_is_purged_only_when_that_is_said() -> None:
    async with a_world() as world:
        for session_id in ("a", "b", "c"):
            world.hold(FakeHolder(), session_id)
        assert (await world.purge(EVERY_SESSION)).cleared == 3
        assert world.controller.held() == ()
        with pytest.raises(ConfigurationError, match="session_id"):
            await world.purge("")


async def test_a_purge_is_idempotent_and_an_unknown_session_is_nothing_to_purge() -> None:
    async with a_world() as world:
        world.hold(FakeHolder())
        assert [(await world.purge()).cleared for _ in range(3)] == [1, 0, 0]
        receipt = await world.purge("nobody")
        assert (receipt.cleared, receipt.complete) == (0, True)


async def test_concurrent_purges_of_one_thing_never_overlap_and_count_it_once() -> None:
    async with a_world() as world:
        holder = FakeHolder(takes=0.1)
        world.hold(holder)
        receipts = await asyncio.gather(*(world.purge() for _ in range(3)))
        assert [(r.cleared, r.failed) for r in receipts] == [(1, 0), (0, 0), (0, 0)]
        assert (holder.most_at_once, len(holder.asked), elapsed()) == (1, 1, 0.1)


@pytest.mark.parametrize(
    ("field", "order"),
    [
        ("target", PurgeOrder(session_id="a", reason="user-requested", target="transcript")),
        ("reason", PurgeOrder(session_id="a", reason="because", target="all")),
        ("session_id", PurgeOrder(session_id="", reason="user-requested")),
    ],
)
async def test_a_word_that_nobody_knows_is_an_error_and_nothing_is_purged(field: str, order: PurgeOrder) -> None:
    async with a_world() as world:
        holder = FakeHolder()
        world.hold(holder)
        with pytest.raises(ConfigurationError, match=field) as caught:
            await world.controller.purge(order)
        assert caught.value.field == field
        assert (holder.asked, world.receipts) == ([], [])


async def test_an_error_lists_the_words_that_are_known_and_not_the_one_given() -> None:
    async with a_world() as world:
        with pytest.raises(ConfigurationError, match="one of all, audio, transcripts, diagnostics, logs") as caught:
            await world.purge("a", "my secret")
        assert "my secret" not in str(caught.value)
        assert caught.value.__cause__ is None


LIFECYCLE_REASONS = (
    "user-requested inactivity-timeout start-failed start-cancelled renewal-failed force-termination recovery disposed"
)


@pytest.mark.parametrize("reason", [*LIFECYCLE_REASONS.split(), *PurgeReason])
async def test_every_reason_of_the_lifecycle_is_known(reason: str) -> None:
    async with a_world() as world:
        assert (await world.purge(reason=reason)).reason == reason


# --- holders that misbehave ------------------------------------------------------------------------------------------
async def test_holders_are_asked_at_the_same_time() -> None:
    async with a_world() as world:
        for name in "wxyz":
            world.hold(FakeHolder(name, takes=0.3))
        receipt = await world.purge()
        assert receipt.cleared == 4
        assert receipt.duration == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (FakeHolder("bad", error=OSError("disk /home/ann is full")), "OSError"),
        (FakeHolder("bad", error=asyncio.CancelledError()), "CancelledError"),
        (FakeHolder("bad", takes=1e6), "did not finish within 0.4 s"),
        (StubbornHolder("bad", takes=1.0), "did not finish within 0.4 s"),
    ],
)
async def test_one_bad_holder_stops_no_other_and_is_in_the_receipt(
    bad: FakeHolder, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_world() as world:
        good = FakeHolder("good", takes=0.2)
        world.hold(bad)
        world.hold(good)
        receipt = await world.purge()
        assert elapsed() <= 0.5
        assert (receipt.cleared, receipt.failed, receipt.notes) == (1, 1, (f"bad: audio: {problem}",))
        assert not receipt.complete
        assert "/home/ann" not in f"{receipt} {caplog.text}"
        assert f"bad: audio: {problem}" in caplog.text
        await asyncio.sleep(1)
        bad.takes, bad.error = 0, None


@pytest.mark.parametrize("answer", [None, True, -1, "3"])
async def test_a_holder_that_does_not_count_is_a_failure(answer: object) -> None:
    class Uncounted(FakeHolder):
        async def purge(self, session_id: str, data_class: DataClass) -> int:
            return answer  # type: ignore[return-value]  # the point of the test

    async with a_world() as world:
        world.hold(Uncounted())
        assert (await world.purge()).notes == ("fake: audio: TypeError",)


async def test_a_holder_that_raises_before_it_awaits_is_a_failure() -> None:
    class Plain(FakeHolder):
        def purge(self, session_id: str, data_class: DataClass) -> int:  # type: ignore[override]
            raise RuntimeError

    async with a_world() as world:
        world.hold(Plain())
        assert (await world.purge()).notes == ("fake: audio: RuntimeError",)


async def test_a_live_sessions_purge_is_answered_in_half_a_second_behind_a_hanging_one() -> None:
    async with a_world() as world:
        world.hold(FakeHolder("hangs", takes=1e6))
        first = asyncio.ensure_future(world.purge())
        await asyncio.sleep(0.2)
        began = elapsed()
        second = await world.purge()
        assert (second.failed, elapsed() - began <= 0.5) == (1, True)
        assert (await first).failed == 1


async def test_a_purge_that_its_caller_gives_up_goes_on() -> None:
    async with a_world() as world:
        holder = FakeHolder(takes=0.3)
        world.hold(holder)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await world.purge()
        await asyncio.sleep(0.3)
        assert not holder.items
        assert world.told() == [("a", "all", "user-requested", 1, 0)]


async def test_what_is_registered_while_it_is_purged_is_new_and_stays() -> None:
    async with a_world() as world:
        holder = FakeHolder(takes=0.2)
        world.hold(holder)
        purge = asyncio.ensure_future(world.purge())
        await asyncio.sleep(0.1)
        world.controller.register("a", AUDIO, holder)
        await purge
        (held,) = world.controller.held("a")
        assert held.due_at is None
        assert held.created_at == pytest.approx(world.clock.now() - 0.1)


async def test_notes_are_bounded_and_failures_are_all_counted() -> None:
    async with a_world() as world:
        for number in range(30):
            world.hold(FakeHolder(f"h{number}", error=OSError()))
        receipt = await world.purge()
        assert (receipt.failed, len(receipt.notes)) == (30, 20)


# --- registrations ---------------------------------------------------------------------------------------------------
async def test_an_old_handle_never_touches_a_newer_registration() -> None:
    async with a_world() as world:
        old = world.controller.register("a", AUDIO, FakeHolder())
        new_holder = FakeHolder().add("a", AUDIO)
        new = world.controller.register("a", AUDIO, new_holder)
        old.dispose()
        old.release()
        (held,) = world.controller.held()
        assert held.released_at is None
        assert (await world.purge()).cleared == 1
        new.dispose()
        new.dispose()


async def test_registering_again_keeps_the_first_times() -> None:
    async with a_world() as world:
        world.hold(FakeHolder(), released=True)
        began = world.clock.now()
        await asyncio.sleep(4)
        world.hold(FakeHolder())
        (held,) = world.controller.held()
        assert (held.created_at, held.released_at, held.due_at) == (began, began, began + 5)


async def test_a_disposed_registration_is_not_purged() -> None:
    async with a_world() as world:
        holder = FakeHolder()
        with world.controller.register("a", AUDIO, holder) as registration:
            registration.release()
        await asyncio.sleep(10)
        assert (holder.asked, (await world.purge()).cleared) == ([], 0)


async def test_one_holder_may_register_things_under_names_of_their_own() -> None:
    async with a_world() as world:
        for name in ("utterance-1", "utterance-2"):
            world.controller.register("a", AUDIO, FakeHolder().add("a", AUDIO), name=name)
        assert (await world.purge()).cleared == 2


@pytest.mark.parametrize(
    ("session_id", "data_class", "field"),
    [("a", "video", "data_class"), ("", "audio", "session_id"), (EVERY_SESSION, "audio", "session_id")],
)
async def test_a_registration_of_what_nobody_knows_is_refused(session_id: str, data_class: str, field: str) -> None:
    async with a_world() as world:
        with pytest.raises(ConfigurationError, match=field):
            world.controller.register(session_id, data_class, FakeHolder())


# --- listeners -------------------------------------------------------------------------------------------------------
async def test_listeners_get_every_receipt_and_one_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with a_world() as world:

        def broken(receipt: PurgeReceipt) -> None:
            raise RuntimeError("a listener's own bug")

        seen: list[PurgeReceipt] = []
        world.controller.on_purged(broken)
        with world.controller.on_purged(seen.append):
            world.hold(FakeHolder())
            receipt = await world.purge()
        await world.purge()
        assert (seen, world.receipts[0], len(world.receipts)) == ([receipt], receipt, 2)
        assert "a listener of purges raised" in caplog.text


async def test_an_async_listener_is_refused() -> None:
    async def listen(_: PurgeReceipt) -> None: ...

    class Listener:
        async def __call__(self, _: PurgeReceipt) -> None: ...

    async with a_world() as world:
        for listener in (listen, Listener()):
            with pytest.raises(ConfigurationError, match="plain function"):
                world.controller.on_purged(listener)


# --- life ------------------------------------------------------------------------------------------------------------
def test_the_controller_is_a_purger_and_a_collaborator() -> None:
    purger: Purger = PrivacyController()
    assert isinstance(purger, Collaborator)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.register("a", "audio", FakeHolder()),
        lambda c: c.purge(PurgeOrder(session_id="a", reason="user-requested")),
        lambda c: c.sweep(),
        lambda c: c.policy,
        lambda c: c.update_policy(None),
    ],
)
@pytest.mark.parametrize("disposed", [False, True])
async def test_nothing_works_before_initialize_or_after_dispose(
    call: Callable[[PrivacyController], object], disposed: bool
) -> None:
    controller = PrivacyController()
    if disposed:
        await controller.initialize()
        await controller.dispose()
    assert not controller.is_initialized
    assert not controller.may_hold("a")
    controller.session_over("a")

    async def called() -> None:
        answer = call(controller)
        if asyncio.iscoroutine(answer):
            await answer

    with pytest.raises(NotInitializedError, match="PrivacyController"):
        await called()


async def test_initialize_and_dispose_may_be_called_twice_and_again() -> None:
    world = World()
    for _ in range(2):
        await world.controller.initialize()
        await world.controller.initialize()
        world.hold(FakeHolder())
        await asyncio.gather(world.controller.dispose(), world.controller.dispose())
        assert not world.controller.is_initialized
        await world.controller.dispose()


async def test_dispose_purges_everything_and_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with a_world() as world:
        good, bad = FakeHolder("good"), StubbornHolder("bad", takes=5)
        for session_id in ("a", "b"):
            world.hold(good, session_id, FINAL)
        world.hold(bad, released=True)
        await world.controller.dispose()
        assert elapsed() <= 1.4
        assert not good.items
        assert world.told() == [("*", "all", "disposed", 2, 1)]
        assert "refuse to be cancelled" in caplog.text
        await asyncio.sleep(5)


def test_the_clock_of_a_controller_without_one_agrees_with_the_wall() -> None:
    clock = SystemClock()
    assert abs(clock.now() - clock.wall()) < 60


async def test_an_idle_controller_owns_no_task_and_no_timer() -> None:
    async with a_world() as world:
        assert (tasks(), world.controller._handle) == ([], None)
        world.hold(FakeHolder(takes=0.2))
        assert (tasks(), world.controller._handle) == ([], None)
        purge = asyncio.ensure_future(world.purge())
        await asyncio.sleep(0.1)
        assert tasks() == ["voicepilot-purge", "voicepilot-purges"]
        await purge
        await asyncio.sleep(0)
        assert (tasks(), world.controller._handle) == ([], None)


async def test_tasks_are_started_by_whoever_was_given_for_it() -> None:
    async with asyncio.TaskGroup() as group:
        names: list[str] = []

        def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
            names.append(name)
            return group.create_task(work, name=name)

        async with a_world(spawn=spawn) as world:
            world.hold(FakeHolder())
            await world.purge()
        assert names == ["voicepilot-purges"]


async def test_a_purge_whose_task_never_ran_is_settled_as_a_failure() -> None:
    def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.cancel()
        return task

    async with a_world(spawn=spawn, logger=logging.getLogger("voicepilot.test")) as world:
        world.hold(FakeHolder())
        assert (await world.purge()).failed == 1
