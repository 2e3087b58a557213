"""The original's defects in its key service (section 10) and configuration (section 13), which ours must not have."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from tests.support import a_world

from voicepilot import errors
from voicepilot.config import ConfigurationManager
from voicepilot.credentials import AzureProfile, EphemeralKeyService, KeyExpired, OpenAIProfile
from voicepilot.network.faults import fault_of_breakdown
from voicepilot.network.reply import Reply
from voicepilot.ports import KeyRequest
from voicepilot.recovery import RecoveryExecutor
from voicepilot.testing.virtual import VirtualClock

CLOCK = VirtualClock()


class Wire:
    """Answers every mint after `delay` seconds with a key of 60 s, or with `answer`."""

    def __init__(self) -> None:
        self.sent = 0
        self.delay = 0.0
        self.answer: dict[str, object] | None = None

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        self.sent += 1
        mine = self.sent
        await asyncio.sleep(self.delay)
        answer = self.answer or {"value": f"ek_{mine}", "expires_at": CLOCK.wall() + 60}
        return Reply(200, {"content-type": "application/json"}, json.dumps(answer).encode(), CLOCK.wall())

    async def close(self) -> None: ...


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def service(wire: Wire) -> EphemeralKeyService:
    return EphemeralKeyService(OpenAIProfile(), credential="key-1", clock=CLOCK, transport=lambda: wire)


def ask(session_id: str) -> KeyRequest:
    return KeyRequest(session_id=session_id)


@pytest.mark.defect(120)
async def test_120_starting_up_creates_nothing_at_the_provider(service: EphemeralKeyService, wire: Wire) -> None:
    async with service:
        await asyncio.sleep(60)
    assert wire.sent == 0


@pytest.mark.defect(123)
async def test_123_the_shortest_key_is_renewed_at_half_its_life_and_not_in_a_hot_loop() -> None:
    async with a_world(key_life_seconds=10, renewal_margin_seconds=30, inactivity_timeout_minutes=5) as world:
        await world.manager.start_session()
        await asyncio.sleep(60.5)
        assert len(world.keys.mints) == 1 + 12


@pytest.mark.defect(125)
@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ConnectionRefusedError(111, "connect to 127.0.0.1:4010 refused, 401"), "CONNECTION_REFUSED"),
        (socket.gaierror(-2, "Name or service not known"), "DNS_FAILED"),
    ],
)
def test_125_a_fault_is_known_by_its_kind_and_not_by_digits_in_its_text(raised: OSError, code: str) -> None:
    key = ConnectionKey("host.example", 4010, True, True, None, None, None)
    fault = fault_of_breakdown(aiohttp.ClientConnectorError(key, raised), "asking host.example for a key")
    assert isinstance(fault, errors.NetworkError)
    assert (fault.code, fault.retryable) == (code, True)


@pytest.mark.defect(126)
async def test_126_a_refused_credential_stays_one_with_a_recovery_executor_around_it() -> None:
    refused = errors.AuthenticationError("401")
    async with a_world() as world:
        world.manager.set_recovery_executor(RecoveryExecutor(clock=world.clock))
        world.keys.fail(refused, count=10)
        for _ in range(8):  # more than would open the breaker
            with pytest.raises(errors.SessionStartError) as raised:
                await world.manager.start_session()
            assert raised.value.__cause__ is refused
            assert not raised.value.retryable
        assert len(world.keys.mints) == 8


@pytest.mark.defect(128)
async def test_128_every_session_has_a_key_of_its_own(service: EphemeralKeyService) -> None:
    async with service:
        keys = [await service.request_ephemeral_key(ask(session_id)) for session_id in "abc"]
    assert [key.issued_for for key in keys] == ["a", "b", "c"]
    assert len({key.reveal() for key in keys}) == 3


@pytest.mark.defect(129, 130)
async def test_129_and_130_nothing_is_renewed_behind_anybodys_back(service: EphemeralKeyService, wire: Wire) -> None:
    async with service:
        await service.request_ephemeral_key(ask("a"))
        await service.end_session("a")
        await asyncio.sleep(3600)
    assert wire.sent == 1


@pytest.mark.defect(131)
async def test_131_dispose_during_a_request_keeps_no_key_and_arms_no_timer(
    service: EphemeralKeyService, wire: Wire
) -> None:
    wire.delay = 5.0
    heard: list[KeyExpired] = []
    await service.initialize()
    service.on_key_expired(heard.append)
    mint = asyncio.ensure_future(service.request_ephemeral_key(ask("a")))
    await asyncio.sleep(1)
    await service.dispose()
    with pytest.raises(errors.NotInitializedError):
        await mint
    await asyncio.sleep(120)
    assert heard == []


@pytest.mark.defect(132)
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"unexpected": 1}, "KEY_MISSING"),
        ({"value": "ek_1"}, "KEY_EXPIRY_MISSING"),
        ({"value": "ek_1", "expires_at": "soon"}, "KEY_EXPIRY_MALFORMED"),
    ],
)
async def test_132_a_malformed_answer_has_a_name_and_leaves_nothing_behind(
    service: EphemeralKeyService, wire: Wire, answer: dict[str, object], code: str
) -> None:
    heard: list[object] = []
    wire.answer = answer
    async with service:
        service.on_key_expired(heard.append)
        service.on_key_renewed(heard.append)
        with pytest.raises(errors.BadReplyError) as caught:
            await service.request_ephemeral_key(ask("a"))
        await asyncio.sleep(120)
    assert caught.value.code == code
    assert heard == []


@pytest.mark.defect(135)
async def test_135_a_key_that_ends_by_itself_is_told_of(service: EphemeralKeyService) -> None:
    heard: list[KeyExpired] = []
    async with service:
        service.on_key_expired(heard.append)
        await service.request_ephemeral_key(ask("a"))
        await asyncio.sleep(61)
    assert heard == [KeyExpired(session_id="a")]


@pytest.mark.defect(139)
async def test_139_a_request_ends_in_time_and_can_be_called_off(service: EphemeralKeyService, wire: Wire) -> None:
    wire.delay = 3600.0
    async with service:
        with pytest.raises(errors.KeyTimeoutError):
            await service.request_ephemeral_key(ask("a"))
        mint = asyncio.ensure_future(service.request_ephemeral_key(ask("a")))
        await asyncio.sleep(1)
        await service.end_session("a")
        with pytest.raises(errors.SessionEndedError):
            await mint


@pytest.mark.defect(184)
@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example/x.openai.azure.com",
        "https://x.openai.azure.com.evil.example",
        "https://evil.example/?x.openai.azure.com",
        "https://evil.example#.openai.azure.com",
        "https://x.openai.azure.com@evil.example",
    ],
)
def test_184_an_address_that_only_looks_like_azure_gets_no_credential(endpoint: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        AzureProfile(endpoint=endpoint)
    with pytest.raises(errors.ConfigurationError):
        OpenAIProfile(base_url=endpoint)


@pytest.mark.defect(184)
def test_184_a_trailing_slash_is_not_doubled() -> None:
    assert AzureProfile(endpoint="https://mine.openai.azure.com/").mint_url == (
        "https://mine.openai.azure.com/openai/v1/realtime/client_secrets"
    )


@pytest.mark.defect(189)
async def test_189_after_dispose_the_configuration_is_not_initialized() -> None:
    manager = ConfigurationManager()
    await manager.initialize()
    await manager.dispose()
    assert not manager.is_initialized


@pytest.mark.defect(190)
def test_190_sessions_can_be_configured() -> None:
    manager = ConfigurationManager(max_concurrent_sessions=9, renewal_margin_seconds=25, inactivity_timeout_minutes=7)
    assert manager.max_concurrent_sessions == 9
    config = manager.session_config()
    assert (config.renewal_margin_seconds, config.inactivity_timeout_minutes) == (25, 7)
