"""The doctor: each check with each outcome it can have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web
from tests.credentials.conftest import CANARY_CREDENTIAL, Provider

from voicepilot.config import Settings
from voicepilot.credentials import (
    ApiKey,
    AzurePreviewProfile,
    AzureProfile,
    CheckResult,
    OpenAIProfile,
    examine,
    healthy,
)
from voicepilot.emulator import RealtimeEmulator

pytestmark = pytest.mark.sockets


@pytest.fixture
async def emulator() -> AsyncIterator[RealtimeEmulator]:
    async with RealtimeEmulator(api_keys=frozenset({CANARY_CREDENTIAL})) as service:
        yield service


def statuses(results: tuple[CheckResult, ...]) -> dict[str, str]:
    return {result.name: result.status for result in results}


def result(results: tuple[CheckResult, ...], name: str) -> CheckResult:
    return next(result for result in results if result.name == name)


async def test_all_is_well_with_openai(emulator: RealtimeEmulator) -> None:
    results = await examine(lambda: OpenAIProfile(base_url=emulator.base_url), credential=CANARY_CREDENTIAL)
    assert statuses(results) == {
        "settings": "pass",
        "credential": "pass",
        "name resolution": "pass",
        "tls": "skipped",
        "clock": "pass",
        "mint": "pass",
        "websocket": "pass",
    }
    assert healthy(results)
    assert [mint.asked for mint in emulator.record.mints()] == [10]
    assert CANARY_CREDENTIAL not in repr(results)
    assert "ek_" not in repr(results)


@pytest.mark.parametrize(("profile", "settings"), [(AzureProfile, "pass"), (AzurePreviewProfile, "warn")])
async def test_all_is_well_with_azure(
    emulator: RealtimeEmulator, profile: type[AzureProfile | AzurePreviewProfile], settings: str
) -> None:
    results = await examine(lambda: profile(endpoint=emulator.azure_endpoint), credential=CANARY_CREDENTIAL)
    assert healthy(results)
    assert [statuses(results)[name] for name in ("settings", "mint", "websocket")] == [settings, "pass", "pass"]
    (opened,) = [connection.opened for connection in emulator.record.connections()]
    assert opened.provider == "azure"


@pytest.mark.parametrize("given", [True, False])
async def test_only_a_credential_of_its_own_making_is_closed(
    emulator: RealtimeEmulator, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    closed: list[object] = []

    class Held(ApiKey):
        async def close(self) -> None:
            closed.append(self)

    held = Held(CANARY_CREDENTIAL)
    monkeypatch.setattr("voicepilot.credentials.provider.EnvironmentKey", lambda *_: held)
    profile = OpenAIProfile(base_url=emulator.base_url)
    assert healthy(await examine(lambda: profile, credential=held if given else None))
    assert closed == ([] if given else [held])


async def test_settings_that_are_wrong_skip_the_rest() -> None:
    results = await examine(lambda: Settings.load(max_concurrent_sessions=0).provider)
    assert set(statuses(results).values()) == {"fail", "skipped"}
    assert "max_concurrent_sessions" in results[0].detail
    assert not healthy(results)


async def test_a_missing_credential_is_named_and_the_network_is_still_looked_at(
    emulator: RealtimeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    results = await examine(lambda: OpenAIProfile(base_url=emulator.base_url))
    assert result(results, "credential").status == "fail"
    assert "OPENAI_API_KEY" in result(results, "credential").remedy
    assert statuses(results)["clock"] == "pass"
    assert (statuses(results)["mint"], statuses(results)["websocket"]) == ("skipped", "skipped")


async def test_a_refused_credential_fails_the_mint_with_a_remedy(emulator: RealtimeEmulator) -> None:
    results = await examine(lambda: OpenAIProfile(base_url=emulator.base_url), credential="sk-wrong-one-0000")
    mint = result(results, "mint")
    assert (mint.status, statuses(results)["websocket"]) == ("fail", "skipped")
    assert "API key" in mint.remedy


async def test_a_host_without_address_fails_at_name_resolution() -> None:
    results = await examine(lambda: OpenAIProfile(base_url="https://nobody.invalid/v1"), credential="key-1")
    assert statuses(results)["name resolution"] == "fail"
    assert statuses(results)["mint"] == "skipped"


async def test_a_machine_that_does_not_answer_fails_before_the_mint(emulator: RealtimeEmulator) -> None:
    base_url = emulator.base_url
    await emulator.stop()
    results = await examine(lambda: OpenAIProfile(base_url=base_url), credential="key-1")
    tls = result(results, "tls")
    assert (tls.status, statuses(results)["mint"]) == ("fail", "skipped")
    assert "refused" in tls.detail


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (lambda root: OpenAIProfile(base_url=root + "/v1", model="gpt-realtime"), "2027-01-20"),
        (lambda root: AzurePreviewProfile(endpoint=root), "deprecated"),
    ],
)
async def test_what_will_end_soon_is_a_warning(provider: Provider, profile: object, said: str) -> None:
    assert callable(profile)
    results = await examine(lambda: profile(provider.root), credential="key-1")
    assert result(results, "settings").status == "warn"
    assert said in result(results, "settings").detail
    assert result(results, "settings").remedy


async def test_a_clock_that_is_off_is_a_warning(provider: Provider) -> None:
    async def yesterday(_: web.Request) -> web.Response:
        return web.Response(headers={"Date": formatdate(1_700_000_000, usegmt=True)})

    provider.answers = [yesterday]
    results = await examine(lambda: OpenAIProfile(base_url=provider.base_url), credential="key-1")
    assert result(results, "clock").status == "warn"
    assert "ahead of" in result(results, "clock").detail
    assert "Authorization" not in provider.requests[0].headers


async def test_a_provider_without_sockets_fails_the_last_check(provider: Provider) -> None:
    results = await examine(lambda: OpenAIProfile(base_url=provider.base_url), credential="key-1")
    assert statuses(results)["mint"] == "pass"
    assert result(results, "websocket").status == "fail"
    assert "refused with" in result(results, "websocket").detail


@pytest.mark.parametrize("fault", ["connect:401", "connect:close", "connect:reset:count=2"])
async def test_a_refused_socket_says_how(emulator: RealtimeEmulator, fault: str) -> None:
    emulator.faults.add(fault)
    results = await examine(lambda: OpenAIProfile(base_url=emulator.base_url), credential=CANARY_CREDENTIAL)
    assert result(results, "websocket").status == "fail"
    assert result(results, "websocket").remedy


async def test_each_check_has_a_time_limit(emulator: RealtimeEmulator) -> None:
    emulator.faults.add("connect:hang")
    results = await examine(
        lambda: OpenAIProfile(base_url=emulator.base_url), credential=CANARY_CREDENTIAL, timeout=0.5
    )
    assert "took longer than 0.5 s" in result(results, "websocket").detail
    assert len(asyncio.all_tasks()) < 10


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_must_be_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: bool) -> None:
    async with RealtimeEmulator(tls=True) as emulator:
        assert emulator.authority is not None
        (tmp_path / "ca.pem").write_bytes(emulator.authority)
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        results = await examine(lambda: OpenAIProfile(base_url=emulator.base_url), credential=CANARY_CREDENTIAL)
    assert statuses(results)["tls"] == ("pass" if trusted else "fail")
    assert statuses(results)["websocket"] == ("pass" if trusted else "skipped")
    assert trusted or "SSL_CERT_FILE" in result(results, "tls").remedy


async def test_behind_a_proxy_names_are_the_proxys_to_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    results = await examine(OpenAIProfile, credential=CANARY_CREDENTIAL)
    assert statuses(results)["name resolution"] == "skipped"
    assert "proxy" in result(results, "tls").detail
    assert "hunter2" not in repr(results)
