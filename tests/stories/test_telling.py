"""What observers and hooks are told, and what they may do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from tests.stories.cast import Application, moves, phase, seconds_since
from tests.support import World, a_world

from voicepilot import (
    ConnectionStatus,
    ConversationLifecycleHooks,
    ErrorType,
    Event,
    Fault,
    Phase,
    RenewalCompleted,
    SessionEnded,
    SessionErrorEvent,
    SessionInfo,
    SessionLimitError,
    SessionStarted,
    StateChanged,
)
from voicepilot.runtime.observers import QUEUE_LIMIT


async def started(world: World) -> str:
    return (await world.manager.start_session()).session_id


@pytest.mark.seed("OVR-001", "EVT-state-changed", "API-onSessionStateChanged", "Telling-1")
async def test_every_change_of_phase_is_told_once_in_order_with_a_reason() -> None:
    async with a_world(key_life_seconds=60) as world:
        told: list[StateChanged] = []
        world.manager.on_session_state_changed(told.append)
        session_id = await started(world)
        await world.manager.pause_session(session_id)
        await world.manager.resume_session(session_id)
        await asyncio.sleep(51)
        await world.manager.end_session(session_id, reason="said goodbye")
        assert [(event.previous_state, event.new_state, event.reason) for event in told] == [
            ("idle", "starting", "slot reserved"),
            ("starting", "active", "first key fetched"),
            ("active", "paused", "paused"),
            ("paused", "active", "resumed"),
            ("active", "renewing", "the key's time is nearly up"),
            ("renewing", "active", "renewed"),
            ("active", "ending", "said goodbye"),
            ("ending", "ended", "said goodbye"),
        ]


@pytest.mark.seed("EVT-state-changed", "Telling-1")
async def test_a_refused_start_is_told_as_a_change_of_phase() -> None:
    async with a_world(limit=0) as world:
        with pytest.raises(SessionLimitError):
            await started(world)
        assert moves(world.recorder.events) == [("idle", "failed")]


@pytest.mark.seed("EVT-state-changed", "EVT-renewal-started", "API-onSessionRenewed", "Telling-2")
async def test_diagnostics_of_an_event_are_of_its_moment_however_late_they_are_read() -> None:
    async with a_world(key_life_seconds=60) as world:
        session_id = await started(world)
        await asyncio.sleep(51)
        (begun,) = world.recorder.of("renewal-started")
        await world.manager.end_session(session_id)
        then = begun.diagnostics
        assert (then.state, then.uptime, then.key_seconds_left) == (Phase.RENEWING, 50, 10)
        assert then.timers.inactivity.remaining == 250


@pytest.mark.seed("API-onSessionRenewed", "EVT-renewal-completed", "Telling-2")
async def test_a_renewal_event_carries_the_result_and_the_session_after_it() -> None:
    async with a_world() as world:
        told: list[Event] = []
        world.manager.on_session_renewed(told.append)
        session_id = await started(world)
        await asyncio.sleep(100)
        result = await world.manager.renew_session(session_id)
        completed = told[-1]
        assert isinstance(completed, RenewalCompleted)
        assert completed.result == result
        assert completed.diagnostics.key_seconds_left == 600
        assert completed.session_info == world.manager.get_session_info(session_id)


@pytest.mark.seed("API-onSessionStarted/Ended", "EVT-session-started", "EVT-session-ended")
async def test_the_fields_of_session_events() -> None:
    async with a_world() as world:
        begin: list[SessionStarted] = []
        end: list[SessionEnded] = []
        world.manager.on_session_started(begin.append)
        world.manager.on_session_ended(end.append)
        session = await world.manager.start_session(model="m", labels={"room": "7"})
        await asyncio.sleep(5)
        await world.manager.end_session()
        assert begin[0].type == "session-started"
        assert begin[0].session_info == session
        assert begin[0].timestamp == datetime.fromtimestamp(session.created_at, UTC)
        assert end[0].type == "session-ended"
        assert (end[0].session_id, end[0].reason) == (session.session_id, "user-requested")
        assert end[0].at - begin[0].at == 5
        assert (end[0].session_info.state, end[0].session_info.labels) == (Phase.ENDED, {"room": "7"})
        assert end[0].statistics.total_duration_ms == 5_000


@pytest.mark.seed("ARC-001", "USE-002", "QUA-004", "API-onSessionStarted/Ended", "Telling-8")
async def test_a_disposed_subscription_hears_nothing_more() -> None:
    async with a_world() as world:
        told: list[str] = []
        handle = world.manager.on_session_started(lambda event: told.append("handle"))
        with world.manager.on_session_started(lambda event: told.append("with")):
            await started(world)
        handle.dispose()
        handle.dispose()
        await started(world)
        assert told == ["handle", "with"]


@pytest.mark.seed("Telling-8")
async def test_a_handler_that_subscribes_another_is_not_followed_by_it_in_the_same_event() -> None:
    async with a_world() as world:
        told: list[str] = []

        def again(event: SessionStarted) -> None:
            told.append(event.session_id)
            world.manager.on_session_started(again)

        world.manager.on_session_started(again)
        first = await started(world)
        assert told == [first]


@pytest.mark.seed("Telling-3", "Telling-4")
async def test_async_handlers_have_a_queue_for_each_session_and_nobody_waits_for_them() -> None:
    async with a_world() as world:
        done: list[tuple[str, str]] = []

        async def slow(event: StateChanged) -> None:
            await asyncio.sleep(2)
            done.append((event.session_id, event.new_state))

        world.manager.on_session_state_changed(slow)
        began = world.clock.now()
        first, second = await started(world), await started(world)
        assert seconds_since(world, began) == 0
        await asyncio.sleep(4.1)
        assert done == [(first, "starting"), (second, "starting"), (first, "active"), (second, "active")]
        await world.manager.end_session(first)
        assert seconds_since(world, began) == 4.1


@pytest.mark.seed("Telling-3", "Telling-5")
async def test_a_handler_that_hangs_is_cancelled_after_five_seconds_and_said_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_world() as world:
        done: list[float] = []

        async def hangs_once(event: StateChanged) -> None:
            if not done and event.new_state is Phase.STARTING:
                await asyncio.sleep(1e6)
            done.append(seconds_since(world, began))

        world.manager.on_session_state_changed(hangs_once)
        began = world.clock.now()
        await started(world)
        await asyncio.sleep(6)
        assert done == [5]
        assert "a handler of state-changed took over 5 s and was cancelled" in caplog.text


@pytest.mark.seed("Telling-3", "Telling-5")
async def test_a_queue_is_bounded_and_says_what_it_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async with a_world(limit=1) as world:
        heard: list[float] = []

        async def slow(event: SessionErrorEvent) -> None:
            await asyncio.sleep(0.001)
            heard.append(event.at)

        world.manager.on_session_error(slow)
        session_id = await started(world)
        for _ in range(QUEUE_LIMIT + 50):
            world.manager.report_connection(session_id, ConnectionStatus.FAILED)
        await asyncio.sleep(2)
        assert len(heard) == QUEUE_LIMIT
        assert caplog.text.count("a handler is too slow: dropped connection-error") == 50


@pytest.mark.seed("QUA-003", "Telling-5")
async def test_a_handler_that_raises_is_reported_and_the_others_hear_all(caplog: pytest.LogCaptureFixture) -> None:
    async with a_world() as world:

        def raises(event: Event) -> None:
            raise ValueError("mine")

        async def raises_later(event: Event) -> None:
            raise ValueError("mine too")

        told: list[str] = []
        world.manager.on_session_started(raises)
        world.manager.on_session_started(raises_later)
        world.manager.on_session_started(lambda event: told.append(event.session_id))
        session_id = await started(world)
        await asyncio.sleep(0.1)
        assert told == [session_id]
        assert caplog.text.count(f"a handler of session-started raised; session {session_id} goes on") == 2


@pytest.mark.seed("Telling-6")
async def test_what_a_handler_asks_for_happens_after_everybody_heard() -> None:
    async with a_world() as world:
        heard: list[str] = []

        def reports(event: SessionStarted) -> None:
            world.manager.report_connection(event.session_id, ConnectionStatus.FAILED)
            heard.append(f"first {event.type}")

        world.manager.on_session_started(reports)
        world.manager.on_session_started(lambda event: heard.append(f"second {event.type}"))
        world.manager.on_session_error(lambda event: heard.append(event.type))
        await started(world)
        assert heard == ["first session-started", "second session-started", "connection-error"]


@pytest.mark.seed("Telling-7", "API-endSession")
@pytest.mark.parametrize("hook", ["ready", "suspending", "resumed", "ending"])
@pytest.mark.parametrize("call", ["end_session", "dispose"])
async def test_a_hook_may_end_its_session_or_dispose_the_manager_and_is_not_held_up(hook: str, call: str) -> None:
    async with a_world() as world:
        returned: list[str] = []

        class Quitting(Application):
            async def _note(self, name: str, session: SessionInfo, reason: str = "") -> None:
                if name == hook and not returned:
                    await getattr(world.manager, call)()
                    returned.append(name)

        world.manager.register_conversation_hooks(Quitting())
        began = world.clock.now()
        await asyncio.gather(_whole_life(world), return_exceptions=True)
        await asyncio.sleep(0.1)
        assert returned == [hook]
        assert seconds_since(world, began) == 0.1
        assert len(world.recorder.of("session-ended")) == 1
        assert world.manager.is_initialized == (call == "end_session")


async def _whole_life(world: World) -> None:
    session_id = await started(world)
    await world.manager.renew_session(session_id)
    await world.manager.end_session(session_id)


@pytest.mark.seed("Telling-7", "API-renewSession")
async def test_a_renewal_asked_for_inside_a_hook_is_requested_and_said_so() -> None:
    async with a_world() as world:
        answers: list[str] = []

        class Eager(Application):
            async def on_session_ready(self, session: SessionInfo) -> None:
                result = await world.manager.renew_session(session.session_id)
                answers.append(result.error.code if result.error else "")

        world.manager.register_conversation_hooks(Eager())
        await started(world)
        await asyncio.sleep(0.1)
        assert answers == ["RENEWAL_REQUESTED"]
        assert len(world.recorder.of("renewal-completed")) == 1


@pytest.mark.seed("Telling-9")
def test_event_types_are_the_seeds_strings() -> None:
    assert {kind.value for kind in ErrorType} == {
        *("authentication-error", "connection-error", "timeout-error", "renewal-error")
    }
    assert (SessionStarted.type, SessionEnded.type, StateChanged.type) == (
        *("session-started", "session-ended", "state-changed"),
    )


REFUSED = Fault(code="INVALID_KEY", message="the key is refused", remediation="Check the account.", retryable=True)


@pytest.mark.seed("EVT-connection-error", "API-onSessionError", "Telling-9")
async def test_a_failed_connection_reaches_the_session_it_concerns_with_advice() -> None:
    async with a_world() as world:
        session_id, other = await started(world), await started(world)
        world.manager.report_connection(session_id, ConnectionStatus.FAILED)
        (told,) = world.recorder.of("connection-error")
        assert isinstance(told, SessionErrorEvent)
        assert (told.session_id, told.error.code) == (session_id, "CONNECTION_FAILED")
        assert "Reconnect with the current key" in told.error.remediation
        assert told.diagnostics.connection_status is ConnectionStatus.FAILED
        spared = world.manager.get_session_info(other)
        assert spared is not None
        assert (spared.connection_status, spared.last_error) == (ConnectionStatus.UNKNOWN, None)
        assert phase(world, session_id) is Phase.ACTIVE


@pytest.mark.seed("EVT-authentication-error", "API-onSessionError", "Telling-9")
async def test_a_key_that_a_transport_saw_refused_is_told_and_replaced() -> None:
    async with a_world() as world:
        session_id, other = await started(world), await started(world)
        world.manager.report_key_rejected(session_id, REFUSED)
        assert world.manager.get_session_diagnostics(session_id).credential_status == "invalid"
        await asyncio.sleep(0.1)
        assert world.recorder.types(session_id)[3:] == [
            *("state-changed", "authentication-error", "renewal-started", "state-changed", "renewal-completed"),
        ]
        assert world.manager.get_session_diagnostics(session_id).credential_status == "valid"
        assert world.manager.credential(other).reveal() == "ek_fake_2"


@pytest.mark.seed("API-registerConversationHooks", "HOOK-onSessionReady", "QUA-005")
async def test_one_set_of_hooks_is_active_and_disposing_an_older_one_leaves_the_newer() -> None:
    async with a_world() as world:
        first, second = Application(), Application()
        old = world.manager.register_conversation_hooks(first)
        new = world.manager.register_conversation_hooks(second)
        old.dispose()
        await started(world)
        new.dispose()
        await started(world)
        assert (first.calls, second.calls) == ([], ["ready"])


@pytest.mark.seed("API-registerConversationHooks")
async def test_disposing_the_older_handle_of_the_same_hooks_leaves_the_newer() -> None:
    async with a_world() as world:
        application = Application()
        old = world.manager.register_conversation_hooks(application)
        world.manager.register_conversation_hooks(application)
        old.dispose()
        await started(world)
        assert application.calls == ["ready"]


@pytest.mark.seed("API-registerConversationHooks", "USE-002")
async def test_hooks_may_be_functions_and_may_be_few() -> None:
    async with a_world() as world:
        seen: list[SessionInfo] = []
        handle = world.manager.register_conversation_hooks(ConversationLifecycleHooks(on_session_ready=seen.append))
        session_id = await started(world)
        assert (await world.manager.renew_session(session_id)).success
        handle.dispose()
        await started(world)
        assert [session.session_id for session in seen] == [session_id]


@pytest.mark.seed("HOOK-onSessionSuspending", "HOOK-onSessionResumed", "HOOK-onSessionReady", "HOOK-onSessionEnding")
@pytest.mark.parametrize("broken", ["ready", "suspending", "resumed", "ending"])
async def test_a_hook_that_raises_is_logged_and_the_session_goes_on(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_world() as world:

        class Broken(Application):
            async def _note(self, name: str, session: SessionInfo, reason: str = "") -> None:
                await super()._note(name, session, reason)
                if name == broken:
                    raise ValueError("mine")

        application = Broken()
        world.manager.register_conversation_hooks(application)
        await _whole_life(world)
        assert application.calls == ["ready", "suspending manual-renewal", "resumed", "ending"]
        assert f"on_session_{broken} failed for session" in caplog.text


@pytest.mark.seed("HOOK-onSessionReady", "HOOK-onSessionSuspending", "HOOK-onSessionResumed", "HOOK-onSessionEnding")
async def test_a_hook_is_given_the_session_as_it_is_at_that_moment() -> None:
    async with a_world() as world:
        application = Application()
        world.manager.register_conversation_hooks(application)
        await _whole_life(world)
        assert [session.state for session in application.seen] == ["active", "renewing", "renewing", "ending"]
        assert [session.remote_session_id for session in application.seen] == [
            *("sess_fake_1", "sess_fake_1", "sess_fake_2", "sess_fake_2")
        ]
