"""Recovery: a breaker for each endpoint, policies that say when to try again, and plans for when that is no use."""

from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.recovery.breaker_state import Breaker, Circuit
from voicepilot.recovery.executor import RecoveryExecutor
from voicepilot.recovery.news import (
    AttemptFailed,
    AttemptRefused,
    CircuitMoved,
    ErrorReported,
    OperationOver,
    Recovery,
    Result,
    RetryScheduled,
)
from voicepilot.recovery.plan import Fallback, RecoveryPlan, RecoveryStep
from voicepilot.recovery.policy import ENVELOPES, Backoff, Jitter, RetryPolicy
from voicepilot.recovery.registrar import RecoveryRegistrar
from voicepilot.subscription import Subscription

__all__ = [
    "ENVELOPES",
    "AttemptFailed",
    "AttemptRefused",
    "Backoff",
    "Breaker",
    "BreakerOptions",
    "Circuit",
    "CircuitMoved",
    "ErrorReported",
    "Fallback",
    "Jitter",
    "OperationOver",
    "Recovery",
    "RecoveryExecutor",
    "RecoveryPlan",
    "RecoveryRegistrar",
    "RecoveryStep",
    "Result",
    "RetryPolicy",
    "RetryScheduled",
    "Subscription",
]
