"""Where credentials come from, and what is said when they do not."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.identity import CredentialUnavailableError
from pydantic import SecretStr

from voicepilot import errors
from voicepilot.credentials.credential import (
    ENTRA_SCOPE,
    ApiKey,
    CredentialLike,
    DefaultEntraToken,
    EnvironmentKey,
    KeyringKey,
    credential_from,
)
from voicepilot.credentials.profiles import AzureProfile, OpenAIProfile
from voicepilot.network.secrets import Secret, scrubbed

JWT = "eyJhbGciOiJub25lIn0.eyJleHAiOjF9.c2ln"


class AsyncEntra:
    """The shape of azure.identity.aio's credentials."""

    def __init__(self, outcome: str | Exception = JWT) -> None:
        self.outcome = outcome
        self.scopes: list[str] = []
        self.closed = False

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return self._token(scopes)

    async def close(self) -> None:
        self.closed = True

    def _token(self, scopes: tuple[str, ...]) -> AccessToken:
        self.scopes += scopes
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return AccessToken(self.outcome, 1)


class SyncEntra(AsyncEntra):
    """The shape of azure.identity's credentials."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # type: ignore[override]  # that is the difference
        return self._token(scopes)


async def an_async_function() -> str:
    return "key-1"


def a_plain_function() -> Secret:
    return Secret("key-1", is_token=True)


@pytest.mark.parametrize(
    "given", ["key-1", " key-1\n", SecretStr("key-1"), Secret("key-1"), ApiKey("key-1"), an_async_function]
)
async def test_a_key_in_any_form(given: CredentialLike) -> None:
    secret = await credential_from(given).secret()
    assert (secret.reveal(), secret.is_token) == ("key-1", False)


async def test_a_function_may_say_that_it_gives_tokens() -> None:
    assert (await credential_from(a_plain_function).secret()).is_token


async def test_a_function_that_gives_a_jwt_gives_a_token() -> None:
    async def token() -> str:
        return JWT

    assert (await credential_from(token).secret()).is_token


def test_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="not int"):
        credential_from(7)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("given", ["", "  ", "sk-a\nsk-b", "sk\u2013dash", "sk a"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(given: str) -> None:
    with pytest.raises(errors.MissingCredentialsError) as caught:
        credential_from(given)
    assert not given.strip() or given not in str(caught.value)


async def test_the_environment_is_read_at_every_mint(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = EnvironmentKey("FIRST_KEY", "SECOND_KEY")
    with pytest.raises(errors.MissingCredentialsError, match="FIRST_KEY or SECOND_KEY"):
        await credential.secret()
    monkeypatch.setenv("SECOND_KEY", "two")
    assert (await credential.secret()).reveal() == "two"
    monkeypatch.setenv("FIRST_KEY", "one")
    assert (await credential.secret()).reveal() == "one"


async def test_an_async_entra_credential_is_taken_unchanged() -> None:
    entra = AsyncEntra()
    secret = await credential_from(entra).secret()
    assert (secret.reveal(), secret.is_token, entra.scopes) == (JWT, True, [ENTRA_SCOPE])


@pytest.mark.sockets  # it runs in a thread, which virtual time cannot wait for
async def test_a_sync_entra_credential_is_taken_unchanged() -> None:
    entra = SyncEntra()
    secret = await credential_from(entra, scope="api://mine/.default").secret()
    assert (secret.reveal(), secret.is_token, entra.scopes) == (JWT, True, ["api://mine/.default"])


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (CredentialUnavailableError("run az login"), errors.MissingCredentialsError),
        (ClientAuthenticationError("AADSTS7000215"), errors.AuthenticationError),
        (ServiceRequestError("no route"), errors.NetworkError),
        (OSError("no route"), errors.NetworkError),
        (RuntimeError("odd"), errors.KeyServiceError),
    ],
)
async def test_why_entra_gave_no_token(raised: Exception, kind: type[errors.KeyServiceError]) -> None:
    with pytest.raises(errors.KeyServiceError) as caught:
        await credential_from(AsyncEntra(raised)).secret()
    assert type(caught.value) is kind
    assert caught.value.__context__ is None


async def test_our_own_entra_credential_starts_over_when_refreshed_and_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[AsyncEntra] = []

    def make() -> AsyncEntra:
        made.append(AsyncEntra())
        return made[-1]

    monkeypatch.setattr("azure.identity.aio.DefaultAzureCredential", make)
    credential = DefaultEntraToken(scope="s")
    await credential.secret()
    await credential.secret()
    await credential.secret(refresh=True)
    await credential.close()
    assert [entra.closed for entra in made] == [True, True]
    assert made[0].scopes == ["s", "s"]


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity.aio", None)
    with pytest.raises(errors.MissingCredentialsError) as caught:
        await DefaultEntraToken().secret()
    assert "voicepilot-sessions[azure]" in caught.value.remediation


def fake_keyring(monkeypatch: pytest.MonkeyPatch, outcome: str | Exception | None) -> None:
    def get_password(service: str, username: str) -> str | None:
        assert (service, username) == ("voicepilot", "openai")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    module = types.ModuleType("keyring")
    module.get_password = get_password  # type: ignore[attr-defined]  # a stand-in module
    monkeypatch.setitem(sys.modules, "keyring", module)


@pytest.mark.sockets  # the keyring is read in a thread
async def test_the_keyring_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_keyring(monkeypatch, "key-1")
    assert (await KeyringKey("voicepilot", "openai").secret()).reveal() == "key-1"


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("outcome", "said"), [(None, "holds no key"), (RuntimeError("locked sk-secret"), "cannot be read: RuntimeError")]
)
async def test_a_keyring_without_the_key_says_so(
    monkeypatch: pytest.MonkeyPatch, outcome: Exception | None, said: str
) -> None:
    fake_keyring(monkeypatch, outcome)
    with pytest.raises(errors.MissingCredentialsError, match=said) as caught:
        await KeyringKey("voicepilot", "openai").secret()
    assert "keyring" in caught.value.remediation
    assert "sk-secret" not in str(caught.value)


@pytest.mark.sockets
async def test_a_keyring_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(errors.MissingCredentialsError, match="not installed"):
        await KeyringKey("voicepilot", "openai").secret()


async def test_a_function_that_raises_is_located_but_not_quoted() -> None:
    def broken() -> str:
        raise RuntimeError("vault said sk-secret")

    with pytest.raises(errors.KeyServiceError, match=r"RuntimeError \(test_credential.py:\d+\)") as caught:
        await credential_from(broken).secret()
    assert (caught.value.code, caught.value.retryable) == ("CREDENTIAL_FAILED", True)
    assert "sk-secret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_a_function_may_raise_our_own_errors() -> None:
    def broken() -> str:
        raise errors.PermissionDeniedError("the vault refuses")

    with pytest.raises(errors.PermissionDeniedError, match="vault"):
        await credential_from(broken).secret()


@pytest.mark.parametrize(
    ("secret", "openai", "azure"),
    [
        (Secret("k1"), {"Authorization": "Bearer k1"}, {"api-key": "k1"}),
        (Secret(JWT), {"Authorization": f"Bearer {JWT}"}, {"Authorization": f"Bearer {JWT}"}),
    ],
)
def test_which_header_carries_it(secret: Secret, openai: dict[str, str], azure: dict[str, str]) -> None:
    assert OpenAIProfile().headers(secret) == openai
    assert AzureProfile(endpoint="https://mine.openai.azure.com").headers(secret) == azure


def test_a_secret_cannot_be_shown_or_carried_off() -> None:
    secret = Secret("sk-secret")
    assert "sk-secret" not in f"{secret} {secret!r}"
    with pytest.raises(TypeError):
        secret.__reduce__()


@pytest.mark.parametrize(
    "text",
    ["sk-proj-abc****wxyz", "ek_abcdefgh", JWT, "0123456789abcdef0123456789abcdef", "Bearer sk_live_1234567890"],
)
def test_whatever_looks_like_a_secret_is_hidden(text: str) -> None:
    assert text.rpartition(" ")[2] not in scrubbed(f"before {text} after")
    assert scrubbed(f"before {text} after").startswith("before ")


async def test_azure_key_without_an_endpoint_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "sk-anything-0123")
    with pytest.raises(errors.MissingCredentialsError) as caught:
        await EnvironmentKey("OPENAI_API_KEY").secret()
    assert caught.value.remediation.endswith("AZURE_OPENAI_API_KEY counts once AZURE_OPENAI_ENDPOINT is set.")
