"""Where the long-lived credential comes from, asked anew at every mint so that a rotated one takes effect at once."""

from __future__ import annotations

import asyncio
import inspect
import os
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from voicepilot.errors import AuthenticationError, KeyServiceError, MissingCredentialsError, NetworkError
from voicepilot.network.secrets import Secret, scrubbed

ENTRA_SCOPE = "https://ai.azure.com/.default"  # Microsoft's pages disagree; the newer ones say this (wire sheet, A2)


@runtime_checkable
class Credential(Protocol):
    """What an EphemeralKeyService authenticates with."""

    async def secret(self, *, refresh: bool = False) -> Secret:
        """The current value; `refresh` when the provider has just refused it. Raises a KeyServiceError."""
        ...

    async def close(self) -> None:
        """Let go of what this credential opened itself."""
        ...


@runtime_checkable
class SecretValue(Protocol):
    """A wrapped string, such as pydantic's SecretStr."""

    def get_secret_value(self) -> str:
        """The string."""
        ...


@runtime_checkable
class TokenCredential(Protocol):
    """azure-identity's credentials, sync or async."""

    def get_token(self, *scopes: str) -> Any:
        """A token for `scopes`."""
        ...


CredentialLike: TypeAlias = (
    Credential | TokenCredential | SecretValue | Secret | str | Callable[[], Awaitable[str | Secret] | str | Secret]
)


class ApiKey:
    """A key that was given as such."""

    def __init__(self, value: str | Secret) -> None:
        self._secret = value if isinstance(value, Secret) else _clean(value, "the API key")

    async def secret(self, *, refresh: bool = False) -> Secret:
        """The key."""
        return self._secret

    async def close(self) -> None:
        """Nothing to let go of."""


class EnvironmentKey:
    """The first of some environment variables that is set, read at every mint."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def secret(self, *, refresh: bool = False) -> Secret:
        """The key. Raises MissingCredentialsError when no variable is set."""
        for name in self._names:
            if value := os.environ.get(name, "").strip():
                return _clean(value, name)
        names = " or ".join(self._names)
        remedy = f"Set {names}, or give api_key."
        if self._names == ("OPENAI_API_KEY",) and os.environ.get("AZURE_OPENAI_API_KEY"):
            remedy += " AZURE_OPENAI_API_KEY counts once AZURE_OPENAI_ENDPOINT is set."
        raise MissingCredentialsError(f"no API key: {names} is not set", remediation=remedy)

    async def close(self) -> None:
        """Nothing to let go of."""


class KeyringKey:
    """A key in the operating system's keyring, read at every mint. Needs the extra `keyring`."""

    def __init__(self, service: str, username: str) -> None:
        self._service = service
        self._username = username

    async def secret(self, *, refresh: bool = False) -> Secret:
        """The key. Raises MissingCredentialsError when the keyring has none or cannot be opened."""
        where = f"keyring entry {self._service!r} for {self._username!r}"
        value, trouble = await asyncio.to_thread(self._read)
        if trouble is not None:
            raise MissingCredentialsError(f"{where} cannot be read: {trouble}", remediation=_KEYRING_REMEDY)
        if not value:
            remedy = f"Store the key: keyring set {self._service} {self._username}"
            raise MissingCredentialsError(f"{where} holds no key", remediation=remedy)
        return _clean(value, where)

    def _read(self) -> tuple[str | None, str | None]:
        try:
            import keyring  # noqa: PLC0415 - an optional extra
        except ImportError:
            return None, "the package keyring is not installed"
        try:
            return keyring.get_password(self._service, self._username), None
        except Exception as error:
            return None, type(error).__name__

    async def close(self) -> None:
        """Nothing to let go of."""


_KEYRING_REMEDY = "Install voicepilot-sessions[keyring] and unlock the keyring, or give the key another way."


class EntraToken:
    """A token from an azure-identity credential object, sync or async; azure-identity itself caches and renews it."""

    def __init__(self, credential: TokenCredential, *, scope: str = ENTRA_SCOPE) -> None:
        self._credential = credential
        self._scope = scope

    async def secret(self, *, refresh: bool = False) -> Secret:
        """The token. Raises AuthenticationError, MissingCredentialsError or NetworkError."""
        try:
            token = await self._token()
            return Secret(token.token, is_token=True)
        except KeyServiceError:
            raise
        except Exception as error:
            refused = _entra_fault(error)
        raise refused  # outside the handler: the original must not travel along as context

    async def _token(self) -> Any:
        get_token = self._credential.get_token
        if inspect.iscoroutinefunction(get_token):
            return await get_token(self._scope)
        token = await asyncio.to_thread(get_token, self._scope)
        return await token if inspect.isawaitable(token) else token

    async def close(self) -> None:
        """Nothing: the credential object belongs to whoever made it."""


class DefaultEntraToken:
    """azure-identity's DefaultAzureCredential, made on first use and closed by us. Needs the extra `azure`."""

    def __init__(self, *, scope: str = ENTRA_SCOPE) -> None:
        self._scope = scope
        self._made: Any = None  # azure.identity.aio.DefaultAzureCredential, an optional extra

    async def secret(self, *, refresh: bool = False) -> Secret:
        """The token; `refresh` starts over with an empty token cache. Raises as EntraToken does."""
        if refresh:
            await self.close()
        if self._made is None:
            self._made = self._make()
        return await EntraToken(self._made, scope=self._scope).secret()

    @staticmethod
    def _make() -> Any:
        try:
            from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise MissingCredentialsError(
                "credential = entra needs azure-identity, which is not installed",
                remediation="pip install 'voicepilot-sessions[azure]'",
            ) from None
        return DefaultAzureCredential()

    async def close(self) -> None:
        """Close the credential and its HTTP client."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()


class CallableKey:
    """A key or token from a function of the application's, usually async."""

    def __init__(self, function: Callable[[], Awaitable[str | Secret] | str | Secret]) -> None:
        self._function = function

    async def secret(self, *, refresh: bool = False) -> Secret:
        """What the function gives. Raises KeyServiceError CREDENTIAL_FAILED (retryable) when it raises."""
        try:
            given = self._function()
            value = await given if inspect.isawaitable(given) else given
        except KeyServiceError:
            raise
        except Exception as error:
            failed = _callable_fault(error)
        else:
            return value if isinstance(value, Secret) else _clean(value, "what the credential function returned")
        raise failed  # outside the handler: the original may quote the secret, so it must not travel along

    async def close(self) -> None:
        """Nothing to let go of."""


def credential_from(given: CredentialLike, *, scope: str | None = None) -> Credential:
    """Whatever people have, as a Credential. Raises TypeError for anything else, MissingCredentialsError if empty."""
    if isinstance(given, Credential):
        return given
    if isinstance(given, SecretValue):
        return ApiKey(given.get_secret_value())
    if isinstance(given, str | Secret):
        return ApiKey(given)
    if isinstance(given, TokenCredential):
        return EntraToken(given, scope=scope or ENTRA_SCOPE)
    if callable(given):
        return CallableKey(given)
    raise TypeError(f"a credential is a key, an azure-identity credential or a callable, not {type(given).__name__}")


def _clean(value: object, origin: str) -> Secret:
    # A newline from a file, or a curly quote from a document, would otherwise fail as a malformed header.
    if not isinstance(value, str) or not value.strip():
        raise MissingCredentialsError(f"{origin} is empty")
    text = value.strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise MissingCredentialsError(
            f"{origin} contains characters no key has (blanks, line breaks or non-ASCII letters)",
            remediation="Copy the key again; it is one word of ASCII letters, digits and dashes.",
        )
    return Secret(text)


def _callable_fault(error: Exception) -> KeyServiceError:
    # Its own message may quote the secret, so we say only what was raised, and where.
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return KeyServiceError(
        f"the credential function raised {type(error).__name__}{where}",
        code="CREDENTIAL_FAILED",
        remediation="Correct the function given as credential; it must return a key or token.",
        retryable=True,
    )


def _entra_fault(error: Exception) -> KeyServiceError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = f"Entra ID gave no token: {scrubbed(str(error))}"
    if "CredentialUnavailableError" in kinds:
        return MissingCredentialsError(said, remediation="Sign in (az login) or configure a managed identity.")
    if "ClientAuthenticationError" in kinds:
        return AuthenticationError(
            said, remediation="Check the identity, and that it has the role Cognitive Services OpenAI User."
        )
    if kinds & {"ServiceRequestError", "ServiceResponseError", "OSError"}:
        return NetworkError(said)
    return _callable_fault(error)
