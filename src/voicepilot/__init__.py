"""voicepilot keeps realtime voice sessions alive, for OpenAI and Azure OpenAI Realtime.

Names listed in `__all__` are promised; others may change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from voicepilot.errors import (
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
    SessionStartError,
    VoicePilotError,
)
from voicepilot.events import (
    ErrorType,
    Event,
    RenewalCompleted,
    RenewalFailed,
    RenewalStarted,
    SessionEnded,
    SessionErrorEvent,
    SessionRenewed,
    SessionStarted,
    StateChanged,
)
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.diagnostics import CredentialStatus, NextEvent, SessionDiagnostics, TimerStatus, TimerStatuses
from voicepilot.lifecycle.health import CheckStatus, HealthCheck, SessionHealth
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import ConnectionStatus, RenewalResult, SessionInfo, Statistics, Trigger
from voicepilot.ports import EphemeralKey, KeyRequest, PurgeOrder, PurgeReceipt
from voicepilot.runtime.hooks import ConversationLifecycleHooks
from voicepilot.runtime.manager import SessionManager
from voicepilot.runtime.observers import Subscription
from voicepilot.runtime.timers import SessionTimerManager
from voicepilot.runtime.vault import SessionCredential

if TYPE_CHECKING:
    from voicepilot.config import ConfigurationManager
    from voicepilot.credentials import EphemeralKeyService

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "BadReplyError",
    "CheckStatus",
    "ConfigurationError",
    "ConfigurationManager",
    "ConnectionStatus",
    "ConversationLifecycleHooks",
    "CredentialStatus",
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
    "MissingCredentialsError",
    "NetworkError",
    "NextEvent",
    "NotInitializedError",
    "PermissionDeniedError",
    "Phase",
    "ProviderUnavailableError",
    "PurgeOrder",
    "PurgeReceipt",
    "QuotaExceededError",
    "RateLimitError",
    "RenewalCompleted",
    "RenewalFailed",
    "RenewalResult",
    "RenewalStarted",
    "RequestRefusedError",
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
    "SessionRenewed",
    "SessionStartError",
    "SessionStarted",
    "SessionTimerManager",
    "StateChanged",
    "Statistics",
    "Subscription",
    "TimerStatus",
    "TimerStatuses",
    "Trigger",
    "VoicePilotError",
]

# These bring pydantic and aiohttp, which somebody with a key service of their own need not load.
_LAZY = {"ConfigurationManager": "voicepilot.config", "EphemeralKeyService": "voicepilot.credentials"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
