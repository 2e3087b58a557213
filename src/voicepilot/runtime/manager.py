"""SessionManager: what applications call. It checks and translates; the table decides and `perform` acts."""

from __future__ import annotations

import copy
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from voicepilot.clock import SystemClock
from voicepilot.errors import Fault, SessionEndedError, SessionError, SessionNotFoundError
from voicepilot.events import (
    ConnectionChanged,
    DegradedChanged,
    LimitApproaching,
    SessionEnded,
    SessionErrorEvent,
    SessionRenewed,
    SessionStarted,
    StateChanged,
    UsageCounted,
)
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.diagnostics import SessionDiagnostics, diagnose
from voicepilot.lifecycle.health import SessionHealth, check_health
from voicepilot.lifecycle.inputs import (
    ConfigUpdated,
    ConnectionReported,
    EndRequested,
    KeyRejected,
    PauseRequested,
    ResumeRequested,
    UsageReported,
)
from voicepilot.lifecycle.phases import RUNNING, Phase
from voicepilot.lifecycle.session import ConnectionStatus, RenewalResult, Session, SessionInfo, Wish, info
from voicepilot.lifecycle.usage import Usage
from voicepilot.ports import (
    Clock,
    Collaborator,
    FollowsSessions,
    Host,
    KeyMinter,
    Purger,
    RecoveryExecutor,
    RecoveryRegistrar,
    SessionDefaults,
    Transcripts,
    Turn,
)
from voicepilot.runtime.defaults import BuiltInDefaults, follow
from voicepilot.runtime.hooks import ConversationLifecycleHooks
from voicepilot.runtime.life import Life
from voicepilot.runtime.managed import SessionLink
from voicepilot.runtime.perform import Performer
from voicepilot.runtime.registry import Entry
from voicepilot.runtime.remedies import register_remedies
from voicepilot.runtime.renewals import renew
from voicepilot.runtime.starting import new_session_id, start
from voicepilot.runtime.supervisor import is_inside
from voicepilot.runtime.switchboard import Switchboard
from voicepilot.runtime.timers import SessionTimerManager
from voicepilot.runtime.vault import SessionCredential
from voicepilot.subscription import Subscription

if TYPE_CHECKING:
    from voicepilot.conversation.connection import Conversation
    from voicepilot.conversation.driver import Summariser
    from voicepilot.conversation.options import ConversationConfig
    from voicepilot.conversation.ports import Dialler


class SessionManager:
    """Keeps realtime voice sessions alive: their keys, timers, recovery and end.

    Everything it needs comes through the constructor; `SessionManager.from_settings()` puts one together from
    environment and file. Use it as `async with manager:`, or await `initialize()` and `dispose()`.
    """

    def __init__(  # noqa: PLR0913 - everything comes through the constructor
        self,
        key_service: KeyMinter,
        timer_manager: SessionTimerManager | None = None,
        configuration: SessionDefaults | None = None,
        logger: logging.Logger | None = None,
        *,
        privacy_controller: Purger | None = None,
        transcripts: Transcripts | None = None,
        recovery_executor: RecoveryExecutor | None = None,
        recovery_plan: object | None = None,
        host: Host | None = None,
        clock: Clock | None = None,
        dialler: Dialler | None = None,
        owned: Sequence[Collaborator] = (),
        new_session_id: Callable[[], str] = new_session_id,
    ) -> None:
        self._key_service = key_service
        self._new_session_id = new_session_id
        self._configuration = configuration or BuiltInDefaults()
        self._logger = logger or logging.getLogger("voicepilot")
        self._clock = clock or SystemClock()
        self._timers = timer_manager or SessionTimerManager(self._clock, self._logger)
        self._performer = Performer(key_service, self._timers, self._clock, self._logger)
        self._performer.recovery.host = host
        self._switchboard = Switchboard(dialler, self._configuration, self._clock, self._logger)
        owned = (*owned, self._switchboard)
        self._life = Life(self._performer, self._timers, self._clock, self._logger, owned)
        self._life.on_begin = self._follow_configuration
        self._told_moves: Subscription | None = None
        if privacy_controller is not None:
            self.set_privacy_controller(privacy_controller)
        self._performer.transcripts.keeper = transcripts
        if recovery_executor is not None:
            self.set_recovery_executor(recovery_executor, recovery_plan)

    @classmethod
    def from_settings(cls, **overrides: Any) -> SessionManager:
        """A manager put together from defaults, `voicepilot.toml`, the environment, and `overrides`, in that order.

        Raises `ConfigurationError` that names every setting that cannot be used. See `voicepilot.config.Settings`.
        """
        from voicepilot.build import build_manager  # noqa: PLC0415 - the composition root imports us

        return build_manager(**overrides)

    # --- life -------------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Check the collaborators and start. Idempotent; a disposed manager cannot be started again.

        Raises `NotInitializedError` naming the collaborator that must be initialised first.
        """
        needed = {
            "EphemeralKeyService": self._key_service,
            "ConfigurationManager": self._configuration,
            "PrivacyController": self._performer.purger,
        }
        await self._life.initialize(needed)

    async def dispose(self) -> None:
        """End every session, wait for what was started, and let go of everything. May be called twice.

        From inside a hook or handler it is only requested and returns at once.
        """
        await self._life.dispose()

    @property
    def is_initialized(self) -> bool:
        """Whether sessions can be started."""
        return self._life.state == "initialized"

    async def __aenter__(self) -> Self:
        try:
            await self.initialize()
        except BaseException:
            await self.dispose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispose()

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def start_session(
        self,
        config: SessionConfig | Mapping[str, Any] | None = None,
        *,
        model: str | None = None,
        session: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> SessionInfo:
        """Start a session: reserve a slot, fetch its key, arm its timers, and wait for `on_session_ready`.

        `config` is a whole SessionConfig, or changes to the defaults; `model` and `session` (the provider's session
        options) go into every key it fetches; `labels` are yours. Cancelling the call ends the session.

        Raises `ConfigurationError`, `SessionLimitError`, `SessionStartError` (no key could be had; `__cause__` says
        why), or `SessionEndedError` when the session was ended meanwhile.
        """
        self._life.require()
        if self._life.state != "initialized":
            raise SessionEndedError("the SessionManager is being disposed: no session is started any more")
        asked = copy.deepcopy(dict(session)) if session else {}
        wish = Wish(model=model, session=asked, labels=dict(labels or {}))
        return await start(self._performer, self._new_session(config, wish))

    @asynccontextmanager
    async def session(
        self, config: SessionConfig | Mapping[str, Any] | None = None, **wish: Any
    ) -> AsyncIterator[SessionInfo]:
        """`async with manager.session() as session:` starts a session and ends it. Takes what start_session takes."""
        started = await self.start_session(config, **wish)
        try:
            yield started
        finally:
            await self.end_session(started.session_id)

    async def end_session(self, session_id: str | None = None, *, reason: str = "user-requested") -> None:
        """End a session, or the current one, and wait until it is over: at most 2 s, whatever hangs.

        Idempotent; an unknown or ended session is nothing to do, also after dispose. From inside a hook or handler it
        is only requested.
        """
        self._life.require_initialized()
        registry = self._performer.registry
        entry = registry.current() if session_id is None else registry.get(session_id)
        if entry is None:
            return
        over = entry.until_over()
        self._performer.apply(entry, EndRequested(reason))
        if not is_inside(self._performer.supervisor):
            await over

    async def renew_session(self, session_id: str) -> RenewalResult:
        """Fetch the session's next key now, or join the renewal under way.

        A failure is a result with `success=False` and an `error`, never an exception. After a failure the attempt waits
        for the first backoff, and for as long as the provider asked (Retry-After). A cancelled caller leaves the
        renewal running. From inside a hook or handler it is only requested, and the result says so.
        """
        self._life.require()
        entry = self._performer.registry.get(session_id)
        if entry is None:
            return RenewalResult(session_id=session_id, success=False, error=_not_found(session_id).fault)
        return await renew(self._performer, entry)

    async def pause_session(self, session_id: str) -> None:
        """Let inactivity and heartbeat stand still until resume_session; keys are renewed all the same.

        Once, however often it is called. Raises `SessionNotFoundError`, or `SessionError` for a session that is
        starting or over.
        """
        self._performer.apply(self._running(session_id), PauseRequested())

    async def resume_session(self, session_id: str) -> None:
        """Let inactivity and heartbeat run again from where they stood. Raises what pause_session raises."""
        self._performer.apply(self._running(session_id), ResumeRequested())

    async def update_session_config(self, session_id: str, config: SessionConfig | Mapping[str, Any]) -> SessionConfig:
        """Change any option of a live session; deadlines move accordingly. Returns the config now in force.

        Raises `ConfigurationError` (then nothing is changed), `SessionNotFoundError`, or `SessionError` once it ends.
        """
        entry = self._live(session_id)
        updated = config if isinstance(config, SessionConfig) else entry.session.config.changed(config)
        self._performer.apply(entry, ConfigUpdated(updated))
        return updated

    async def test_session_health(self, session_id: str) -> SessionHealth:
        """Check the session's key, renewals, timers, connection and age, with advice. Raises `SessionNotFoundError`."""
        entry = self._known(session_id)
        return check_health(entry.fold(), self._clock.now())

    def reset_inactivity_timer(self, session_id: str) -> None:
        """Note that somebody spoke or typed. Cheap enough for every audio frame; an unknown id is nothing to do."""
        entry = self._performer.registry.get(session_id)
        if entry is None:
            self._life.require_initialized()
        else:
            self._performer.note_activity(entry)

    # --- questions --------------------------------------------------------------------------------------------------

    def get_session_info(self, session_id: str) -> SessionInfo | None:
        """A frozen snapshot, or None when the session is unknown."""
        self._life.require()
        entry = self._performer.registry.get(session_id)
        return info(entry.fold()) if entry else None

    def get_current_session(self) -> SessionInfo | None:
        """The most recently active session that is live, in whatever phase."""
        self._life.require()
        entry = self._performer.registry.current()
        return info(entry.fold()) if entry else None

    def get_all_sessions(self) -> tuple[SessionInfo, ...]:
        """Every session known: live, ending, and failed ones until they are forgotten."""
        self._life.require()
        return tuple(info(entry.fold()) for entry in self._performer.registry)

    def is_session_active(self, session_id: str | None = None) -> bool:
        """Whether a session, or the current one, is active or renewing."""
        self._life.require()
        registry = self._performer.registry
        entry = registry.current() if session_id is None else registry.get(session_id)
        return entry is not None and entry.session.phase in {Phase.ACTIVE, Phase.RENEWING}

    def get_session_config(self, session_id: str) -> SessionConfig | None:
        """The config in force, or None when the session is unknown."""
        self._life.require()
        entry = self._performer.registry.get(session_id)
        return entry.session.config if entry else None

    def get_session_diagnostics(self, session_id: str) -> SessionDiagnostics:
        """Timers, key, connection, last error, uptime and next event. Raises `SessionNotFoundError`."""
        return diagnose(self._known(session_id).fold(), self._clock.now())

    def transcript(self, session_id: str) -> tuple[Turn, ...]:
        """What was said so far, redacted; empty where nobody keeps it. Raises `SessionNotFoundError`."""
        self._known(session_id)
        return self._performer.transcripts.turns(session_id)

    def credential(self, session_id: str) -> SessionCredential:
        """The session's current key, for the client that connects: `credential(id).reveal()`.

        Raises `SessionNotFoundError`, or `SessionError` when the session holds no key.
        """
        entry = self._known(session_id)
        lease = entry.session.key
        key = self._performer.vault.get(session_id, lease.ticket) if lease else None
        if lease is None or key is None:
            raise SessionError(
                f"session {session_id} holds no key while {entry.session.phase}",
                session_id=session_id,
                remediation="Wait until start_session has returned, or start a new session.",
            )
        return SessionCredential(session_id=session_id, key=key, expires_at=lease.expires_at)

    def credential_provider(self, session_id: str) -> Callable[[], Awaitable[str]]:
        """An async callable that gives the current key, for `AsyncOpenAI(api_key=…)` and its like."""

        async def current_key() -> str:
            return self.credential(session_id).reveal()

        return current_key

    def connect(
        self,
        session_id: str,
        *,
        model: str | None = None,
        config: ConversationConfig | Mapping[str, Any] | None = None,
        url: str | None = None,
        summarise: Summariser | None = None,
        **session_options: Any,
    ) -> Conversation:
        """A managed realtime connection: `async with manager.connect(session_id) as conversation:`.

        It moves to a new connection before the provider cuts one, and replaces one that falls. `session_options` are
        the provider's (`instructions`, `tools`, `audio`, …); `config` changes how it keeps itself alive, which else is
        as the settings say. `model` and `url` are those of the session's key unless given. `summarise(items)` puts what
        is too long to be said again into a few words. Raises `SessionNotFoundError`, or `ConfigurationError` naming the
        option.
        """
        entry = self._known(session_id)
        link = SessionLink(self._performer, entry, self._clock, self._logger)
        return self._switchboard.conversation(
            link, session_options, config=config, model=model, url=url, summarise=summarise
        )

    # --- what transports report ------------------------------------------------------------------------------------

    def report_connection(self, session_id: str, status: ConnectionStatus, fault: Fault | None = None) -> None:
        """Note how the session's realtime connection is. FAILED is told as a `connection-error`."""
        self._performer.apply(self._known(session_id), ConnectionReported(status, fault))

    def report_key_rejected(self, session_id: str, fault: Fault) -> None:
        """Note that the provider refused the session's key: told as an `authentication-error`, and renewed at once."""
        self._performer.apply(self._known(session_id), KeyRejected(fault))

    def report_usage(self, session_id: str, usage: Usage) -> None:
        """Add to what the session has used, as the provider said; its limits look at the sum."""
        self._performer.apply(self._known(session_id), UsageReported(usage))

    # --- subscriptions and collaborators ----------------------------------------------------------------------------

    def on_session_started(self, handler: Callable[[SessionStarted], Awaitable[None] | None]) -> Subscription:
        """Deliver `session-started` events to `handler`, sync or async, until the handle is disposed."""
        return self._performer.observers.subscribe("started", handler)

    def on_session_ended(self, handler: Callable[[SessionEnded], Awaitable[None] | None]) -> Subscription:
        """Deliver `session-ended` events."""
        return self._performer.observers.subscribe("ended", handler)

    def on_session_renewed(self, handler: Callable[[SessionRenewed], Awaitable[None] | None]) -> Subscription:
        """Deliver `renewal-started`, `renewal-completed` and `renewal-failed` events."""
        return self._performer.observers.subscribe("renewed", handler)

    def on_session_error(self, handler: Callable[[SessionErrorEvent], Awaitable[None] | None]) -> Subscription:
        """Deliver `authentication-error`, `renewal-error`, `timeout-error` and `connection-error` events."""
        return self._performer.observers.subscribe("error", handler)

    def on_session_state_changed(self, handler: Callable[[StateChanged], Awaitable[None] | None]) -> Subscription:
        """Deliver `state-changed` events: every change of phase, exactly once."""
        return self._performer.observers.subscribe("state", handler)

    def on_session_degraded(self, handler: Callable[[DegradedChanged], Awaitable[None] | None]) -> Subscription:
        """Deliver `degraded-changed` events: a session runs worse than it should, or well again."""
        return self._performer.observers.subscribe("degraded", handler)

    def on_connection_changed(self, handler: Callable[[ConnectionChanged], Awaitable[None] | None]) -> Subscription:
        """Deliver `connection-changed` events: a managed connection opens, moves, falls, comes back, or is closed."""
        return self._performer.observers.subscribe("connection", handler)

    def on_limit_approaching(self, handler: Callable[[LimitApproaching], Awaitable[None] | None]) -> Subscription:
        """Deliver `limit-approaching` events: a session is about to be ended by a limit of its config."""
        return self._performer.observers.subscribe("limit", handler)

    def on_session_usage(self, handler: Callable[[UsageCounted], Awaitable[None] | None]) -> Subscription:
        """Deliver `usage-counted` events: the provider said what a session used."""
        return self._performer.observers.subscribe("usage", handler)

    def register_conversation_hooks(self, hooks: ConversationLifecycleHooks | object) -> Subscription:
        """Make `hooks` the one active set; disposing the handle clears it only if it still is."""
        return self._performer.hooks.register(hooks)

    def set_privacy_controller(self, controller: Purger, transcripts: Transcripts | None = None) -> None:
        """Let `controller` purge each session's data when it ends, and tell it how sessions move if it asks.

        `transcripts` keeps what is said; it must be registered with `controller`, or nothing would purge it.
        """
        if self._told_moves is not None:
            self._told_moves.dispose()
            self._told_moves = None
        self._performer.purger, self._performer.transcripts.keeper = controller, transcripts
        if isinstance(controller, FollowsSessions):
            self._told_moves = self.on_session_state_changed(controller.on_state_changed)

    @property
    def privacy_controller(self) -> Purger:
        """Who purges each session's data; holders register there."""
        return self._performer.purger

    def set_recovery_executor(self, executor: RecoveryExecutor, plan: object | None = None) -> None:
        """Let every attempt at a key pass through `executor`."""
        self._performer.recovery.executor, self._performer.recovery.plan = executor, plan

    def register_recovery_actions(self, registrar: RecoveryRegistrar) -> None:
        """Offer the standard remedies: SESSION_FORCE_TERMINATION, SESSION_PURGE_PRIVACY, and the degraded fallback."""
        register_remedies(registrar, self, self._performer)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _follow_configuration(self) -> Callable[[], None] | None:
        ours = any(id(self._configuration) == id(part) for part in self._life.owned)
        return follow(self._configuration, self._performer, ours=ours)

    def _new_session(self, config: SessionConfig | Mapping[str, Any] | None, wish: Wish) -> Session:
        settled = config if isinstance(config, SessionConfig) else self._configuration.session_config()
        if config is not None and not isinstance(config, SessionConfig):
            settled = settled.changed(config)
        now = self._clock.now()
        session_id = self._new_session_id()
        return Session(session_id=session_id, created_at=now, last_activity=now, config=settled, wish=wish)

    def _known(self, session_id: str) -> Entry:
        entry = self._performer.registry.get(session_id)
        if entry is None:  # there is none before initialize, nor after dispose
            self._life.require()
            raise _not_found(session_id)
        return entry

    def _live(self, session_id: str) -> Entry:
        entry = self._known(session_id)
        if entry.session.phase in {Phase.ENDING, Phase.ENDED, Phase.FAILED}:
            raise SessionError(f"session {session_id} is {entry.session.phase}", session_id=session_id)
        return entry

    def _running(self, session_id: str) -> Entry:
        entry = self._known(session_id)
        if entry.session.phase not in RUNNING:
            raise SessionError(
                f"session {session_id} is {entry.session.phase}, not active",
                session_id=session_id,
                remediation="Wait until start_session has returned.",
            )
        return entry


def _not_found(session_id: str) -> SessionNotFoundError:
    return SessionNotFoundError(f"Session {session_id} not found", session_id=session_id)
