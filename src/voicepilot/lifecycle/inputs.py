"""What can happen to a session, in the past tense."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from voicepilot.errors import Fault
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, Deadline, Trigger
from voicepilot.lifecycle.usage import Usage
from voicepilot.ports import PurgeReceipt


class Hook(StrEnum):
    """The four moments at which the application is asked to do its part."""

    READY = "on_session_ready"
    SUSPENDING = "on_session_suspending"
    RESUMED = "on_session_resumed"
    ENDING = "on_session_ending"


class StartRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody called start_session."""


class SlotReserved(msgspec.Struct, frozen=True, gc=False):
    """The session counts against the limit from now on."""


class SlotRefused(msgspec.Struct, frozen=True, gc=False):
    """As many sessions are live as are allowed."""

    fault: Fault


class KeyMinted(msgspec.Struct, frozen=True, gc=False):
    """A key arrived; the vault has it under the ticket."""

    ticket: int
    expires_in: float
    remote_session_id: str | None = None


class MintFailed(msgspec.Struct, frozen=True, gc=False):
    """A key did not arrive."""

    ticket: int
    fault: Fault
    retry_in: float | None = None  # seconds, when a recovery policy has spoken
    counts: bool = True  # False: refused before it was tried, so it costs no attempt


class HookFinished(msgspec.Struct, frozen=True, gc=False):
    """A hook returned, failed, or ran out of time; all three count as done."""

    hook: Hook


class RenewRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody waits for the next key: he called renew_session, or a managed connection is to be dialled with it."""

    trigger: Literal[Trigger.MANUAL, Trigger.CONNECTION] = Trigger.MANUAL


class EndRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants the session over."""

    reason: str


class PauseRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody called pause_session."""


class ResumeRequested(msgspec.Struct, frozen=True, gc=False):
    """Somebody called resume_session."""


class HoldTaken(msgspec.Struct, frozen=True, gc=False):
    """Inactivity and heartbeat must stand still for `holder`, such as a recovery operation."""

    holder: str


class HoldReleased(msgspec.Struct, frozen=True, gc=False):
    """`holder` no longer needs them to stand still."""

    holder: str


class PlanWorked(msgspec.Struct, frozen=True, gc=False):
    """A recovery step helped after a round had failed, so that another attempt is worth making soon."""


class ConfigUpdated(msgspec.Struct, frozen=True, gc=False):
    """The session behaves by `config` from now on."""

    config: SessionConfig


class ConnectionReported(msgspec.Struct, frozen=True, gc=False):
    """The transport said how the realtime connection is."""

    status: ConnectionStatus
    fault: Fault | None = None
    phase: ConnectionPhase | None = None  # None: a transport of the application's own, which has none


class UsageReported(msgspec.Struct, frozen=True, gc=False):
    """The provider said what was used; it adds to what was used before."""

    usage: Usage


class KeyRejected(msgspec.Struct, frozen=True, gc=False):
    """The provider refused the session's current key when a transport used it."""

    fault: Fault


class DeadlinePassed(msgspec.Struct, frozen=True, gc=False):
    """A moment the session waited for has come."""

    deadline: Deadline


class ConnectionClosed(msgspec.Struct, frozen=True, gc=False):
    """The connection is closed and the provider told, or there was no time left for it."""


class Purged(msgspec.Struct, frozen=True, gc=False):
    """The session's personal data is gone, or the receipt says what is left."""

    receipt: PurgeReceipt


Input = (
    StartRequested
    | SlotReserved
    | SlotRefused
    | KeyMinted
    | MintFailed
    | HookFinished
    | RenewRequested
    | EndRequested
    | PauseRequested
    | ResumeRequested
    | HoldTaken
    | HoldReleased
    | PlanWorked
    | ConfigUpdated
    | ConnectionReported
    | UsageReported
    | KeyRejected
    | DeadlinePassed
    | ConnectionClosed
    | Purged
)
