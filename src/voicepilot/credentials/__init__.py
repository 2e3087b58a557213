"""Ephemeral keys from OpenAI and Azure OpenAI, and the credentials they are asked for with. See docs/keys.md."""

from voicepilot.credentials.credential import (
    ApiKey,
    Credential,
    EntraToken,
    EnvironmentKey,
    KeyringKey,
)
from voicepilot.credentials.doctor import CheckResult, examine, healthy
from voicepilot.credentials.news import KeyExpired, KeyRefused, KeyRenewed
from voicepilot.credentials.profiles import DEFAULT_MODEL, AzurePreviewProfile, AzureProfile, OpenAIProfile, Profile
from voicepilot.credentials.provider import ProviderSettings
from voicepilot.credentials.service import AuthenticationReport, EphemeralKeyService, Limits
from voicepilot.network.secrets import Secret
from voicepilot.subscription import Subscription

__all__ = [
    "DEFAULT_MODEL",
    "ApiKey",
    "AuthenticationReport",
    "AzurePreviewProfile",
    "AzureProfile",
    "CheckResult",
    "Credential",
    "EntraToken",
    "EnvironmentKey",
    "EphemeralKeyService",
    "KeyExpired",
    "KeyRefused",
    "KeyRenewed",
    "KeyringKey",
    "Limits",
    "OpenAIProfile",
    "Profile",
    "ProviderSettings",
    "Secret",
    "Subscription",
    "examine",
    "healthy",
]
