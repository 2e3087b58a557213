"""What can be set: sections of typed fields, each documented beside its default."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from voicepilot.config.layers import ENV_DELIMITER, ENV_PREFIX, gathered, merged
from voicepilot.config.problems import nearest, rejected
from voicepilot.errors import ConfigurationError
from voicepilot.lifecycle.config import BOUNDS, SessionConfig


class Section(BaseModel):
    """A group of settings. Unknown names are errors, and no error shows what was given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ProviderSettings(Section):
    """Who gives us keys. None means the default that docs/keys.md states."""

    profile: Literal["openai", "azure", "azure-preview"] = Field(
        default="openai", description="openai, azure or azure-preview; without it the address that is set decides"
    )
    base_url: str | None = Field(
        default=None, description="an https address ending in /v1, such as https://api.openai.com/v1"
    )
    azure_endpoint: str | None = Field(default=None, description="https://NAME.openai.azure.com")
    model: str | None = Field(
        default=None, min_length=1, description="the model of new sessions; on Azure the deployment's name"
    )
    api_key: SecretStr | None = Field(default=None, min_length=1, description="the provider's API key")
    credential_source: Literal["api-key", "keyring", "entra"] = Field(
        default="api-key", description="api-key, keyring (the OS keyring) or entra (azure-identity)"
    )
    entra_scope: str | None = Field(default=None, min_length=1, description="the scope of Entra ID tokens")
    keyring_service: str = Field(
        default="voicepilot", min_length=1, description="the keyring's service name; the user name is the profile's"
    )
    api_version: str | None = Field(default=None, min_length=1, description="azure-preview only: the api-version")
    webrtc_region: Literal["eastus2", "swedencentral"] | None = Field(
        default=None, description="azure-preview only: eastus2 or swedencentral"
    )
    mint_timeout_seconds: float = Field(
        default=10, ge=0.1, le=120, description="seconds for one key request, 0.1 to 120"
    )
    connect_timeout_seconds: float = Field(default=5, ge=0.1, le=60, description="seconds to connect, 0.1 to 60")
    max_concurrent_mints: int = Field(default=16, ge=1, le=1_000, description="key requests at one time, 1 to 1000")


def _described(name: str) -> str:
    bounds = BOUNDS.get(name)
    return f"{bounds.unit}, {bounds.low:g} to {bounds.high:g}" if bounds else "true or false"


def _bounded(name: str) -> Callable[[Any], Any]:
    # The bounds are SessionConfig's own, so that a setting and an argument are judged by one rule.
    def check(value: Any) -> Any:
        SessionConfig(**{name: value})
        return value

    return check


class _SessionLimits(Section):
    max_concurrent_sessions: int = Field(
        default=3, ge=1, le=1_000_000, description="live sessions at one time, 1 or more"
    )


if TYPE_CHECKING:
    SessionSettings = _SessionLimits
else:
    # One field for each of SessionConfig's, with its type and default, so that they are written once.
    SessionSettings = create_model(
        "SessionSettings",
        __base__=_SessionLimits,
        **{
            field.name: (
                Annotated[field.type, AfterValidator(_bounded(field.name))],
                Field(default=field.default, description=_described(field.name)),
            )
            for field in msgspec.structs.fields(SessionConfig)
        },
    )


class Settings(BaseSettings):
    """All settings. Read them with `Settings.load()`; the constructor itself looks at neither environment nor file."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    provider: ProviderSettings = ProviderSettings()
    sessions: SessionSettings = SessionSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor is given: `load` does the layering, because it must know where values are from."""
        return (init_settings,)

    @classmethod
    def load(cls, *, config_file: str | os.PathLike[str] | None = None, **overrides: Any) -> Self:
        """Settings from defaults < file < environment < `overrides`, which are field names without their section.

        An override of None counts as not given. Raises ConfigurationError that lists everything that is wrong: field,
        where its value came from, what is wrong and what would be right; never a value that may be secret.
        """
        layers = gathered(_nested(overrides), _environment(cls), config_file)
        try:
            return cls(**merged(layers))
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise rejected(problems, layers, FIELDS)

    def session_config(self) -> SessionConfig:
        """The options a new session starts with."""
        names = [field.name for field in msgspec.structs.fields(SessionConfig)]
        return SessionConfig(**{name: getattr(self.sessions, name) for name in names})


FIELDS: Mapping[str, Mapping[str, str]] = {
    section: {name: field.description or "" for name, field in model.model_fields.items()}
    for section, model in (("provider", ProviderSettings), ("sessions", SessionSettings))
}


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        section = next((section for section, fields in FIELDS.items() if name in fields), None)
        if section is None:
            raise _unknown_keyword(name)
        if value is not None:
            tree.setdefault(section, {})[name] = value
    return tree


def _unknown_keyword(name: str) -> ConfigurationError:
    known = [field for fields in FIELDS.values() for field in fields]
    hint = nearest(name, [*known, "config_file"])
    return ConfigurationError(f"{name}: no such setting; {hint}", field=name, remediation="Correct the keyword.")


def _environment(settings: type[Settings]) -> Mapping[str, Any]:
    try:
        return EnvSettingsSource(settings)()
    except SettingsError as error:
        problem = str(error).partition(" from source")[0]  # its cause quotes the value, so that stays behind
    raise ConfigurationError(
        f"environment: {problem}",
        remediation=f"Set single fields, such as {ENV_PREFIX}PROVIDER{ENV_DELIMITER}MODEL.",
    )
