"""The rows of the requirement, each with the code that answers it. `docs/seed.md` is made from these lists.

A story says which rows it proves with `@pytest.mark.seed("IMP-004", ...)`; `test_seed_table.py` holds the two together.
Code is named as `module:Name.attribute`, below `voicepilot`.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One row: what is required, in short, and where it is."""

    name: str
    text: str
    code: str


MANAGER = "runtime.manager:SessionManager"
OPTION = "lifecycle.config:SessionConfig"

OVERVIEW = (
    Row("OVR-001", "Authoritative state of every session: phases and statistics", "lifecycle.rules:RULES"),
    Row(
        "OVR-002",
        "Scope: keys, timers, events, recovery, privacy cleanup; no audio, no UI",
        "lifecycle.effects:Effect",
    ),
    Row("OVR-003", "Works with key service, configuration, privacy and recovery; tells others of state", "ports:Host"),
    Row(
        "ARC-001",
        "Stateful service and observers; resilience by a recovery executor",
        "runtime.recovery:RecoveryLink.attempt",
    ),
    Row("ARC-002", "Collaborators: key service, timers, configuration, logger; optional privacy, recovery", MANAGER),
    Row("ARC-003", "Start, renewal, beat and time-out feed state changes and errors", "lifecycle.rules:RULES"),
    Row("ARC-004", "Sequence diagrams of renewal and recovery", "lifecycle.renewing:swap"),
    Row("ARC-005", "A diagram of structure, dependencies and data flow", MANAGER),
)

IMPLEMENTATION = (
    Row("IMP-001", "Dependencies are validated at initialise; optional ones can come later", f"{MANAGER}.initialize"),
    Row("IMP-002", "Timers drive renewal, inactivity, heartbeat; recovery can pause them", "lifecycle.machine:wake_at"),
    Row(
        "IMP-003",
        "Key operations pass the executor with metadata; failures make events, counts, recovery",
        "runtime.recovery:RecoveryLink.attempt",
    ),
    Row(
        "IMP-004",
        "The last error of each session stays until a success; heartbeat reuses the health check",
        "lifecycle.upkeep:beat",
    ),
    Row("IMP-005", "Purge at the end; its failure is a warning and stops nothing", "lifecycle.actions:forget_key"),
    Row(
        "IMP-006",
        "Remedies: SESSION_FORCE_TERMINATION, SESSION_PURGE_PRIVACY, degraded fallback",
        "runtime.remedies:register_remedies",
    ),
    Row(
        "USE-001", "Initialise configuration and key service first, or operations are refused", f"{MANAGER}.initialize"
    ),
    Row("USE-002", "Dispose subscriptions and hooks to leak nothing", "runtime.observers:Subscription.dispose"),
    Row(
        "USE-003", "Renew by hand where it matters, and read the latency", "lifecycle.session:RenewalResult.latency_ms"
    ),
    Row(
        "QUA-001",
        "Security: keys only through the key service, never stored; errors say what to do",
        "runtime.vault:KeyVault",
    ),
    Row(
        "QUA-002",
        "Performance: no polling, latency tracked, at most 3 sessions by default",
        "runtime.timers:SessionTimerManager",
    ),
    Row(
        "QUA-003",
        "Reliability: backoff, degraded mode, stalled and idle sessions are noticed",
        "lifecycle.deadlines:next_attempt",
    ),
    Row(
        "QUA-004",
        "Maintainability: disposables, typed options, statistics in one place",
        "lifecycle.session:Statistics",
    ),
    Row(
        "QUA-005",
        "Extensibility: hooks, remedies and collaborators without touching the core",
        "ports:RecoveryRegistrar",
    ),
)

API = (
    Row("API-initialize", "initialize(): idempotent, before everything else", f"{MANAGER}.initialize"),
    Row(
        "API-dispose",
        "dispose(): ends sessions, clears timers, releases handlers, purges; twice is safe",
        f"{MANAGER}.dispose",
    ),
    Row("API-startSession", "start_session(config): raises at the limit or without a key", f"{MANAGER}.start_session"),
    Row(
        "API-endSession", "end_session(id): this or the current one; closed is nothing to do", f"{MANAGER}.end_session"
    ),
    Row("API-renewSession", "renew_session(id): by hand, with events and hooks", f"{MANAGER}.renew_session"),
    Row("API-getSessionInfo", "get_session_info(id): an immutable snapshot, or None", f"{MANAGER}.get_session_info"),
    Row("API-getCurrentSession", "get_current_session(): the most recently active", f"{MANAGER}.get_current_session"),
    Row("API-getAllSessions", "get_all_sessions(): also failed and ending ones", f"{MANAGER}.get_all_sessions"),
    Row("API-isSessionActive", "is_session_active(id): the current one by default", f"{MANAGER}.is_session_active"),
    Row(
        "API-updateSessionConfig",
        "update_session_config(id, changes): reschedules timers",
        f"{MANAGER}.update_session_config",
    ),
    Row(
        "API-getSessionConfig", "get_session_config(id): for comparing with an update", f"{MANAGER}.get_session_config"
    ),
    Row(
        "API-onSessionStarted/Ended",
        "on_session_started, on_session_ended: until disposed",
        f"{MANAGER}.on_session_started",
    ),
    Row("API-onSessionRenewed", "on_session_renewed: with diagnostics", f"{MANAGER}.on_session_renewed"),
    Row(
        "API-onSessionError", "on_session_error: structured errors; the last one is kept", f"{MANAGER}.on_session_error"
    ),
    Row(
        "API-onSessionStateChanged", "on_session_state_changed: every transition", f"{MANAGER}.on_session_state_changed"
    ),
    Row(
        "API-registerConversationHooks",
        "register_conversation_hooks: one active set; disposing clears one's own",
        f"{MANAGER}.register_conversation_hooks",
    ),
    Row("API-setPrivacyController", "set_privacy_controller: purging is on", f"{MANAGER}.set_privacy_controller"),
    Row(
        "API-setRecoveryExecutor",
        "set_recovery_executor(executor, plan): attempts pass through it",
        f"{MANAGER}.set_recovery_executor",
    ),
    Row(
        "API-registerRecoveryActions",
        "register_recovery_actions(registrar): the standard remedies",
        f"{MANAGER}.register_recovery_actions",
    ),
    Row(
        "API-getSessionDiagnostics",
        "get_session_diagnostics(id): raises when unknown",
        f"{MANAGER}.get_session_diagnostics",
    ),
    Row("API-testSessionHealth", "test_session_health(id): checks with advice", f"{MANAGER}.test_session_health"),
    Row(
        "API-resetInactivityTimer",
        "reset_inactivity_timer(id): restarts the countdown, and counts",
        f"{MANAGER}.reset_inactivity_timer",
    ),
)

EVENTS = (
    Row("EVT-session-started", "Session events: session-started", "events:SessionStarted"),
    Row("EVT-session-ended", "Session events: session-ended", "events:SessionEnded"),
    Row("EVT-renewal-started", "Renewal events: renewal-started, with diagnostics", "events:RenewalStarted"),
    Row("EVT-renewal-completed", "Renewal events: renewal-completed, with diagnostics", "events:RenewalCompleted"),
    Row("EVT-renewal-failed", "Renewal events: renewal-failed, with diagnostics", "events:RenewalFailed"),
    Row(
        "EVT-authentication-error",
        "Error events: authentication-error, with remediation",
        "events:ErrorType.AUTHENTICATION",
    ),
    Row("EVT-connection-error", "Error events: connection-error, with remediation", "events:ErrorType.CONNECTION"),
    Row("EVT-timeout-error", "Error events: timeout-error, with remediation", "events:ErrorType.TIMEOUT"),
    Row("EVT-renewal-error", "Error events: renewal-error, with remediation", "events:ErrorType.RENEWAL"),
    Row("EVT-state-changed", "State events: state-changed, with a reason", "events:StateChanged"),
    Row("HOOK-onSessionReady", "on_session_ready(session): start_session waits for it", "lifecycle.inputs:Hook.READY"),
    Row("HOOK-onSessionEnding", "on_session_ending(session): before the session ends", "lifecycle.inputs:Hook.ENDING"),
    Row(
        "HOOK-onSessionSuspending",
        "on_session_suspending(session, reason): before the swap",
        "lifecycle.inputs:Hook.SUSPENDING",
    ),
    Row("HOOK-onSessionResumed", "on_session_resumed(session): after the swap", "lifecycle.inputs:Hook.RESUMED"),
)

OPTIONS = (
    Row(
        "OPT-renewalMarginSeconds",
        "Seconds before expiry to renew: 10",
        f"{OPTION}.renewal_margin_seconds",
    ),
    Row(
        "OPT-inactivityTimeoutMinutes",
        "Idle time before the end: 5",
        f"{OPTION}.inactivity_timeout_minutes",
    ),
    Row(
        "OPT-heartbeatIntervalSeconds",
        "Interval of health probes: 30",
        f"{OPTION}.heartbeat_interval_seconds",
    ),
    Row("OPT-maxRetryAttempts", "Retries at most: 3", f"{OPTION}.max_retry_attempts"),
    Row("OPT-retryBackoffMs", "Base backoff: 1000", f"{OPTION}.retry_backoff_ms"),
    Row("OPT-enableHeartbeat", "Heartbeat on: true", f"{OPTION}.enable_heartbeat"),
    Row(
        "OPT-enableInactivityTimeout",
        "Inactivity timeout on: true",
        f"{OPTION}.enable_inactivity_timeout",
    ),
)

PRACTICE = (
    Row("EXA-basic", "Usage example: basic", MANAGER),
    Row("EXA-advanced", "Usage example: advanced", MANAGER),
    Row("TST-doubles", "Testing: stand-ins for the key service and the timers", "testing:FakeKeyService"),
    Row("TST-fake-time", "Testing: fake time makes renewals and time-outs exact", "testing:VirtualTimeLoop"),
    Row("TRB-initialization-error", "Troubleshooting: initialisation error", "errors:NotInitializedError"),
    Row("TRB-renewal-failure", "Troubleshooting: renewal failure", "errors:Fault.provider_code"),
    Row("TRB-stale-timers", "Troubleshooting: stale timers", "runtime.remedies:register_remedies"),
    Row("TRB-privacy-purge-failures", "Troubleshooting: privacy purge failures", "runtime.remedies:register_remedies"),
)

SEED = (*OVERVIEW, *IMPLEMENTATION, *API, *EVENTS, *OPTIONS, *PRACTICE)
