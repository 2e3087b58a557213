"""voicepilot keeps realtime voice sessions alive, for OpenAI and Azure OpenAI Realtime.

Names listed in `__all__` are promised; others may change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voicepilot.config import ConfigurationManager
    from voicepilot.credentials import EphemeralKeyService
    from voicepilot.errors import (
        AttemptRefusedError,
        AuthenticationError,
        BadReplyError,
        ConfigurationError,
        Fault,
        FaultDomain,
        KeyServiceError,
        KeyTimeoutError,
        MissingCredentialsError,
        NetworkError,
        NotInitializedError,
        PermissionDeniedError,
        ProviderUnavailableError,
        QuotaExceededError,
        RateLimitError,
        RequestRefusedError,
        SessionEndedError,
        SessionError,
        SessionLimitError,
        SessionNotFoundError,
        SessionRenewalError,
        SessionStartError,
        VoicePilotError,
    )
    from voicepilot.events import (
        DegradedChanged,
        ErrorType,
        Event,
        LimitApproaching,
        RenewalCompleted,
        RenewalFailed,
        RenewalStarted,
        SessionEnded,
        SessionErrorEvent,
        SessionRenewed,
        SessionStarted,
        StateChanged,
        UsageCounted,
    )
    from voicepilot.lifecycle.config import SessionConfig
    from voicepilot.lifecycle.diagnostics import (
        CredentialStatus,
        NextEvent,
        SessionDiagnostics,
        TimerStatus,
        TimerStatuses,
    )
    from voicepilot.lifecycle.health import CheckStatus, HealthCheck, SessionHealth
    from voicepilot.lifecycle.phases import Phase
    from voicepilot.lifecycle.session import (
        ConnectionPhase,
        ConnectionStatus,
        RenewalResult,
        SessionInfo,
        Statistics,
        Trigger,
    )
    from voicepilot.lifecycle.usage import Usage
    from voicepilot.ports import EphemeralKey, KeyRequest, PurgeOrder, PurgeReceipt, Turn
    from voicepilot.privacy import (
        DataClass,
        PrivacyController,
        RedactionRule,
        Redactor,
        RetentionPolicy,
        TranscriptStore,
    )
    from voicepilot.recovery import RecoveryExecutor, RecoveryPlan, RecoveryRegistrar
    from voicepilot.runtime.hooks import ConversationLifecycleHooks, EndingSession
    from voicepilot.runtime.manager import SessionManager
    from voicepilot.runtime.timers import SessionTimerManager
    from voicepilot.runtime.vault import SessionCredential
    from voicepilot.subscription import Subscription

__version__ = "0.1.0"

__all__ = [
    "AttemptRefusedError",
    "AuthenticationError",
    "BadReplyError",
    "CheckStatus",
    "ConfigurationError",
    "ConfigurationManager",
    "ConnectionPhase",
    "ConnectionStatus",
    "ConversationLifecycleHooks",
    "CredentialStatus",
    "DataClass",
    "DegradedChanged",
    "EndingSession",
    "EphemeralKey",
    "EphemeralKeyService",
    "ErrorType",
    "Event",
    "Fault",
    "FaultDomain",
    "HealthCheck",
    "KeyRequest",
    "KeyServiceError",
    "KeyTimeoutError",
    "LimitApproaching",
    "MissingCredentialsError",
    "NetworkError",
    "NextEvent",
    "NotInitializedError",
    "PermissionDeniedError",
    "Phase",
    "PrivacyController",
    "ProviderUnavailableError",
    "PurgeOrder",
    "PurgeReceipt",
    "QuotaExceededError",
    "RateLimitError",
    "RecoveryExecutor",
    "RecoveryPlan",
    "RecoveryRegistrar",
    "RedactionRule",
    "Redactor",
    "RenewalCompleted",
    "RenewalFailed",
    "RenewalResult",
    "RenewalStarted",
    "RequestRefusedError",
    "RetentionPolicy",
    "SessionConfig",
    "SessionCredential",
    "SessionDiagnostics",
    "SessionEnded",
    "SessionEndedError",
    "SessionError",
    "SessionErrorEvent",
    "SessionHealth",
    "SessionInfo",
    "SessionLimitError",
    "SessionManager",
    "SessionNotFoundError",
    "SessionRenewalError",
    "SessionRenewed",
    "SessionStartError",
    "SessionStarted",
    "SessionTimerManager",
    "StateChanged",
    "Statistics",
    "Subscription",
    "TimerStatus",
    "TimerStatuses",
    "TranscriptStore",
    "Trigger",
    "Turn",
    "Usage",
    "UsageCounted",
    "VoicePilotError",
]

# Names resolve when they are used: the command line answers --help, and somebody with a key service of their own
# need not load pydantic and aiohttp.
_HOMES = {
    "AttemptRefusedError": "errors",
    "AuthenticationError": "errors",
    "BadReplyError": "errors",
    "CheckStatus": "lifecycle.health",
    "ConfigurationError": "errors",
    "ConfigurationManager": "config",
    "ConnectionPhase": "lifecycle.session",
    "ConnectionStatus": "lifecycle.session",
    "ConversationLifecycleHooks": "runtime.hooks",
    "CredentialStatus": "lifecycle.diagnostics",
    "DataClass": "privacy",
    "DegradedChanged": "events",
    "EndingSession": "runtime.hooks",
    "EphemeralKey": "ports",
    "EphemeralKeyService": "credentials",
    "ErrorType": "events",
    "Event": "events",
    "Fault": "errors",
    "FaultDomain": "errors",
    "HealthCheck": "lifecycle.health",
    "KeyRequest": "ports",
    "KeyServiceError": "errors",
    "KeyTimeoutError": "errors",
    "LimitApproaching": "events",
    "MissingCredentialsError": "errors",
    "NetworkError": "errors",
    "NextEvent": "lifecycle.diagnostics",
    "NotInitializedError": "errors",
    "PermissionDeniedError": "errors",
    "Phase": "lifecycle.phases",
    "PrivacyController": "privacy",
    "ProviderUnavailableError": "errors",
    "PurgeOrder": "ports",
    "PurgeReceipt": "ports",
    "QuotaExceededError": "errors",
    "RateLimitError": "errors",
    "RecoveryExecutor": "recovery",
    "RecoveryPlan": "recovery",
    "RecoveryRegistrar": "recovery",
    "RedactionRule": "privacy",
    "Redactor": "privacy",
    "RenewalCompleted": "events",
    "RenewalFailed": "events",
    "RenewalResult": "lifecycle.session",
    "RenewalStarted": "events",
    "RequestRefusedError": "errors",
    "RetentionPolicy": "privacy",
    "SessionConfig": "lifecycle.config",
    "SessionCredential": "runtime.vault",
    "SessionDiagnostics": "lifecycle.diagnostics",
    "SessionEnded": "events",
    "SessionEndedError": "errors",
    "SessionError": "errors",
    "SessionErrorEvent": "events",
    "SessionHealth": "lifecycle.health",
    "SessionInfo": "lifecycle.session",
    "SessionLimitError": "errors",
    "SessionManager": "runtime.manager",
    "SessionNotFoundError": "errors",
    "SessionRenewalError": "errors",
    "SessionRenewed": "events",
    "SessionStartError": "errors",
    "SessionStarted": "events",
    "SessionTimerManager": "runtime.timers",
    "StateChanged": "events",
    "Statistics": "lifecycle.session",
    "Subscription": "subscription",
    "TimerStatus": "lifecycle.diagnostics",
    "TimerStatuses": "lifecycle.diagnostics",
    "TranscriptStore": "privacy",
    "Trigger": "lifecycle.session",
    "Turn": "ports",
    "Usage": "lifecycle.usage",
    "UsageCounted": "events",
    "VoicePilotError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"voicepilot.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
