"""The words of a purge: what kinds of data there are, what can be purged, and why."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from voicepilot.errors import ConfigurationError
from voicepilot.ports import PurgeOrder

EVERY_SESSION = "*"
"""The `session_id` of an order that is meant for all sessions. No session is called so."""


class DataClass(StrEnum):
    """Kinds of personal data; each has a retention window of its own."""

    AUDIO = "audio"
    PARTIAL_TRANSCRIPT = "partial-transcript"
    FINAL_TRANSCRIPT = "final-transcript"
    DIAGNOSTICS = "diagnostics"


class PurgeTarget(StrEnum):
    """What an order is about."""

    ALL = "all"
    AUDIO = "audio"
    TRANSCRIPTS = "transcripts"  # partial and final
    DIAGNOSTICS = "diagnostics"
    LOGS = "logs"  # the seed's word for diagnostics


class PurgeReason(StrEnum):
    """Why data is purged. The lifecycle gives all but the last four."""

    USER_REQUESTED = "user-requested"
    INACTIVITY_TIMEOUT = "inactivity-timeout"
    LIMIT_REACHED = "limit-reached"
    START_FAILED = "start-failed"
    START_CANCELLED = "start-cancelled"
    RENEWAL_FAILED = "renewal-failed"
    FORCE_TERMINATION = "force-termination"
    RECOVERY = "recovery"
    DISPOSED = "disposed"
    SESSION_ENDED = "session-ended"  # for an end with a reason of the application's own
    SESSION_TIMEOUT = "session-timeout"
    CONSENT_WITHDRAWN = "consent-withdrawn"
    POLICY_UPDATE = "policy-update"  # a sweep of what a new policy no longer keeps
    RETENTION_EXPIRED = "retention-expired"  # an ordinary sweep


CLASSES: Mapping[PurgeTarget, frozenset[DataClass]] = {
    PurgeTarget.ALL: frozenset(DataClass),
    PurgeTarget.AUDIO: frozenset({DataClass.AUDIO}),
    PurgeTarget.TRANSCRIPTS: frozenset({DataClass.PARTIAL_TRANSCRIPT, DataClass.FINAL_TRANSCRIPT}),
    PurgeTarget.DIAGNOSTICS: frozenset({DataClass.DIAGNOSTICS}),
    PurgeTarget.LOGS: frozenset({DataClass.DIAGNOSTICS}),
}
"""Which data each target means."""

TARGETS: Mapping[DataClass, PurgeTarget] = {
    DataClass.AUDIO: PurgeTarget.AUDIO,
    DataClass.PARTIAL_TRANSCRIPT: PurgeTarget.TRANSCRIPTS,
    DataClass.FINAL_TRANSCRIPT: PurgeTarget.TRANSCRIPTS,
    DataClass.DIAGNOSTICS: PurgeTarget.DIAGNOSTICS,
}
"""The target that a sweep of this kind of data names in its receipt."""

W = TypeVar("W", bound=StrEnum)


def known(words: type[W], value: str, field: str) -> W:
    """`value` as one of `words`. Raises ConfigurationError that lists them."""
    try:
        return words(value)
    except ValueError:
        # The value is not shown: who mixes up arguments may have passed what must not be in a log.
        one_of = ", ".join(words)
        raise ConfigurationError(f"{field}: must be one of {one_of}", field=field) from None


def checked_session(session_id: object) -> str:
    """`session_id` if it names one session. Raises ConfigurationError."""
    if not isinstance(session_id, str) or not session_id or session_id == EVERY_SESSION:
        raise ConfigurationError("session_id: must name one session", field="session_id")
    return session_id


def checked(order: PurgeOrder) -> frozenset[DataClass]:
    """The kinds of data that the order means. Raises ConfigurationError for a word that nobody knows."""
    target = known(PurgeTarget, order.target, "target")
    known(PurgeReason, order.reason, "reason")
    if order.session_id != EVERY_SESSION:
        checked_session(order.session_id)
    return CLASSES[target]
