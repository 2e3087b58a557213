"""One contract for all three profiles, against the emulator: whatever the protocol, a mint behaves the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from voicepilot import errors
from voicepilot.credentials import (
    AzurePreviewProfile,
    AzureProfile,
    EphemeralKeyService,
    Limits,
    OpenAIProfile,
    Profile,
)
from voicepilot.emulator import RealtimeEmulator
from voicepilot.network.secrets import Secret
from voicepilot.ports import KeyRequest

pytestmark = pytest.mark.sockets

CREDENTIAL = "sk-canary-CREDENTIAL-0123456789"
PROFILES: dict[str, Callable[[RealtimeEmulator], Profile]] = {
    "openai": lambda emulator: OpenAIProfile(base_url=emulator.base_url, model="voice"),
    "azure": lambda emulator: AzureProfile(endpoint=emulator.azure_endpoint, model="voice"),
    "azure-preview": lambda emulator: AzurePreviewProfile(endpoint=emulator.azure_endpoint, model="voice"),
}
REQUEST = KeyRequest(session_id="s1", life_seconds=30)


@pytest.fixture
async def emulator() -> AsyncIterator[RealtimeEmulator]:
    async with RealtimeEmulator(api_keys=frozenset({CREDENTIAL}), models=frozenset({"voice"})) as service:
        yield service


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest, emulator: RealtimeEmulator) -> Profile:
    return PROFILES[request.param](emulator)


@pytest.fixture
async def service(profile: Profile) -> AsyncIterator[EphemeralKeyService]:
    async with EphemeralKeyService(profile, credential=CREDENTIAL, limits=Limits(total_seconds=5)) as minting:
        yield minting


async def refused(service: EphemeralKeyService, request: KeyRequest = REQUEST) -> errors.KeyServiceError:
    with pytest.raises(errors.KeyServiceError) as caught:
        await service.request_ephemeral_key(request)
    return caught.value


async def test_a_key_is_given_with_its_life_and_model(
    service: EphemeralKeyService, emulator: RealtimeEmulator, profile: Profile
) -> None:
    key = await service.request_ephemeral_key(REQUEST)
    life = 60 if profile.name == "azure-preview" else 30  # the preview's keys live a minute, whatever is asked
    assert key.expires_in == pytest.approx(life, abs=1.5)
    assert key.model == "voice"
    assert key.remote_session_id is not None
    (mint,) = emulator.record.mints()
    assert (mint.status, mint.model) == (200, "voice")


async def greeting(url: str | None, headers: dict[str, str]) -> dict[str, Any]:
    assert url is not None
    async with aiohttp.ClientSession() as client, client.ws_connect(url, headers=headers) as socket:
        created = await socket.receive_json()
    assert created["type"] == "session.created"
    return dict(created["session"])


# Whether Azure takes an ephemeral key on a socket is not known (wire sheet, B1); the emulator takes both.
@pytest.mark.parametrize("by", ["key", "credential"])
async def test_the_key_names_a_socket_that_opens(service: EphemeralKeyService, profile: Profile, by: str) -> None:
    key = await service.request_ephemeral_key(REQUEST)
    secret = Secret(key.reveal(), is_token=True) if by == "key" else Secret(CREDENTIAL)
    session = await greeting(key.websocket_url, profile.headers(secret))
    assert session["model"] == "voice"
    assert ("modalities" in session) == (profile.name == "azure-preview")  # whose session is flat


@pytest.mark.parametrize("profile", ["openai", "azure"], indirect=True)  # the preview minted these at another route
@pytest.mark.parametrize("by", ["key", "credential"])
async def test_a_transcription_has_a_socket_of_its_own(service: EphemeralKeyService, profile: Profile, by: str) -> None:
    options = {"type": "transcription", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
    key = await service.request_ephemeral_key(KeyRequest(session_id="s1", session=options))
    secret = Secret(key.reveal(), is_token=True) if by == "key" else Secret(CREDENTIAL)
    assert (await greeting(key.websocket_url, profile.headers(secret)))["type"] == "transcription"


async def test_two_sessions_never_share_a_key(service: EphemeralKeyService) -> None:
    first = await service.request_ephemeral_key(REQUEST)
    second = await service.request_ephemeral_key(KeyRequest(session_id="s2"))
    third = await service.renew_key(REQUEST)
    assert len({first.reveal(), second.reveal(), third.reveal()}) == 3


async def test_a_wrong_credential_is_refused_once_and_finally(
    service: EphemeralKeyService, emulator: RealtimeEmulator
) -> None:
    service.set_credential("sk-wrong-one-000000")
    fault = await refused(service)
    assert isinstance(fault, errors.AuthenticationError)
    assert (fault.code, fault.retryable, fault.status) == ("INVALID_CREDENTIALS", False, 401)
    assert fault.request_id
    assert len(emulator.record.mints()) == 1


async def test_an_unknown_model_is_not_retryable(service: EphemeralKeyService) -> None:
    fault = await refused(service, KeyRequest(session_id="s1", model="other"))
    assert (fault.code, fault.retryable) in {
        ("MODEL_NOT_FOUND", False),
        ("DEPLOYMENT_NOT_FOUND", False),
        ("ENDPOINT_NOT_FOUND", False),
    }


@pytest.mark.parametrize(
    ("status", "extra", "kind", "retryable", "retry_after"),
    [
        (429, {"retry_after": 7.0}, errors.RateLimitError, True, 7.0),
        (429, {"retry_after_ms": 250.0}, errors.RateLimitError, True, 0.25),
        (429, {"code": "insufficient_quota"}, errors.QuotaExceededError, False, None),
        (403, {}, errors.PermissionDeniedError, False, None),
        (400, {}, errors.RequestRefusedError, False, None),
        (500, {}, errors.ProviderUnavailableError, True, None),
        (503, {"retry_after": 2.0}, errors.ProviderUnavailableError, True, 2.0),
        (302, {"headers": {"Location": "/elsewhere"}}, errors.RequestRefusedError, False, None),
    ],
)
async def test_a_refusal_says_whose_fault_it_is_and_when_to_come_back(
    service: EphemeralKeyService,
    emulator: RealtimeEmulator,
    status: int,
    extra: dict[str, object],
    kind: type[errors.KeyServiceError],
    retryable: bool,
    retry_after: float | None,
) -> None:
    emulator.faults.fail_mints(status, **extra)  # type: ignore[arg-type]  # a table of its keywords
    fault = await refused(service)
    assert type(fault) is kind
    assert (fault.retryable, fault.retry_after, fault.status) == (retryable, retry_after, status)
    assert len(emulator.record.mints()) == 1  # nothing here tries again by itself
    assert await service.request_ephemeral_key(REQUEST)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("reset", "CONNECTION_RESET"), ("malformed", "INVALID_JSON"), ("truncated", "TRUNCATED_REPLY")],
)
async def test_a_broken_answer_has_a_name(
    service: EphemeralKeyService, emulator: RealtimeEmulator, kind: str, code: str
) -> None:
    emulator.faults.add(f"mint:{kind}")
    fault = await refused(service)
    assert (fault.code, fault.retryable) == (code, True)
    assert await service.request_ephemeral_key(REQUEST)


async def test_no_answer_is_a_time_out(profile: Profile, emulator: RealtimeEmulator) -> None:
    emulator.faults.hang_mints()
    limits = Limits(total_seconds=0.05)
    async with EphemeralKeyService(profile, credential=CREDENTIAL, limits=limits) as service:
        assert isinstance(await refused(service), errors.KeyTimeoutError)


async def test_the_authentication_test_tells_good_from_bad(
    service: EphemeralKeyService, emulator: RealtimeEmulator
) -> None:
    assert (await service.test_authentication()).success
    asked = emulator.record.mints()[0].asked
    assert asked in {10, 60}  # the shortest there is; the preview has but one
    service.set_credential("sk-wrong-one-000000")
    report = await service.test_authentication()
    assert (report.success, report.has_valid_credentials) == (False, False)
    await emulator.stop()
    report = await service.test_authentication()
    assert (report.success, report.has_valid_credentials) == (False, None)


async def test_ending_a_session_ends_its_request(service: EphemeralKeyService, emulator: RealtimeEmulator) -> None:
    emulator.faults.hang_mints()
    mint = asyncio.ensure_future(service.request_ephemeral_key(REQUEST))
    while not emulator.record.mints():  # noqa: ASYNC110 - the emulator has no event for it
        await asyncio.sleep(0)
    await service.end_session("s1")
    with pytest.raises(errors.SessionEndedError):
        await mint


async def test_the_service_is_back_when_the_provider_is(
    service: EphemeralKeyService, emulator: RealtimeEmulator
) -> None:
    await service.request_ephemeral_key(REQUEST)
    await emulator.stop()
    assert (await refused(service)).retryable
    await emulator.start()
    assert await service.request_ephemeral_key(REQUEST)
