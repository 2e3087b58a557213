"""What stands between this machine and a realtime session, checked step by step, each failure with its remedy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import msgspec
from yarl import URL

from voicepilot.clock import SystemClock
from voicepilot.credentials.credential import Credential, CredentialLike
from voicepilot.credentials.http import HttpClient
from voicepilot.credentials.profiles import MIN_KEY_LIFE, RETIRING, AzurePreviewProfile, Profile
from voicepilot.credentials.provider import ProviderSettings, credential_of, profile_of
from voicepilot.credentials.service import EphemeralKeyService, Limits
from voicepilot.errors import KeyTimeoutError, VoicePilotError
from voicepilot.network.faults import timestamp
from voicepilot.network.reply import Reply
from voicepilot.network.route import proxy_for
from voicepilot.network.secrets import Secret, scrubbed
from voicepilot.ports import EphemeralKey, KeyRequest

Status: TypeAlias = Literal["pass", "warn", "fail", "skipped"]

# Each check, with those that must not have failed before it makes sense.
CHECKS: dict[str, tuple[str, ...]] = {
    "settings": (),
    "credential": ("settings",),
    "name resolution": ("settings",),
    "tls": ("name resolution",),
    "clock": ("tls",),
    "mint": ("credential", "tls"),
    "websocket": ("mint",),
}
_TOLERATED_SKEW = 5.0  # seconds


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found, in words a person can follow; never a secret."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


async def examine(
    load: Callable[[], Profile | ProviderSettings],
    *,
    credential: CredentialLike | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109 - one limit for each of several steps
) -> tuple[CheckResult, ...]:
    """Run all checks, each within `timeout` seconds; `load` gives the provider, for example `Settings.load().provider`.

    The mint asks for a key of the shortest life (10 s) and the WebSocket is closed after its greeting, so nothing is
    said and no tokens are used. Never raises for what it finds.
    """
    examination = _Examination(load, credential, timeout)
    try:
        return await examination.run()
    finally:
        await examination.close()


def healthy(results: tuple[CheckResult, ...]) -> bool:
    """Whether no check failed."""
    return all(result.status != "fail" for result in results)


class _Examination:
    profile: Profile
    credential: Credential
    client: HttpClient
    secret: Secret
    answer: Reply
    key: EphemeralKey

    def __init__(
        self, load: Callable[[], Profile | ProviderSettings], given: CredentialLike | None, limit: float
    ) -> None:
        self._load = load
        self._given = given
        self._limit = limit
        self._opened = False

    async def run(self) -> tuple[CheckResult, ...]:
        steps: dict[str, Callable[[], Awaitable[CheckResult]]] = {
            "settings": self._settings,
            "credential": self._credential,
            "name resolution": self._names,
            "tls": self._tls,
            "clock": self._clock,
            "mint": self._mint,
            "websocket": self._websocket,
        }
        results: list[CheckResult] = []
        blocked: set[str] = set()
        for name, needs in CHECKS.items():
            hurdle = next((need for need in needs if need in blocked), None)
            if hurdle is not None:
                result = CheckResult(name=name, status="skipped", detail=f"because of {hurdle}")
            else:
                result = await self._limited(name, steps[name])
            if hurdle is not None or result.status == "fail":
                blocked.add(name)
            results.append(result)
        return tuple(results)

    async def close(self) -> None:
        if self._opened:
            await self.client.close()
            if self._given is None:
                await self.credential.close()

    async def _limited(self, name: str, step: Callable[[], Awaitable[CheckResult]]) -> CheckResult:
        try:
            async with asyncio.timeout(self._limit):
                return await step()
        except VoicePilotError as error:
            return CheckResult(name=name, status="fail", detail=str(error), remedy=error.remediation)
        except TimeoutError:
            late = KeyTimeoutError.remediation
            return CheckResult(name=name, status="fail", detail=f"took longer than {self._limit:g} s", remedy=late)

    async def _settings(self) -> CheckResult:
        provider = self._load()
        self.profile = profile_of(provider)
        self.credential = credential_of(provider, given=self._given)
        self.client = HttpClient(
            SystemClock(),
            secure=self.profile.mint_url.startswith("https"),
            connect_timeout=self._limit,
            connections=1,
        )
        self._opened = True
        said = f"profile {self.profile.name}, model {self.profile.model}, keys from {self.profile.mint_url}"
        if isinstance(self.profile, AzurePreviewProfile):
            return _result("settings", "warn", f"{said}; the preview protocol is deprecated", "Use profile azure.")
        end = RETIRING.get(self.profile.model) if self.profile.name == "openai" else None
        if end is not None:
            return _result("settings", "warn", f"{said}; this model shuts down on {end}", "Choose another model.")
        return _result("settings", "pass", said)

    async def _credential(self) -> CheckResult:
        self.secret = await self.credential.secret()
        kind = "an Entra ID token" if self.secret.is_token else "an API key"
        return _result("credential", "pass", f"there is {kind}; whether it is accepted shows below")

    async def _names(self) -> CheckResult:
        url = URL(self.profile.mint_url)
        proxy = proxy_for(str(url))
        if proxy is not None:
            return _result("name resolution", "skipped", f"left to the proxy {URL(proxy).host}")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except OSError:
            remedy = "Check the host name in the base URL, and the network."
            return _result("name resolution", "fail", f"{url.host} cannot be resolved", remedy)
        return _result("name resolution", "pass", f"{url.host} has {len(found)} address{'es' * (len(found) > 1)}")

    async def _tls(self) -> CheckResult:
        url = URL(self.profile.mint_url)
        self.answer = await self.client.head(str(url.origin()))
        if url.scheme == "http":
            return _result("tls", "skipped", f"{url.host} is this machine and speaks plain http")
        return _result("tls", "pass", f"the certificate of {url.host} is trusted")

    async def _clock(self) -> CheckResult:
        date = timestamp(self.answer.headers.get("date"))
        if date is None:
            return _result("clock", "skipped", "the provider does not say what time it is")
        skew = self.answer.received_at - date
        if abs(skew) <= _TOLERATED_SKEW:
            return _result("clock", "pass", "this machine and the provider agree on the time")
        said = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the provider's"
        return _result("clock", "warn", f"{said}; keys are timed by the provider's", "Switch on time synchronisation.")

    async def _mint(self) -> CheckResult:
        started = asyncio.get_running_loop().time()
        service = EphemeralKeyService(
            self.profile, credential=self.credential, limits=Limits(total_seconds=self._limit)
        )
        async with service:
            self.key = await service.request_ephemeral_key(KeyRequest(session_id="doctor", life_seconds=MIN_KEY_LIFE))
        took = (asyncio.get_running_loop().time() - started) * 1000
        said = f"a key came in {took:.0f} ms; asked for {MIN_KEY_LIFE} s of life, got {self.key.expires_in:.0f} s"
        return _result("mint", "pass", said)

    async def _websocket(self) -> CheckResult:
        # Whether Azure takes an ephemeral key on a WebSocket is not known (wire sheet, B1); its own credential it does.
        secret = Secret(self.key.reveal(), is_token=True) if self.profile.name == "openai" else self.secret
        url = self.profile.websocket_url(self.profile.model)
        said = await self.client.greeting(url, headers=self.profile.headers(secret))
        kind, code = _event(said)
        if kind == "session.created":
            return _result("websocket", "pass", "the provider opened a session")
        problem = (
            f"the provider answered {code or kind or scrubbed(said, secret, limit=80)} instead of opening a session"
        )
        return _result("websocket", "fail", problem, "Check the model, and that proxies let WebSockets through.")


def _event(said: str) -> tuple[str | None, str | None]:
    """The type of a server event, and the code of the error in it."""
    try:
        event = msgspec.json.decode(said, type=_Event)
    except msgspec.DecodeError:
        return None, None
    return scrubbed(event.type, limit=60), scrubbed(event.error.code or "", limit=60) if event.error else None


class _Error(msgspec.Struct):
    code: str | None = None


class _Event(msgspec.Struct):
    type: str
    error: _Error | None = None


def _result(name: str, status: Status, detail: str, remedy: str = "") -> CheckResult:
    return CheckResult(name=name, status=status, detail=detail, remedy=remedy)
