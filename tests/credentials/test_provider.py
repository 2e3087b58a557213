"""What a user's settings choose."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from typing import Any

import pytest

from voicepilot.config import Settings
from voicepilot.credentials import EphemeralKeyService, Limits
from voicepilot.credentials.provider import credential_of, profile_of
from voicepilot.errors import ConfigurationError, MissingCredentialsError

AZURE = {"azure_endpoint": "https://mine.openai.azure.com"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


async def test_the_key_in_the_settings() -> None:
    secret = await credential_of(Settings.load(api_key="key-1").provider).secret()
    assert secret.reveal() == "key-1"


@pytest.mark.parametrize(
    ("overrides", "variable"),
    [
        ({}, "OPENAI_API_KEY"),
        (AZURE, "AZURE_OPENAI_API_KEY"),
        (AZURE | {"profile": "azure-preview"}, "AZURE_OPENAI_API_KEY"),
    ],
)
async def test_without_a_key_the_variable_of_that_provider_is_named(
    overrides: Mapping[str, Any], variable: str
) -> None:
    with pytest.raises(MissingCredentialsError) as caught:
        await credential_of(Settings.load(**overrides).provider).secret()
    assert f"no API key: {variable} is not set" in str(caught.value)


@pytest.mark.sockets  # the keyring is read in a thread
async def test_a_keyring_entry_is_named_by_service_and_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    module = types.ModuleType("keyring")
    module.get_password = lambda *entry: asked.append(entry) or "key-1"  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, "keyring", module)
    settings = Settings.load(credential_source="keyring", keyring_service="mine", **AZURE)
    assert (await credential_of(settings.provider).secret()).reveal() == "key-1"
    assert asked == [("mine", "azure")]


@pytest.mark.parametrize(("scope", "used"), [(None, "https://ai.azure.com/.default"), ("api://x/.default",) * 2])
async def test_entra_is_asked_for_the_scope_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, scope: str | None, used: str
) -> None:
    asked: list[str] = []

    class Default:
        async def get_token(self, *scopes: str) -> Any:
            asked.extend(scopes)
            return types.SimpleNamespace(token="token")

    monkeypatch.setattr("azure.identity.aio.DefaultAzureCredential", Default)
    settings = Settings.load(credential_source="entra", entra_scope=scope, **AZURE)
    assert (await credential_of(settings.provider).secret()).is_token
    given = await credential_of(settings.provider, given=Default()).secret()
    assert given.is_token
    assert asked == [used, used]


def test_the_limits_are_those_of_the_settings() -> None:
    settings = Settings.load(mint_timeout_seconds=3, connect_timeout_seconds=2, max_concurrent_mints=5)
    service = EphemeralKeyService(settings.provider)
    assert service._limits == Limits(total_seconds=3, connect_seconds=2, concurrent_mints=5)


def test_the_defaults_of_the_limits_agree() -> None:
    assert EphemeralKeyService(Settings.load().provider)._limits == Limits()


def test_a_profile_nobody_knows_is_named() -> None:
    provider = types.SimpleNamespace(profile="other")
    with pytest.raises(ConfigurationError, match="'other'"):
        profile_of(provider)
