"""From a user's provider settings to a profile and a credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from voicepilot.credentials.credential import (
    ENTRA_SCOPE,
    ApiKey,
    Credential,
    CredentialLike,
    DefaultEntraToken,
    EnvironmentKey,
    KeyringKey,
    SecretValue,
    credential_from,
)
from voicepilot.credentials.profiles import AzurePreviewProfile, AzureProfile, OpenAIProfile, Profile
from voicepilot.errors import ConfigurationError


class ProviderSettings(Protocol):
    """What is read of `voicepilot.config`'s provider section; None always means the default of the part it is for."""

    @property
    def profile(self) -> str:
        """`openai`, `azure` or `azure-preview`."""
        ...

    @property
    def base_url(self) -> str | None:
        """OpenAI's address, or a gateway's."""
        ...

    @property
    def azure_endpoint(self) -> str | None:
        """The Azure resource's address."""
        ...

    @property
    def api_version(self) -> str | None:
        """For azure-preview."""
        ...

    @property
    def webrtc_region(self) -> str | None:
        """For azure-preview."""
        ...

    @property
    def model(self) -> str | None:
        """The model, on Azure the deployment's name."""
        ...

    @property
    def credential_source(self) -> str:
        """`api-key`, `keyring` or `entra`."""
        ...

    @property
    def api_key(self) -> SecretValue | None:
        """The long-lived key."""
        ...

    @property
    def entra_scope(self) -> str | None:
        """The scope of Entra tokens."""
        ...

    @property
    def mint_timeout_seconds(self) -> float:
        """For one attempt, all in all."""
        ...

    @property
    def connect_timeout_seconds(self) -> float:
        """For the connection alone."""
        ...

    @property
    def max_concurrent_mints(self) -> int:
        """How many key requests run at one time."""
        ...

    @property
    def keyring_service(self) -> str:
        """Under which name the OS keyring holds the key; the user name there is the profile's name."""
        ...


def profile_of(provider: Profile | ProviderSettings) -> Profile:
    """The profile that `provider` is or chooses. Raises ConfigurationError when an address may not be used."""
    if isinstance(provider, OpenAIProfile):
        return provider
    settings = provider
    match settings.profile:
        case "openai":
            return OpenAIProfile(**_given(base_url=settings.base_url, model=settings.model))
        case "azure":
            return AzureProfile(
                **_given(base_url=settings.base_url, endpoint=settings.azure_endpoint, model=settings.model)
            )
        case "azure-preview":
            return AzurePreviewProfile(
                **_given(
                    endpoint=settings.azure_endpoint,
                    model=settings.model,
                    api_version=settings.api_version,
                    webrtc_region=settings.webrtc_region,
                )
            )
    raise ConfigurationError(
        f"profile: there is no provider profile {settings.profile!r}",
        field="profile",
        remediation="Use openai, azure or azure-preview.",
    )


def credential_of(provider: Profile | ProviderSettings, *, given: CredentialLike | None = None) -> Credential:
    """The credential that was given, or else the one that settings choose; a profile takes its environment variable.

    Raises MissingCredentialsError for a key that is empty or malformed, TypeError for what is no credential.
    """
    if isinstance(provider, OpenAIProfile):
        return EnvironmentKey(*provider.key_variables) if given is None else credential_from(given)
    settings = provider
    if given is not None:
        return credential_from(given, scope=settings.entra_scope)
    match settings.credential_source:
        case "keyring":
            return KeyringKey(settings.keyring_service, settings.profile)
        case "entra":
            return DefaultEntraToken(scope=settings.entra_scope or ENTRA_SCOPE)
    if settings.api_key is not None:
        return ApiKey(settings.api_key.get_secret_value())
    return EnvironmentKey(*_KEY_VARIABLES[settings.profile])


_KEY_VARIABLES = {kind.name: kind.key_variables for kind in (OpenAIProfile, AzureProfile, AzurePreviewProfile)}


def _given(**values: str | None) -> Mapping[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
