"""What a managed connection gets of the manager: one session, its keys, its hooks, its transcript and its end."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from msgspec import structs

from voicepilot.errors import AttemptRefusedError, Fault, SessionError, SessionRenewalError
from voicepilot.lifecycle.inputs import ConnectionReported, Hook, UsageReported
from voicepilot.lifecycle.phases import RUNNING, Phase
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, info
from voicepilot.lifecycle.steps import NOT_ACTIVE
from voicepilot.lifecycle.usage import Usage
from voicepilot.ports import Clock
from voicepilot.runtime.perform import Performer
from voicepilot.runtime.registry import Close, Entry, Warn
from voicepilot.runtime.renewals import next_key
from voicepilot.runtime.supervisor import marked_inside, others_code
from voicepilot.runtime.vault import SessionCredential
from voicepilot.subscription import Subscription

T = TypeVar("T")


class SessionLink:
    """The `ManagedSession` of one session of one manager."""

    def __init__(self, performer: Performer, entry: Entry, clock: Clock, logger: logging.Logger) -> None:
        self._performer = performer
        self._entry = entry
        self._clock = clock
        self._logger = logger
        self._before = 0  # the last ticket but one whose key was given to a dial

    @property
    def session_id(self) -> str:
        """Which session."""
        return self._entry.session.session_id

    def now(self) -> float:
        """The time on the manager's clock."""
        return self._clock.now()

    # --- keys -------------------------------------------------------------------------------------------------------

    async def fresh_credential(self) -> SessionCredential:
        """A good key that no dial has been given yet, fetched by a renewal where there is none.

        Raises `SessionRenewalError` with the fault of the attempt that failed; whoever dials makes the next.
        """
        while (credential := self._unused()) is None:
            fault = await next_key(self._performer, self._entry)
            if fault is not None:
                raise SessionRenewalError(self._fault(fault), session_id=self.session_id)
        return credential

    def _fault(self, fault: Fault) -> Fault:
        """A session that is ending has no keys any more, and ends the connection by itself, for its own reason."""
        ending = fault.code == NOT_ACTIVE and self._entry.session.phase is Phase.ENDING
        return structs.replace(fault, retryable=True) if ending else fault

    def _unused(self) -> SessionCredential | None:
        session = self._entry.session
        lease = session.key if session.has_good_key(self.now()) else None
        unused = lease is not None and lease.ticket > self._entry.dialled
        key = self._performer.vault.get(session.session_id, lease.ticket) if lease and unused else None
        if lease is None or key is None:
            return None
        self._before, self._entry.dialled = self._entry.dialled, lease.ticket
        return SessionCredential(session_id=session.session_id, key=key, expires_at=lease.expires_at)

    async def through_breaker(self, operation: Callable[[], Awaitable[T]], *, endpoint: str) -> T:
        """Make one attempt at a connection, through the recovery executor where there is one."""
        try:
            return await self._performer.recovery.connect(operation, self.session_id, endpoint)
        except AttemptRefusedError:
            self._entry.dialled = self._before  # nobody was shown the key: the next dial may have it
            raise

    # --- what is reported -------------------------------------------------------------------------------------------

    def report(self, phase: ConnectionPhase, status: ConnectionStatus, fault: Fault | None = None) -> None:
        """Say how the connection is."""
        self._performer.apply(self._entry, ConnectionReported(status, fault, phase))

    def note_activity(self) -> None:
        """Note that somebody spoke or typed."""
        self._performer.note_activity(self._entry)

    def report_usage(self, usage: Usage) -> None:
        """Add to what the session has used."""
        self._performer.apply(self._entry, UsageReported(usage))

    # --- the application's part -------------------------------------------------------------------------------------

    async def suspending(self, reason: str) -> None:
        """Let the application's hook know that the connection is about to be swapped."""
        await self._hook(Hook.SUSPENDING, reason)

    async def resumed(self) -> None:
        """Let the application's hook know that it is swapped."""
        await self._hook(Hook.RESUMED)

    async def _hook(self, name: Hook, *more: str) -> None:
        hook = self._performer.hooks.find(name.value)
        if hook is None:
            return
        limit = self._entry.session.config.hook_timeout_seconds
        try:
            with marked_inside(self._performer.supervisor), others_code():
                async with asyncio.timeout(limit):
                    answer = hook(info(self._entry.fold()), *more)
                    if inspect.isawaitable(answer):
                        await answer
        except Exception:
            self._logger.warning("%s failed for session %s", name.value, self.session_id, exc_info=True)

    # --- the transcript ---------------------------------------------------------------------------------------------

    def hear(self, event: Mapping[str, Any]) -> None:
        """Let a server event's words into the session's transcript."""
        self._performer.transcripts.hear(self.session_id, event)

    def forget(self, item_id: str) -> None:
        """Take an utterance out of the transcript."""
        self._performer.transcripts.forget(self.session_id, item_id)

    # --- the connection's own life ----------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that the manager waits for; what it raises is logged."""
        task = self._performer.supervisor.spawn(self._caught(work, name), name)
        task.add_done_callback(lambda _: work.close())  # where it was cancelled before it began
        return task

    async def _caught(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            with others_code():
                await work
        except Exception:
            self._logger.exception("%s of session %s raised", name, self.session_id)

    def attach(self, close: Close, warn: Warn | None = None) -> Subscription:
        """Have `close(reason)` awaited when the session ends, unless the handle is disposed before."""
        entry = self._entry
        if entry.session.phase not in RUNNING:
            raise SessionError(
                f"session {self.session_id} is {entry.session.phase}, not active",
                session_id=self.session_id,
                remediation="Connect a session that start_session has returned and that has not ended.",
            )
        if entry.attached is not None:
            raise SessionError(
                f"session {self.session_id} has a conversation already",
                session_id=self.session_id,
                remediation="Close that conversation first, or start another session for a second one.",
            )
        entry.attached, entry.warn = close, warn

        def detach() -> None:
            entry.attached = entry.warn = None  # nobody else can have attached himself meanwhile

        return Subscription(detach)
