"""What the core orders, in the imperative. The runtime carries it out and answers with inputs."""

from __future__ import annotations

import msgspec

from voicepilot.errors import Fault
from voicepilot.events import Event
from voicepilot.lifecycle.inputs import Hook
from voicepilot.lifecycle.session import RenewalResult


class ReserveSlot(msgspec.Struct, frozen=True, gc=False):
    """Count the session against the limit. Answered by SlotReserved or SlotRefused."""


class ReleaseSlot(msgspec.Struct, frozen=True, gc=False):
    """Let another session have the slot."""


class MintKey(msgspec.Struct, frozen=True, gc=False):
    """Fetch a key. Answered by KeyMinted or MintFailed with the same ticket."""

    ticket: int
    attempt: int
    first: bool  # the session's first key, not a renewal
    limit: float  # seconds this attempt may take
    patience: float | None = None  # seconds it can be put off without risking a key that is still good


class ReleaseKey(msgspec.Struct, frozen=True, gc=False):
    """Forget the key fetched with this ticket."""

    ticket: int


class RunHook(msgspec.Struct, frozen=True, gc=False):
    """Call the application's hook, after those ordered before it. Answered by HookFinished."""

    hook: Hook
    reason: str
    limit: float


class StopWork(msgspec.Struct, frozen=True, gc=False):
    """Cancel whatever runs for the session (mint, hook) and forget what waits."""


class CloseConnection(msgspec.Struct, frozen=True, gc=False):
    """Close the realtime connection and tell the provider. Answered by ConnectionClosed."""

    limit: float


class Purge(msgspec.Struct, frozen=True, gc=False):
    """Purge the session's personal data. Answered by Purged."""

    reason: str
    limit: float


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Tell the observers."""

    event: Event


class RunPlan(msgspec.Struct, frozen=True, gc=False):
    """A round is over without a key: let the recovery plan do what it can."""

    ticket: int
    attempt: int
    first: bool
    fault: Fault


class AnswerStart(msgspec.Struct, frozen=True, gc=False):
    """start_session may return, or raise for `fault`; `ended` says that the session was ended instead."""

    fault: Fault | None = None
    ended: bool = False


class AnswerRenewal(msgspec.Struct, frozen=True, gc=False):
    """Everybody who waits for the renewal may go on."""

    result: RenewalResult


class AnswerDials(msgspec.Struct, frozen=True, gc=False):
    """Connections that wait for a key may go on: there is one, or an attempt gave none, and each dials again later."""

    fault: Fault | None = None


class AnswerEnd(msgspec.Struct, frozen=True, gc=False):
    """Everybody who waits for the end may go on."""


class Forget(msgspec.Struct, frozen=True, gc=False):
    """Drop the session from the registry after this many seconds."""

    after: float = 0.0


Effect = (
    ReserveSlot
    | ReleaseSlot
    | MintKey
    | ReleaseKey
    | RunHook
    | StopWork
    | CloseConnection
    | Purge
    | Publish
    | RunPlan
    | AnswerStart
    | AnswerRenewal
    | AnswerDials
    | AnswerEnd
    | Forget
)
Effects = tuple[Effect, ...]
