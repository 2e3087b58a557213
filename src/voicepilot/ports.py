"""What a SessionManager must be given: small Protocols, and the data that crosses them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import msgspec

from voicepilot.errors import Fault, FaultDomain
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus
from voicepilot.lifecycle.usage import Usage

T = TypeVar("T")


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is wanted for. A key belongs to the session it was asked for and is never shared."""

    session_id: str
    life_seconds: float = 600.0  # how long the key should stay valid, 10 to 7200
    model: str | None = None  # None: the key service's default; on Azure the deployment name
    session: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])  # provider session options
    labels: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    attempt: int = 1  # counts within one round, from 1


class EphemeralKey:
    """A key as the provider gave it. The value is read with `reveal()`; repr, str and pickle never show it."""

    __slots__ = ("_value", "expires_in", "issued_for", "model", "remote_session_id", "webrtc_url", "websocket_url")

    def __init__(
        self,
        value: str,
        *,
        expires_in: float,
        issued_for: str,
        model: str | None = None,
        remote_session_id: str | None = None,
        websocket_url: str | None = None,
        webrtc_url: str | None = None,
    ) -> None:
        self._value = value
        self.expires_in = expires_in  # seconds of validity left when the answer was received
        self.issued_for = issued_for  # session_id
        self.model = model
        self.remote_session_id = remote_session_id
        self.websocket_url = websocket_url  # where a client opens a realtime WebSocket with this key
        self.webrtc_url = webrtc_url  # where a client posts its SDP offer with this key

    def reveal(self) -> str:
        """The secret itself (`ek_…`). Hand it to the client that connects and to nobody else."""
        return self._value

    def __repr__(self) -> str:
        return f"EphemeralKey(issued_for={self.issued_for!r}, expires_in={self.expires_in!r}, value=<hidden>)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("an EphemeralKey is not pickled or copied: its value must not leave the process")


class KeyMinter(Protocol):
    """Where keys come from. `EphemeralKeyService` is the real one, `voicepilot.testing.FakeKeyService` the fake."""

    async def request_ephemeral_key(self, request: KeyRequest) -> EphemeralKey:
        """The first key of a session. Raises a KeyServiceError; is cancelled when nobody wants the key any more."""
        ...

    async def renew_key(self, request: KeyRequest) -> EphemeralKey:
        """The session's next key. Raises a KeyServiceError; is cancelled when nobody wants the key any more."""
        ...

    async def end_session(self, session_id: str) -> None:
        """Forget the session, and delete what the provider holds for it where a route exists. Never raises."""
        ...


@runtime_checkable
class TakesTurns(Protocol):
    """A KeyMinter that serves only so many at once. To wait for that is no part of an attempt: no breaker judges it."""

    async def take_turn(self, session_id: str) -> Callable[[], None]:
        """Wait until the session's next request may go out. What is returned gives the turn back; idempotent."""
        ...


@runtime_checkable
class Collaborator(Protocol):
    """Something with a life of its own that must be initialised before the manager is."""

    @property
    def is_initialized(self) -> bool:
        """Whether initialize() has completed and dispose() has not been called since."""
        ...

    async def initialize(self) -> None:
        """Make ready for use. Idempotent."""
        ...

    async def dispose(self) -> None:
        """Let go of everything. Idempotent."""
        ...


class SessionDefaults(Protocol):
    """Where new sessions get their behaviour from. `ConfigurationManager` is the real one."""

    @property
    def max_concurrent_sessions(self) -> int:
        """How many sessions may be live at once."""
        ...

    def session_config(self) -> SessionConfig:
        """What a session behaves by unless start_session says otherwise."""
        ...


class Disposable(Protocol):
    """A handle on something that can be taken back."""

    def dispose(self) -> None:
        """Take it back. Idempotent."""
        ...


@runtime_checkable
class ChangingDefaults(Protocol):
    """SessionDefaults that can change while sessions run."""

    def on_defaults_changed(self, handler: Callable[[SessionConfig, SessionConfig], object]) -> Disposable:
        """Call `handler` with the old and the new defaults, once the new ones and the new limit are in force."""
        ...

    async def follow(self) -> None:
        """Notice changes until cancelled; return when there is nothing to wait for. Never raises."""
        ...


class Clock(Protocol):
    """What time it is. The real one counts suspension; tests and the simulator give their own."""

    def now(self) -> float:
        """Seconds since the epoch, anchored once and then moved by a steady clock that counts suspension."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch as the system's wall clock says right now; it may jump."""
        ...


class Host(Protocol):
    """The application around us, such as an editor."""

    def set_context(self, key: str, value: object) -> None:
        """Tell the host something it may show, for example `voicepilot.session.degraded`."""
        ...


class PurgeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Make one session's personal data unreachable."""

    session_id: str
    reason: str  # such as session-ended, inactivity, user-requested, policy-update
    target: str = "all"


class PurgeReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a purge did. Counts only, never content."""

    session_id: str
    reason: str
    target: str = "all"
    cleared: int = 0
    failed: int = 0
    duration: float = 0.0  # seconds
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing was left behind."""
        return self.failed == 0


class Purger(Protocol):
    """Who makes personal data unreachable."""

    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        """Purge what belongs to the order's session and nothing else. A failure is reported, not raised on."""
        ...


PURGE_REASONS = frozenset(
    {
        "disposed",
        "force-termination",
        "inactivity-timeout",
        "limit-reached",
        "renewal-failed",
        "session-ended",
        "start-cancelled",
        "start-failed",
        "user-requested",
    }
)
"""Why a session's end purges its data. An end for a reason of the application's own purges for `session-ended`."""


@runtime_checkable
class FollowsSessions(Protocol):
    """A purger whose retention windows start when a session no longer needs its data."""

    def on_state_changed(self, event: Any) -> None:
        """Hear of a session's change of phase (a `StateChanged` event)."""
        ...


Role = Literal["user", "assistant"]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was said. `text` is redacted; what was taken out is nowhere."""

    utterance_id: str
    sequence: int  # from 1 in each session; a repeat of the utterance keeps it
    role: Role
    text: str
    is_final: bool
    at: float  # seconds since the epoch, when it was said last
    redactions: int = 0  # how many pieces were taken out


class Transcripts(Protocol):
    """Who keeps what was said. `TranscriptStore` is the real one."""

    def hear(self, session_id: str, event: Mapping[str, Any]) -> object:
        """Keep the words that a Realtime server event finishes; other events are nothing."""
        ...

    def drop(self, session_id: str, utterance_id: str) -> None:
        """Forget an utterance."""
        ...

    def turns(self, session_id: str) -> tuple[Turn, ...]:
        """What is kept of a session, in the order in which the utterances began."""
        ...


class Credential(Protocol):
    """A key that opens a connection. `SessionCredential` is the real one."""

    def reveal(self) -> str:
        """The secret itself (`ek_…`)."""
        ...

    @property
    def model(self) -> str | None:
        """The model (on Azure: the deployment) the key was minted for."""
        ...

    @property
    def websocket_url(self) -> str | None:
        """Where to open the WebSocket, if the key service said so."""
        ...


class ManagedSession(Protocol):
    """One session of a manager, as a managed connection needs it."""

    @property
    def session_id(self) -> str:
        """Which session."""
        ...

    def now(self) -> float:
        """The time on the manager's clock, in seconds since the epoch."""
        ...

    async def fresh_credential(self) -> Credential:
        """A good key that no dial has been given yet; the next one is fetched where there is none.

        Raises a SessionError that carries the fault when none can be had now.
        """
        ...

    def report(self, phase: ConnectionPhase, status: ConnectionStatus, fault: Fault | None = None) -> None:
        """Say how the connection is; FAILED is told as a `connection-error`."""
        ...

    def note_activity(self) -> None:
        """Note that somebody spoke or typed. Cheap enough for every audio frame."""
        ...

    def report_usage(self, usage: Usage) -> None:
        """Add to what the session has used, and let its limits look at it."""
        ...

    async def suspending(self, reason: str) -> None:
        """Let the application's hook know that the connection is about to be swapped. Bounded, never raises."""
        ...

    async def resumed(self) -> None:
        """Let the application's hook know that it is swapped. Bounded, never raises."""
        ...

    def hear(self, event: Mapping[str, Any]) -> None:
        """Let a server event's words into the session's transcript. Never raises."""
        ...

    def forget(self, item_id: str) -> None:
        """Take an utterance out of the transcript: it was interrupted and will be said again. Never raises."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that the manager waits for; what it raises is logged."""
        ...

    def attach(
        self, close: Callable[[str], Awaitable[None]], warn: Callable[[str, float, float], None] | None = None
    ) -> Disposable:
        """Have `close(reason)` awaited when the session ends, unless the handle is disposed before.

        `warn(limit, used, allowed)` is called when the session comes near a limit of its config.

        Raises SessionError when the session is not running, or something else is attached to it.
        """
        ...

    async def through_breaker(self, operation: Callable[[], Awaitable[T]], *, endpoint: str) -> T:
        """Make one attempt at a connection through the recovery executor, where there is one.

        Raises the operation's own error, or AttemptRefusedError when the endpoint is given a rest.
        """
        ...


class OperationContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovery executor is told about an operation, in the seed's words."""

    operation: str  # such as "start", "renew", "end", "purge"
    session_id: str | None
    code: str  # the error code if it fails
    message: str
    remediation: str
    correlation_id: str
    fault_domain: FaultDomain = FaultDomain.SESSION
    severity: str = "error"
    user_impact: str = "degraded"
    attempt: int = 1
    endpoint: str | None = None  # whom the operation talks to; one breaker each. None: the executor's default
    patience: float | None = None  # seconds that the attempt can be put off without losing something; None: any
    attempts_scheduled_by_caller: bool = False  # True: run once; the session's own deadlines bring the next attempt
    plan: object | None = None  # what set_recovery_executor was given to run when the executor gives up


class RecoveryExecutor(Protocol):
    """Who runs operations that may fail, with policy, breaker and observers around them."""

    async def execute(self, operation: Callable[[], Awaitable[T]], context: OperationContext) -> T:
        """Run `operation`; raise its error, or a KeyServiceError that says when to try again."""
        ...


@runtime_checkable
class RoundRecovery(Protocol):
    """A recovery executor that also has a say in the attempts that the session's own deadlines bring."""

    def next_due(self, context: OperationContext, error: Exception) -> float | None:
        """Seconds until the next attempt, or None to leave it to the session's config."""
        ...

    async def gave_up(self, context: OperationContext, error: Exception) -> object:
        """Hear that a round is over without a key; run the plan."""
        ...


class RecoveryRegistrar(Protocol):
    """Where the standard remedies are put, so that a recovery plan or a person can run them."""

    def add_step(self, name: str, run: Callable[[str], Awaitable[bool]]) -> None:
        """Offer a step: `run(session_id)` says whether it helped."""
        ...

    def add_fallback(self, mode: str, run: Callable[[str], Awaitable[None]]) -> None:
        """Offer a fallback mode: `run(session_id)` enters it."""
        ...


__all__ = [
    "PURGE_REASONS",
    "ChangingDefaults",
    "Clock",
    "Collaborator",
    "ConnectionPhase",
    "ConnectionStatus",
    "Credential",
    "Disposable",
    "EphemeralKey",
    "FollowsSessions",
    "Host",
    "KeyMinter",
    "KeyRequest",
    "ManagedSession",
    "OperationContext",
    "PurgeOrder",
    "PurgeReceipt",
    "Purger",
    "RecoveryExecutor",
    "RecoveryRegistrar",
    "Role",
    "RoundRecovery",
    "SessionDefaults",
    "TakesTurns",
    "Transcripts",
    "Turn",
    "Usage",
]
