"""What a managed connection gets of its session: keys no dial has used, hooks, transcript, tasks, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.stories.cast import Application, FakeExecutor
from tests.support import World, a_world

from voicepilot import (
    AttemptRefusedError,
    AuthenticationError,
    ConnectionChanged,
    ConnectionPhase,
    ConnectionStatus,
    EndingSession,
    Fault,
    FaultDomain,
    KeyServiceError,
    Phase,
    PrivacyController,
    RateLimitError,
    SessionEnded,
    SessionError,
    SessionErrorEvent,
    SessionNotFoundError,
    SessionRenewalError,
    TranscriptStore,
    Turn,
    Usage,
)
from voicepilot.ports import Credential, ManagedSession
from voicepilot.runtime.managed import SessionLink
from voicepilot.testing import FakeKeyService

LOST = Fault(code="SOCKET_CLOSED", message="1006", remediation="Wait.", retryable=True, domain=FaultDomain.TRANSPORT)
BUSY = RateLimitError("busy", status=429, retry_after=7, provider_code="rate_limit")


async def a_link(world: World, **config: Any) -> SessionLink:
    return world.link((await world.manager.start_session(config)).session_id)


def changes(world: World) -> list[tuple[str, str]]:
    """What was told of managed connections: from what to what."""
    told = [event for event in world.recorder.events if isinstance(event, ConnectionChanged)]
    return [(event.previous_phase.value, event.new_phase.value) for event in told]


def used(credential: Credential) -> str:
    return credential.reveal()


async def test_it_is_what_a_conversation_asks_for() -> None:
    async with a_world() as world:
        link: ManagedSession = await a_link(world)
        assert link.now() == world.clock.now()
        assert (await link.fresh_credential()).model is None


class TestFreshKeys:
    async def test_the_first_dial_takes_the_key_of_the_start_and_each_other_a_new_one(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            assert [used(await link.fresh_credential()) for _ in range(3)] == ["ek_fake_1", "ek_fake_2", "ek_fake_3"]
            assert world.manager.credential(link.session_id).reveal() == "ek_fake_3"
            assert world.keys_held() == 1

    async def test_another_link_to_the_same_session_gives_no_key_twice(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            first = await link.fresh_credential()
            assert used(await world.link(link.session_id).fresh_credential()) != used(first)

    async def test_a_key_that_was_renewed_meanwhile_is_taken_as_it_is(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            await link.fresh_credential()
            await world.manager.renew_session(link.session_id)
            assert used(await link.fresh_credential()) == "ek_fake_2"
            assert len(world.keys.mints) == 2

    async def test_dials_at_once_get_different_keys(self) -> None:
        async with a_world(keys=FakeKeyService(latency=0.1)) as world:
            link = await a_link(world)
            keys = await asyncio.gather(*(link.fresh_credential() for _ in range(3)))
            assert len({used(key) for key in keys}) == 3

    async def test_a_rejected_key_is_never_handed_out(self) -> None:
        async with a_world(keys=FakeKeyService(latency=0.1)) as world:
            link = await a_link(world)
            world.manager.report_key_rejected(link.session_id, LOST)
            assert used(await link.fresh_credential()) == "ek_fake_2"

    async def test_an_expired_key_is_never_handed_out(self) -> None:
        async with a_world(key_life_seconds=60, max_retry_attempts=0, enable_inactivity_timeout=False) as world:
            link = await a_link(world)
            world.keys.fail(BUSY, 1_000)
            await asyncio.sleep(200)
            assert world.manager.get_session_info(link.session_id).state is Phase.RECOVERING  # type: ignore[union-attr]
            with pytest.raises(SessionRenewalError):
                await link.fresh_credential()
            world.keys.heal()
            assert used(await link.fresh_credential()) == "ek_fake_2"

    async def test_a_renewal_that_failed_raises_with_its_fault(self) -> None:
        async with a_world(max_retry_attempts=0) as world:
            link = await a_link(world)
            await link.fresh_credential()
            world.keys.fail(BUSY)
            with pytest.raises(SessionRenewalError, match="busy") as raised:
                await link.fresh_credential()
            fault = raised.value.fault
            assert (fault.code, fault.cause, fault.retryable) == ("RENEWAL_FAILED", "RATE_LIMITED", True)
            assert (fault.status, fault.retry_after, fault.provider_code) == (429, 7, "rate_limit")
            assert (raised.value.code, raised.value.retryable) == ("RENEWAL_FAILED", True)
            assert raised.value.session_id == link.session_id

    async def test_a_dial_waits_for_one_attempt_and_who_renews_by_hand_for_the_round(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            await link.fresh_credential()
            world.keys.fail(KeyServiceError("down", code="MINT_503", retryable=True))
            by_hand = asyncio.ensure_future(world.manager.renew_session(link.session_id))
            began = world.clock.now()
            with pytest.raises(SessionRenewalError, match="down") as raised:
                await link.fresh_credential()
            assert (raised.value.fault.code, raised.value.fault.cause) == ("RENEWAL_FAILED", "MINT_503")
            assert world.clock.now() == began
            assert used(await link.fresh_credential()) == "ek_fake_2"
            assert 0 < world.clock.now() - began <= 1
            assert (await by_hand).success

    async def test_one_that_cannot_be_cured_says_so(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            await link.fresh_credential()
            world.keys.fail(AuthenticationError("401", status=401))
            with pytest.raises(SessionRenewalError) as raised:
                await link.fresh_credential()
            assert not raised.value.retryable

    async def test_an_ended_session_has_none(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            await world.manager.end_session(link.session_id)
            with pytest.raises(SessionRenewalError, match="the session is ended"):
                await link.fresh_credential()

    async def test_a_cancelled_dial_leaves_the_renewal_running(self) -> None:
        async with a_world(keys=FakeKeyService(latency=1)) as world:
            link = await a_link(world)
            await link.fresh_credential()
            dial = asyncio.ensure_future(link.fresh_credential())
            await asyncio.sleep(0.5)
            dial.cancel()
            await asyncio.wait({dial})
            await asyncio.sleep(1)
            assert world.manager.credential(link.session_id).reveal() == "ek_fake_2"


class TestReports:
    async def test_phase_and_status_are_shown_and_each_change_is_told(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            for phase in (ConnectionPhase.CONNECTING, ConnectionPhase.LIVE, ConnectionPhase.MOVING):
                link.report(phase, ConnectionStatus.HEALTHY)
                info = world.manager.get_session_info(link.session_id)
                assert info is not None
                assert (info.connection_phase, info.connection_status) == (phase, ConnectionStatus.HEALTHY)
                assert world.manager.get_session_diagnostics(link.session_id).connection_phase is phase
            link.report(ConnectionPhase.MOVING, ConnectionStatus.HEALTHY)
            assert changes(world) == [("none", "connecting"), ("connecting", "live"), ("live", "moving")]
            await world.manager.end_session(link.session_id)
            assert changes(world)[3:] == [("moving", "closed")]

    async def test_a_handler_of_changes_may_be_async_and_can_be_disposed(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            heard: list[ConnectionPhase] = []

            async def hear(event: ConnectionChanged) -> None:
                await asyncio.sleep(0)
                heard.append(event.new_phase)

            with world.manager.on_connection_changed(hear):
                link.report(ConnectionPhase.CONNECTING, ConnectionStatus.UNKNOWN)
                link.report(ConnectionPhase.LIVE, ConnectionStatus.HEALTHY)
                await asyncio.sleep(1)
            link.report(ConnectionPhase.MOVING, ConnectionStatus.HEALTHY)
            await asyncio.sleep(1)
            assert heard == [ConnectionPhase.CONNECTING, ConnectionPhase.LIVE]

    async def test_a_transport_of_the_applications_own_leaves_the_phase_alone(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            link.report(ConnectionPhase.LIVE, ConnectionStatus.HEALTHY)
            world.manager.report_connection(link.session_id, ConnectionStatus.DEGRADED)
            assert world.manager.get_session_info(link.session_id).connection_phase is ConnectionPhase.LIVE  # type: ignore[union-attr]

    async def test_a_fall_is_a_connection_error_and_what_comes_after_heals(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            link.report(ConnectionPhase.WAITING, ConnectionStatus.FAILED, LOST)
            (told,) = world.recorder.of("connection-error")
            assert isinstance(told, SessionErrorEvent)
            assert (told.error.code, told.session.connection_phase) == ("SOCKET_CLOSED", ConnectionPhase.WAITING)
            assert world.manager.get_session_diagnostics(link.session_id).degraded
            link.report(ConnectionPhase.LIVE, ConnectionStatus.HEALTHY)
            assert not world.manager.get_session_diagnostics(link.session_id).degraded
            assert world.recorder.types(link.session_id)[3:] == [
                *["connection-changed", "connection-error", "degraded-changed"],
                *["connection-changed", "degraded-changed"],
            ]

    async def test_activity_holds_inactivity_off(self) -> None:
        async with a_world(inactivity_timeout_minutes=1) as world:
            link = await a_link(world)
            for _ in range(5):
                await asyncio.sleep(59)
                link.note_activity()
            info = world.manager.get_session_info(link.session_id)
            assert info is not None
            assert (info.state, info.statistics.inactivity_resets) == (Phase.ACTIVE, 5)

    async def test_usage_reaches_the_limits_and_the_end_is_clean(self) -> None:
        async with a_world(max_total_tokens=100) as world:
            link = await a_link(world)
            link.report_usage(Usage(input_tokens=60, output_tokens=30))
            assert world.recorder.types()[-2:] == ["usage-counted", "limit-approaching"]
            link.report_usage(Usage(output_tokens=10))
            await asyncio.sleep(3)
            (ended,) = world.recorder.of("session-ended")
            assert isinstance(ended, SessionEnded)
            assert (ended.reason, ended.session_info.usage.total_tokens) == ("limit-reached", 100)
            assert [order.reason for order in world.purger.orders] == ["limit-reached"]
            link.report_usage(Usage(input_tokens=5))
            link.report(ConnectionPhase.CLOSED, ConnectionStatus.UNKNOWN)
            link.note_activity()
            assert len(world.recorder.of("usage-counted")) == 2

    async def test_an_update_of_the_limit_counts_at_once(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            link.report_usage(Usage(input_tokens=50))
            await world.manager.update_session_config(link.session_id, {"max_total_tokens": 50})
            await asyncio.sleep(0.5)
            assert world.manager.get_session_info(link.session_id) is None

    async def test_a_session_that_a_handler_gives_more_goes_on(self) -> None:
        async with a_world(max_total_tokens=10) as world:
            link = await a_link(world)

            async def allow_more(_: object) -> None:
                await world.manager.update_session_config(link.session_id, {"max_total_tokens": 1_000})

            world.manager.on_limit_approaching(allow_more)
            link.report_usage(Usage(input_tokens=9))
            await asyncio.sleep(0.1)
            link.report_usage(Usage(input_tokens=9))
            await asyncio.sleep(10)
            assert world.manager.is_session_active(link.session_id)

    async def test_own_transports_report_usage_by_the_managers_method(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            told: list[int] = []
            world.manager.on_session_usage(lambda event: told.append(event.added.total_tokens))
            world.manager.report_usage(link.session_id, Usage(output_tokens=4))
            assert told == [4]
            with pytest.raises(SessionNotFoundError):
                world.manager.report_usage("session-0-none", Usage())


class TestHooks:
    async def test_the_application_hears_of_the_move(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            application = Application()
            world.manager.register_conversation_hooks(application)
            await link.suspending("handover")
            await link.resumed()
            assert application.calls == ["suspending handover", "resumed"]
            assert {seen.session_id for seen in application.seen} == {link.session_id}

    async def test_without_hooks_there_is_nothing_to_do(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            await link.suspending("handover")
            await link.resumed()

    async def test_a_plain_function_is_a_hook_too(self) -> None:
        async with a_world() as world:
            link, seen = await a_link(world), []

            class Plain:
                def on_session_resumed(self, session: object) -> None:
                    seen.append(session)

            world.manager.register_conversation_hooks(Plain())
            await link.resumed()
            assert len(seen) == 1

    async def test_one_that_hangs_is_cut_off_and_one_that_raises_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with a_world(hook_timeout_seconds=2) as world:
            link = await a_link(world)
            world.manager.register_conversation_hooks(Application(suspending=1e6))
            before = world.clock.now()
            await link.suspending("reconnect")
            assert world.clock.now() - before == pytest.approx(2)

            class Bad:
                async def on_session_resumed(self, session: object) -> None:
                    raise ValueError("mine")

                async def on_session_suspending(self, session: object, reason: str) -> None:
                    raise asyncio.CancelledError("theirs")

            world.manager.register_conversation_hooks(Bad())
            await link.suspending("reconnect")
            await link.resumed()
            said = [record.getMessage() for record in caplog.records]
            assert said == [
                f"on_session_suspending failed for session {link.session_id}",
                f"on_session_suspending failed for session {link.session_id}",
                f"on_session_resumed failed for session {link.session_id}",
            ]

    async def test_a_hook_that_ends_the_session_only_asks_for_it(self) -> None:
        async with a_world() as world:
            link = await a_link(world)

            class Ends:
                async def on_session_suspending(self, session: object, reason: str) -> None:
                    await world.manager.end_session(link.session_id)

                async def on_session_ending(self, session: object) -> None:
                    await asyncio.sleep(0.5)

            world.manager.register_conversation_hooks(Ends())
            async with asyncio.timeout(0.1):
                await link.suspending("handover")
            await asyncio.sleep(1)
            assert world.manager.get_session_info(link.session_id) is None

    async def test_whoever_waits_for_one_may_be_cancelled(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            world.manager.register_conversation_hooks(Application(suspending=4))
            waiting = asyncio.ensure_future(link.suspending("handover"))
            await asyncio.sleep(1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting


class TestTheEnd:
    async def test_the_connection_is_closed_with_the_reason_and_then_the_provider_told(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            order: list[str] = []

            async def close(reason: str) -> None:
                await asyncio.sleep(0.05)
                order.append(f"closed: {reason}, provider told: {world.keys.ended}")

            link.attach(close)
            await world.manager.end_session(link.session_id, reason="my-reason")
            assert order == ["closed: my-reason, provider told: []"]
            assert world.keys.ended == [link.session_id]

    @pytest.mark.parametrize("how", ["idle", "disposed", "failed", "limit"])
    async def test_it_hears_of_every_kind_of_end(self, how: str) -> None:
        reasons: list[str] = []

        async def close(reason: str) -> None:
            reasons.append(reason)

        async with a_world(inactivity_timeout_minutes=1) as world:
            link = await a_link(world, **({"max_duration_seconds": 10} if how == "limit" else {}))
            link.attach(close)
            if how == "failed":
                world.keys.fail(AuthenticationError("401"))
                await world.manager.renew_session(link.session_id)
            if how != "disposed":
                await asyncio.sleep(63)
        said = {"idle": "inactivity-timeout", "failed": "renewal-failed", "limit": "limit-reached"}
        assert reasons == [said.get(how, how)]

    @pytest.mark.parametrize("kind", ["hangs", "deaf", "raises", "cancels"])
    async def test_one_that_hangs_or_raises_keeps_neither_the_end_nor_the_provider(
        self, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with a_world() as world:
            link = await a_link(world)
            cancelled: list[float] = []

            async def close(_: str) -> None:
                if kind == "raises":
                    raise OSError("gone")
                if kind == "cancels":
                    raise asyncio.CancelledError("theirs")
                end = world.clock.now() + 10
                while (left := end - world.clock.now()) > 0:
                    try:
                        await asyncio.sleep(left)
                    except asyncio.CancelledError:
                        cancelled.append(world.clock.now() - before)
                        if kind == "hangs":
                            raise

            link.attach(close)
            before = world.clock.now()
            await world.manager.end_session(link.session_id)
            took = world.clock.now() - before
            assert world.keys.ended == [link.session_id]
            assert took == pytest.approx(0.2 if kind in {"hangs", "deaf"} else 0)
            await asyncio.sleep(11)
            assert cancelled == ([pytest.approx(0.2)] if kind in {"hangs", "deaf"} else [])
            assert len(caplog.records) == 1

    async def test_there_is_one_conversation_at_a_time(self) -> None:
        async def close(_: str) -> None:
            raise AssertionError("it was taken back")

        async with a_world() as world:
            link = await a_link(world)
            handle = link.attach(close)
            with pytest.raises(SessionError, match="has a conversation already") as raised:
                world.link(link.session_id).attach(close)
            assert "Close that conversation first" in raised.value.remediation
            handle.dispose()
            second = link.attach(close)
            handle.dispose()
            with pytest.raises(SessionError):
                link.attach(close)
            second.dispose()
            assert world.performer.registry.get(link.session_id).attached is None  # type: ignore[union-attr]

    async def test_what_is_attached_hears_of_a_limit_while_it_is(self) -> None:
        warned: list[tuple[str, float, float]] = []

        async def close(_: str) -> None: ...

        async with a_world(max_total_tokens=100, max_audio_seconds=100, max_duration_seconds=100) as world:
            link = await a_link(world)
            handle = link.attach(close, lambda *told: warned.append(told))
            link.report_usage(Usage(input_tokens=95))
            handle.dispose()
            link.report_usage(Usage(input_audio_seconds=95))
            assert warned == [("max_total_tokens", 95, 100)]

    async def test_nothing_is_attached_to_a_session_that_is_not_running(self) -> None:
        async def close(_: str) -> None: ...

        async with a_world() as world:
            link = await a_link(world)
            entry = world.performer.registry.get(link.session_id)
            assert entry is not None
            link.attach(close)
            await world.manager.end_session(link.session_id)
            assert entry.attached is None
            with pytest.raises(SessionError, match="is ended, not active"):
                link.attach(close)


class TestTasks:
    async def test_what_a_task_raises_is_logged_and_hurts_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        async def bad() -> None:
            raise ValueError("mine")

        async def stray() -> None:
            raise asyncio.CancelledError("theirs")

        async with a_world() as world:
            link = await a_link(world)
            for work in (bad(), stray()):
                await link.spawn(work, "voicepilot-conversation")
            assert len(caplog.records) == 2
            assert world.manager.is_session_active(link.session_id)

    async def test_dispose_ends_what_still_runs(self) -> None:
        stopped = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.sleep(1e6)
            finally:
                stopped.set()

        async with a_world() as world:
            (await a_link(world)).spawn(work(), "voicepilot-conversation")
            await asyncio.sleep(1)
        assert stopped.is_set()


class TestThroughTheBreaker:
    async def test_an_attempt_is_one_of_its_endpoint_and_the_caller_makes_the_next(self) -> None:
        async def dial() -> str:
            return "open"

        async with a_world() as world:
            link = await a_link(world)
            assert await link.through_breaker(dial, endpoint="wss://here") == "open"
            executor = FakeExecutor()
            world.manager.set_recovery_executor(executor, plan="not for this")
            assert await link.through_breaker(dial, endpoint="wss://here") == "open"
            (context,) = executor.contexts
            assert (context.operation, context.endpoint, context.session_id) == (
                "connect",
                "wss://here",
                link.session_id,
            )
            assert context.attempts_scheduled_by_caller
            assert (context.fault_domain, context.plan) == (FaultDomain.TRANSPORT, None)
            executor.refusal = AttemptRefusedError("open", retry_in=3)
            with pytest.raises(AttemptRefusedError):
                await link.through_breaker(dial, endpoint="wss://here")


class Broken:
    """A keeper of transcripts that cannot."""

    def hear(self, session_id: str, event: Mapping[str, Any]) -> None:
        raise ValueError(f"heard {event}")

    def drop(self, session_id: str, utterance_id: str) -> None:
        raise ValueError(utterance_id)

    def turns(self, session_id: str) -> tuple[Turn, ...]:
        raise ValueError(session_id)


def said(text: str, item: str = "a") -> dict[str, str]:
    return {"type": "response.output_text.done", "item_id": item, "text": text}


class TestTranscripts:
    async def test_the_ending_hook_gets_what_was_said_redacted_and_then_it_is_gone(self) -> None:
        async with PrivacyController() as controller, a_world() as world:
            store = TranscriptStore(controller)
            world.manager.set_privacy_controller(controller, store)
            link = await a_link(world)
            application = Application()
            world.manager.register_conversation_hooks(application)
            link.hear(said("write to me@example.org", "one"))
            link.hear(said("interrupted", "two"))
            link.forget("two")
            assert [turn.text for turn in world.manager.transcript(link.session_id)] == ["write to [email]"]
            await world.manager.end_session(link.session_id)
            (ending,) = application.seen
            assert isinstance(ending, EndingSession)
            assert [(turn.role, turn.text) for turn in ending.transcript] == [("assistant", "write to [email]")]
            assert (ending.state, ending.session_id) == (Phase.ENDING, link.session_id)
            assert store.turns(link.session_id) == ()
            with pytest.raises(SessionNotFoundError):
                world.manager.transcript(link.session_id)

    async def test_a_manager_without_a_keeper_has_empty_transcripts(self) -> None:
        async with a_world() as world:
            link = await a_link(world)
            application = Application()
            world.manager.register_conversation_hooks(application)
            link.hear(said("nobody keeps it"))
            link.forget("a")
            assert world.manager.transcript(link.session_id) == ()
            await world.manager.end_session(link.session_id)
            assert isinstance(application.seen[0], EndingSession)
            assert application.seen[0].transcript == ()

    async def test_a_keeper_that_raises_is_logged_without_its_words_and_hurts_nobody(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with a_world() as world:
            world.manager.set_privacy_controller(world.purger, Broken())
            link = await a_link(world)
            application = Application()
            world.manager.register_conversation_hooks(application)
            link.hear(said("a secret"))
            link.forget("a")
            await world.manager.end_session(link.session_id)
            assert application.calls == ["ending"]
            assert len(caplog.records) == 3
            assert "secret" not in caplog.text

    async def test_another_controller_brings_its_own_keeper_or_none(self) -> None:
        async with PrivacyController() as controller, a_world() as world:
            world.manager.set_privacy_controller(controller, TranscriptStore(controller))
            link = await a_link(world)
            world.manager.set_privacy_controller(world.purger)
            link.hear(said("who would purge it"))
            assert world.manager.transcript(link.session_id) == ()
            assert controller.held() == ()
