"""Every promised name, used as its types say. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_type

import voicepilot as vp
from voicepilot.testing import FakeKeyService


async def sessions(manager: vp.SessionManager) -> None:
    info = await manager.start_session(
        vp.SessionConfig(renewal_margin_seconds=20), model="m", session={"voice": "marin"}, labels={"team": "a"}
    )
    assert_type(info, vp.SessionInfo)
    assert_type(info.state, vp.Phase)
    assert_type(info.statistics, vp.Statistics)
    assert_type(info.connection_status, vp.ConnectionStatus)
    assert_type(info.connection_phase, vp.ConnectionPhase)
    assert_type(info.usage, vp.Usage)
    assert_type(info.usage + vp.Usage(input_tokens=1), vp.Usage)
    assert_type(info.last_error, vp.Fault | None)
    assert_type(await manager.renew_session(info.session_id), vp.RenewalResult)
    assert_type(await manager.update_session_config(info.session_id, {"max_retry_attempts": 5}), vp.SessionConfig)
    assert_type(manager.get_session_info("s"), vp.SessionInfo | None)
    assert_type(manager.get_current_session(), vp.SessionInfo | None)
    assert_type(manager.get_all_sessions(), tuple[vp.SessionInfo, ...])
    assert_type(manager.is_session_active(), bool)
    assert_type(manager.get_session_config("s"), vp.SessionConfig | None)
    assert_type(manager.transcript("s"), tuple[vp.Turn, ...])
    assert_type(manager.credential("s"), vp.SessionCredential)
    assert_type(manager.credential("s").reveal(), str)
    assert_type(manager.credential_provider("s"), Callable[[], Awaitable[str]])
    await manager.pause_session("s")
    await manager.resume_session("s")
    await manager.end_session()
    async with manager.session(model="m") as session:
        assert_type(session, vp.SessionInfo)


async def diagnostics(manager: vp.SessionManager) -> None:
    seen = manager.get_session_diagnostics("s")
    assert_type(seen, vp.SessionDiagnostics)
    assert_type(seen.timers, vp.TimerStatuses)
    assert_type(seen.timers.renewal, vp.TimerStatus)
    assert_type(seen.credential_status, vp.CredentialStatus)
    assert_type(seen.next_event, vp.NextEvent | None)
    health = await manager.test_session_health("s")
    assert_type(health, vp.SessionHealth)
    assert_type(health.checks, tuple[vp.HealthCheck, ...])
    assert_type(health.checks[0].status, vp.CheckStatus)


async def on_started(event: vp.SessionStarted) -> None:
    assert_type(event.session_info, vp.SessionInfo)


def on_ended(event: vp.SessionEnded) -> None:
    assert_type(event.receipt, vp.PurgeReceipt)


def on_renewed(event: vp.SessionRenewed) -> None:
    match event:
        case vp.RenewalStarted():
            assert_type(event.trigger, vp.Trigger)
        case vp.RenewalCompleted() | vp.RenewalFailed():
            assert_type(event.result, vp.RenewalResult)


def on_error(event: vp.SessionErrorEvent) -> None:
    assert_type(event.kind, vp.ErrorType)
    assert_type(event.error, vp.Fault)
    assert_type(event.error.domain, vp.FaultDomain)


def on_degraded(event: vp.DegradedChanged) -> None:
    assert_type(event.degraded, bool)


def on_connection(event: vp.ConnectionChanged) -> None:
    assert_type(event.new_phase, vp.ConnectionPhase)
    assert_type(event.previous_phase.is_open, bool)
    assert_type(event.status, vp.ConnectionStatus)
    assert_type(event.fault, vp.Fault | None)


def on_usage(event: vp.UsageCounted) -> None:
    assert_type(event.added, vp.Usage)
    assert_type(event.usage.total_tokens, int)


async def on_limit(event: vp.LimitApproaching) -> None:
    assert_type(event.limit, str)
    assert_type(event.used, float)


async def on_ending(session: vp.EndingSession) -> None:
    assert_type(session.transcript, tuple[vp.Turn, ...])


def on_anything(event: vp.Event) -> None:
    assert_type(event.diagnostics, vp.SessionDiagnostics)


def subscriptions(manager: vp.SessionManager) -> None:
    assert_type(manager.on_session_started(on_started), vp.Subscription)
    with manager.on_session_ended(on_ended):
        manager.on_session_renewed(on_renewed)
    manager.on_session_error(on_error).dispose()
    assert_type(manager.on_connection_changed(on_connection), vp.Subscription)
    assert_type(manager.on_session_usage(on_usage), vp.Subscription)
    assert_type(manager.on_limit_approaching(on_limit), vp.Subscription)
    vp.ConversationLifecycleHooks(on_session_ending=on_ending)

    def changed(event: vp.StateChanged) -> None:
        assert_type(event.new_state, vp.Phase)
        on_anything(event)

    manager.on_session_state_changed(changed)
    manager.register_conversation_hooks(vp.ConversationLifecycleHooks())
    manager.on_session_degraded(on_degraded)


def built(configuration: vp.ConfigurationManager, keys: vp.EphemeralKeyService) -> vp.SessionManager:
    vp.SessionManager(FakeKeyService(), vp.SessionTimerManager())
    return vp.SessionManager(keys, None, configuration)


def protected(manager: vp.SessionManager) -> None:
    controller = vp.PrivacyController(vp.RetentionPolicy(audio_seconds=3))
    store = vp.TranscriptStore(controller, redactor=vp.Redactor([vp.RedactionRule(r"Z-\d+", "ticket")]))
    manager.set_privacy_controller(controller)
    controller.register("s", vp.DataClass.FINAL_TRANSCRIPT, store).release()


def recovered(manager: vp.SessionManager) -> None:
    registrar = vp.RecoveryRegistrar()
    manager.register_recovery_actions(registrar)
    plan = registrar.plan(fallback="degraded-features")
    assert_type(plan, vp.RecoveryPlan)
    manager.set_recovery_executor(vp.RecoveryExecutor(), plan)


async def minted(keys: vp.EphemeralKeyService, purge: Callable[[vp.PurgeOrder], None]) -> None:
    assert_type(await keys.request_ephemeral_key(vp.KeyRequest(session_id="s")), vp.EphemeralKey)
    purge(vp.PurgeOrder(session_id="s", reason="user-requested"))


async def talked(manager: vp.SessionManager) -> None:
    config = vp.ConversationConfig(max_outage_seconds=60)
    async with manager.connect("s", model="m", config=config, instructions="…") as conversation:
        assert_type(conversation, vp.Conversation)
        await conversation.say("Hello!")
        await conversation.send({"type": "response.create"})
        await conversation.append_audio(b"\0\0")
        await conversation.response.create(response={"instructions": "…"})
        async for event in conversation:
            assert_type(event, vp.ServerEvent | vp.Happening)
            happened(event)


def happened(event: vp.ServerEvent | vp.Happening) -> vp.Restored | None:
    match event:
        case vp.Handover() | vp.ConversationRestored():
            lost: tuple[vp.Lost, ...] = event.restored.lost
            return event.restored if lost else None
        case vp.TurnInterrupted() | vp.InputDropped() | vp.LimitWarning() | vp.Reconnecting() | vp.ConversationEnded():
            assert_type(event.at, float)
    return None


ERRORS: tuple[type[vp.VoicePilotError], ...] = (
    vp.AttemptRefusedError,
    vp.AuthenticationError,
    vp.BadReplyError,
    vp.ConfigurationError,
    vp.ConversationClosedError,
    vp.ConversationFullError,
    vp.ConversationLostError,
    vp.DialError,
    vp.KeyServiceError,
    vp.KeyTimeoutError,
    vp.MissingCredentialsError,
    vp.NetworkError,
    vp.NotInitializedError,
    vp.PermissionDeniedError,
    vp.ProviderUnavailableError,
    vp.QuotaExceededError,
    vp.RateLimitError,
    vp.RequestRefusedError,
    vp.SessionEndedError,
    vp.SessionError,
    vp.SessionLimitError,
    vp.SessionNotFoundError,
    vp.SessionRenewalError,
    vp.SessionStartError,
)
