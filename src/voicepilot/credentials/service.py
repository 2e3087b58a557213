"""EphemeralKeyService: fetches each session's ephemeral keys from the provider, and keeps none of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Protocol, TypeVar

import msgspec
from yarl import URL

from voicepilot.clock import SystemClock
from voicepilot.credentials.credential import CredentialLike
from voicepilot.credentials.http import HttpClient
from voicepilot.credentials.lapses import Lapses
from voicepilot.credentials.news import Channel, KeyExpired, KeyRefused, KeyRenewed
from voicepilot.credentials.profiles import MIN_KEY_LIFE, OpenAIProfile, Profile
from voicepilot.credentials.provider import ProviderSettings, credential_of, profile_of
from voicepilot.credentials.replies import key_from
from voicepilot.credentials.turns import Turn
from voicepilot.errors import (
    AttemptRefusedError,
    AuthenticationError,
    Fault,
    FaultDomain,
    KeyServiceError,
    KeyTimeoutError,
    MissingCredentialsError,
    NotInitializedError,
    OperationTimeoutError,
    PermissionDeniedError,
    RequestRefusedError,
    SessionEndedError,
    VoicePilotError,
)
from voicepilot.network.reply import Reply
from voicepilot.network.secrets import Secret
from voicepilot.ports import Clock, EphemeralKey, KeyRequest, OperationContext, RecoveryExecutor
from voicepilot.subscription import Subscription

T = TypeVar("T")

AUTHENTICATION_TEST = "authentication-test"
"""The session that a key is asked for when only the asking matters."""

_CREDENTIAL_FAULTS = (AuthenticationError, PermissionDeniedError, MissingCredentialsError)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait and how much to do at once."""

    total_seconds: float = 10.0  # for having the credential, and again for a request with its answer
    connect_seconds: float = 5.0  # for the connection alone
    concurrent_mints: int = 16  # the others wait their turn, first come first served


class Transport(Protocol):
    """What carries a mint to the provider."""

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send and receive. Raises a KeyServiceError."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class AuthenticationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `test_authentication()` found out."""

    success: bool
    profile: str
    endpoint: str  # the address keys are asked from
    has_valid_credentials: bool | None  # None: not known, because the provider was not reached
    can_create_sessions: bool
    latency: float  # seconds
    note: str  # what the test did, for people
    fault: Fault | None = None  # what to fix; its remediation says how


class _Mint:
    """One request under way or in the queue, which `end_session` and `dispose` can end."""

    def __init__(self) -> None:
        self.scope = asyncio.timeout(None)
        self.verdict: VoicePilotError | None = None

    def end(self, verdict: VoicePilotError) -> None:
        if self.verdict is None:
            self.verdict = verdict
            self.scope.reschedule(asyncio.get_running_loop().time())


class EphemeralKeyService:
    """Implements `ports.KeyMinter`, `ports.TakesTurns` and `ports.Collaborator`.

    `provider` is a profile, or settings that choose one. Without `credential`, settings say where it comes from, and
    a profile takes its environment variable. A credential given as an object stays the caller's to close.
    Raises ConfigurationError when no credential may be sent to the provider's address.
    """

    def __init__(
        self,
        provider: Profile | ProviderSettings,
        *,
        credential: CredentialLike | None = None,
        clock: Clock | None = None,
        logger: logging.Logger | None = None,
        limits: Limits | None = None,
        transport: Callable[[], Transport] | None = None,
        recovery_executor: RecoveryExecutor | None = None,
    ) -> None:
        self._provider = provider
        self.profile: Profile = profile_of(provider)
        self._credential = credential_of(provider, given=credential)
        self._owned = self._credential if credential is None else None
        self._clock = clock or SystemClock()
        self._logger = logger or logging.getLogger("voicepilot.credentials")
        self._limits = limits or _limits(provider)
        self._recovery = recovery_executor  # for what no session's deadlines bring again
        self._transport_factory = transport or self._http_client
        self._transport: Transport | None = None
        self._gate = asyncio.Semaphore(self._limits.concurrent_mints)
        self._taken: dict[str, Turn] = {}  # by session: a turn that has come, for its next request
        self._mints: dict[str, set[_Mint]] = {}
        self._lapses = Lapses(self._clock.now, self._lapsed)
        self._renewed: Channel[KeyRenewed] = Channel("on_key_renewed", self._logger)
        self._expired: Channel[KeyExpired] = Channel(
            "on_key_expired", self._logger, on_change=lambda: self._lapses.watch(bool(self._expired))
        )
        self._refused: Channel[KeyRefused] = Channel("on_authentication_error", self._logger)

    @property
    def endpoint(self) -> str:
        """The host keys are asked from; recovery has a breaker for each."""
        return URL(self.profile.mint_url).authority

    @property
    def is_initialized(self) -> bool:
        """Whether keys can be asked for."""
        return self._transport is not None

    async def initialize(self) -> None:
        """Open the HTTP client. Talks to nobody, so a wrong credential shows at the first mint. Idempotent."""
        if self._transport is None:
            self._gate = asyncio.Semaphore(self._limits.concurrent_mints)
            self._transport = self._transport_factory()

    async def dispose(self) -> None:
        """End the mints under way, close every connection, forget every subscriber. Idempotent."""
        transport, self._transport = self._transport, None
        self._taken.clear()
        for mint in [mint for mints in self._mints.values() for mint in mints]:
            mint.end(NotInitializedError("EphemeralKeyService", "EphemeralKeyService was disposed during the request"))
        self._lapses.close()
        for channel in (self._renewed, self._expired, self._refused):
            channel.clear()
        if transport is not None:
            await transport.close()
            if self._owned is not None:
                await self._owned.close()

    async def __aenter__(self) -> EphemeralKeyService:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.dispose()

    async def request_ephemeral_key(self, request: KeyRequest) -> EphemeralKey:
        """A session's first key. Raises a KeyServiceError; SessionEndedError when `end_session` comes first."""
        return await self._key(request, first=True)

    async def renew_key(self, request: KeyRequest) -> EphemeralKey:
        """A session's next key, as `request_ephemeral_key`."""
        return await self._key(request, first=False)

    async def take_turn(self, session_id: str) -> Callable[[], None]:
        """Wait until the session's next request may go out at once, and say how that is given back. Raises as it does.

        Whoever judges how long a request takes waits here first. A request without a turn waits by itself.
        """
        self._ready_transport()
        turn = await self._own_turn(session_id)
        self._taken[session_id] = turn
        return partial(self._give_back, session_id, turn)

    async def end_session(self, session_id: str) -> None:
        """Forget the session and end its mints under way or in the queue. Never raises.

        No provider documents a route that revokes a key or ends a session that was only minted (wire sheet, C and G).
        """
        for mint in list(self._mints.get(session_id, ())):
            mint.end(SessionEndedError("the session was ended while its key was asked for", session_id=session_id))
        self._lapses.forget(session_id)

    async def test_authentication(self) -> AuthenticationReport:
        """Whether a key can be had. Only a mint can tell, so this asks for a key of 10 s and drops it.

        The recovery executor, if there is one, decides whether to ask again. Raises NotInitializedError only; whatever
        else goes wrong is in the report.
        """
        self._ready_transport()
        turn = await self._own_turn(AUTHENTICATION_TEST)  # given back by the first attempt; others wait again
        started = asyncio.get_running_loop().time()
        fault: Fault | None = None
        request = KeyRequest(session_id=AUTHENTICATION_TEST, life_seconds=MIN_KEY_LIFE)
        mint = partial(self._limited_mint, request, turn)
        try:
            await (self._recovery.execute(mint, self._test_context()) if self._recovery else mint())
        except (KeyServiceError, AttemptRefusedError, OperationTimeoutError) as error:
            fault = error.fault
        finally:
            turn.give_back()
        return AuthenticationReport(
            success=fault is None,
            profile=self.profile.name,
            endpoint=self.profile.mint_url,
            has_valid_credentials=_credential_verdict(fault),
            can_create_sessions=fault is None,
            latency=asyncio.get_running_loop().time() - started,
            note="asked for a key with the shortest life the provider offers (10 s) and dropped it",
            fault=fault,
        )

    def _test_context(self) -> OperationContext:
        return OperationContext(
            operation="test_authentication",
            session_id=None,
            code="AUTHENTICATION_TEST_FAILED",
            message="could not find out whether a key can be had",
            remediation="Check the provider's credentials and the network.",
            correlation_id=AUTHENTICATION_TEST,
            fault_domain=FaultDomain.AUTH,
            severity="warning",
            user_impact="none",
            endpoint=self.endpoint,
        )

    def set_credential(self, credential: CredentialLike) -> None:
        """Use another credential from the next mint on; keys already given stay good."""
        self._credential = credential_of(self._provider, given=credential)

    def on_key_renewed(self, handler: Callable[[KeyRenewed], object]) -> Subscription:
        """Call `handler` whenever a session has been given a key. Raises TypeError for an async function."""
        return self._renewed.subscribe(handler)

    def on_key_expired(self, handler: Callable[[KeyExpired], object]) -> Subscription:
        """Call `handler` when a session's key ends without a next one. Subscribe within the running loop."""
        return self._expired.subscribe(handler)

    def on_authentication_error(self, handler: Callable[[KeyRefused], object]) -> Subscription:
        """Call `handler` when a session gets no key because of the credential: missing, 401 or 403."""
        return self._refused.subscribe(handler)

    async def _key(self, request: KeyRequest, *, first: bool) -> EphemeralKey:
        turn = self._taken.pop(request.session_id) if request.session_id in self._taken else Turn(self._gate)
        try:
            key = await self._limited_mint(request, turn)
        except _CREDENTIAL_FAULTS as error:
            self._refused.publish(KeyRefused(session_id=request.session_id, fault=error.fault))
            raise
        self._lapses.note(request.session_id, key.expires_in)
        self._renewed.publish(KeyRenewed(session_id=request.session_id, expires_in=key.expires_in, first=first))
        return key

    async def _limited_mint(self, request: KeyRequest, turn: Turn) -> EphemeralKey:
        """One mint in its turn, which is used up by it."""
        try:
            transport = self._ready_transport()
            return await self._endable(request.session_id, partial(self._mint, request, turn, transport))
        finally:
            turn.give_back()

    async def _own_turn(self, session_id: str) -> Turn:
        turn = Turn(self._gate)
        try:
            await self._endable(session_id, turn.come)
        except BaseException:
            turn.give_back()
            raise
        return turn

    def _give_back(self, session_id: str, turn: Turn) -> None:
        if self._taken.get(session_id) is turn:
            del self._taken[session_id]
        turn.give_back()

    async def _endable(self, session_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, unless `end_session` or `dispose` ends it first, at whatever await."""
        mint = _Mint()
        mints = self._mints.setdefault(session_id, set())
        mints.add(mint)
        try:
            async with mint.scope:
                given = await work()
                if mint.verdict is None:  # else it was ended in the very moment that it was done
                    return given
        except TimeoutError:
            if mint.verdict is None:
                raise
        finally:
            mints.discard(mint)
            if not mints:
                self._mints.pop(session_id, None)
        raise mint.verdict

    async def _mint(self, request: KeyRequest, turn: Turn, transport: Transport) -> EphemeralKey:
        await turn.come()
        body = self._body(request)
        secret = await self._secret(refresh=False)
        try:
            return await self._attempt(request, body, secret, transport)
        except AuthenticationError as error:
            refused = error
        fresh = await self._secret(refresh=True)
        if fresh.same_as(secret):
            raise refused
        return await self._attempt(request, body, fresh, transport)

    async def _attempt(self, request: KeyRequest, body: bytes, secret: Secret, transport: Transport) -> EphemeralKey:
        slept = self._time_asleep()
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                reply = await transport.post(self.profile.mint_url, headers=self.profile.headers(secret), body=body)
        except TimeoutError:
            late = KeyTimeoutError(f"no answer to the key request within {self._limits.total_seconds:g} s")
        else:
            # While the machine slept the key aged, and the answer that waited for us does not know it.
            aged = reply._replace(body_seconds=reply.body_seconds + max(0.0, self._time_asleep() - slept))
            return key_from(aged, profile=self.profile, request=request, secret=secret)
        raise late

    def _time_asleep(self) -> float:
        """Seconds, from an arbitrary beginning, that our clock has counted and the event loop has not."""
        return self._clock.now() - asyncio.get_running_loop().time()

    async def _secret(self, *, refresh: bool) -> Secret:
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                return await self._credential.secret(refresh=refresh)
        except TimeoutError:
            late = KeyTimeoutError(
                f"the credential was not to be had within {self._limits.total_seconds:g} s", code="CREDENTIAL_TIMEOUT"
            )
        raise late

    def _body(self, request: KeyRequest) -> bytes:
        try:
            return self.profile.body(request)
        except (TypeError, ValueError, RecursionError) as error:
            reason = type(error).__name__
        raise RequestRefusedError(
            f"the session options cannot be sent as JSON ({reason})",
            code="SESSION_OPTIONS_INVALID",
            remediation="Use only what JSON has: texts, numbers, lists, dicts with text keys; model is a text.",
        )

    def _ready_transport(self) -> Transport:
        if self._transport is None:
            raise NotInitializedError("EphemeralKeyService")
        return self._transport

    def _http_client(self) -> HttpClient:
        return HttpClient(
            self._clock,
            secure=self.profile.mint_url.startswith("https"),
            connect_timeout=self._limits.connect_seconds,
            connections=self._limits.concurrent_mints,
        )

    def _lapsed(self, session_id: str) -> None:
        self._expired.publish(KeyExpired(session_id=session_id))


def _limits(provider: Profile | ProviderSettings) -> Limits:
    if isinstance(provider, OpenAIProfile):
        return Limits()
    return Limits(
        total_seconds=provider.mint_timeout_seconds,
        connect_seconds=provider.connect_timeout_seconds,
        concurrent_mints=provider.max_concurrent_mints,
    )


def _credential_verdict(fault: Fault | None) -> bool | None:
    if fault is None:
        return True
    if fault.code == MissingCredentialsError.code or fault.status == 401:
        return False
    # Any other answer came from behind the credential check, as far as one can tell from outside.
    return True if fault.status in {403, 404, 429} else None
