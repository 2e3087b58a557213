"""All settings, read from every source at once and judged together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, TypeVar

import msgspec
from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from voicepilot.config.layers import ENV_DELIMITER, ENV_PREFIX, Layer, gathered, merged, unresolved
from voicepilot.config.problems import nearest, rejected
from voicepilot.config.sections import (
    BY_SECTION_ONLY,
    SECTIONS,
    ConversationSettings,
    EmulatorSettings,
    PrivacySettings,
    ProviderSettings,
    RecoverySettings,
    RuleSettings,
    Section,
    SessionSettings,
    TelemetrySettings,
    policy_fields,
    redaction_rules,
)
from voicepilot.conversation.options import ConversationConfig
from voicepilot.emulator.options import Options
from voicepilot.errors import ConfigurationError
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.privacy.redact import RedactionRule
from voicepilot.privacy.retention import RetentionPolicy
from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.recovery.policy import ENVELOPES, RetryPolicy

__all__ = ["FIELDS", "Loaded", "ProviderSettings", "Section", "SessionSettings", "Settings", "read"]


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
    conversation: ConversationSettings = ConversationSettings()
    recovery: RecoverySettings = RecoverySettings()
    privacy: PrivacySettings = PrivacySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    emulator: EmulatorSettings = EmulatorSettings()

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
        """Settings from defaults < file < environment < `overrides`.

        An override is a field without its section (`model="…"`), or a section (`recovery={…}`); None counts as not
        given. Raises ConfigurationError that lists everything that is wrong: field, where its value came from, what is
        wrong and what would be right; never a value that may be secret.
        """
        return _settled(cls, gathered(_nested(overrides), _environment(cls), config_file))

    @classmethod
    def load_only(cls, section: str, *, config_file: str | os.PathLike[str] | None = None) -> Self:
        """As `load`, but of one section; the others are not looked at, and at their defaults. Not for `provider`."""
        layers = unresolved({}, _environment(cls), config_file)
        return _settled(cls, [layer.only(section) for layer in layers])

    # --- as the parts take them -------------------------------------------------------------------------------------

    def session_config(self) -> SessionConfig:
        """The options a new session starts with."""
        return SessionConfig(**policy_fields(self.sessions, SessionConfig))

    def conversation_config(self) -> ConversationConfig:
        """How the conversations of `manager.connect` keep themselves alive."""
        return ConversationConfig(**policy_fields(self.conversation, ConversationConfig))

    def retry_policies(self) -> dict[str, RetryPolicy]:
        """The policy of each fault domain, as changed by the section recovery."""
        changes = policy_fields(self.recovery, RetryPolicy, "retry_")
        return {domain.value: msgspec.structs.replace(policy, **changes) for domain, policy in ENVELOPES.items()}

    def breaker_options(self) -> BreakerOptions:
        """When a breaker opens, and for how long."""
        return BreakerOptions(**policy_fields(self.recovery, BreakerOptions, "breaker_"))

    def retention_policy(self) -> RetentionPolicy:
        """How long each kind of data may stay."""
        return RetentionPolicy(**policy_fields(self.privacy, RetentionPolicy))

    def redaction_rules(self) -> tuple[RedactionRule, ...]:
        """The user's redaction rules."""
        return redaction_rules(self.privacy.redaction_rules)

    def emulator_options(self) -> Options:
        """How `voicepilot emulate` behaves. Raises ConfigurationError for options that do not go together."""
        given = policy_fields(self.emulator, Options)
        if self.emulator.api_keys is not None:
            given["api_keys"] = frozenset(key.get_secret_value() for key in self.emulator.api_keys)
        return Options(**given)


class Loaded(NamedTuple):
    """Settings, and the layers they are from, strongest first. The layers hold secrets as they were written."""

    settings: Settings
    layers: tuple[Layer, ...]

    def __repr__(self) -> str:
        return "Loaded(…)"


def read(*, config_file: str | os.PathLike[str] | None = None, **overrides: Any) -> Loaded:
    """What `Settings.load` gives, together with where it is from."""
    layers = gathered(_nested(overrides), _environment(Settings), config_file)
    return Loaded(_settled(Settings, layers), tuple(layers))


FIELDS: Mapping[str, Mapping[str, str]] = {
    section: {name: field.description or "" for name, field in model.model_fields.items()}
    for section, model in SECTIONS.items()
}
_INNER = {"privacy.redaction_rules": {name: rule.description or "" for name, rule in RuleSettings.model_fields.items()}}


_S = TypeVar("_S", bound=Settings)


def _settled(settings: type[_S], layers: list[Layer]) -> _S:
    try:
        return settings(**merged(layers))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    raise rejected(problems, layers, {**FIELDS, **_INNER})


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        if name in SECTIONS and isinstance(value, Mapping):
            tree.setdefault(name, {}).update({field: held for field, held in value.items() if held is not None})
            continue
        section = next((section for section in SECTIONS if name in FIELDS[section]), None)
        if section is None or section in BY_SECTION_ONLY:
            raise _unknown_keyword(name)
        if value is not None:
            tree.setdefault(section, {})[name] = value
    return tree


def _unknown_keyword(name: str) -> ConfigurationError:
    if name in SECTIONS:
        example = next(iter(FIELDS[name]))
        return ConfigurationError(
            f"{name}: a section is given as a dict, such as {name}={{{example!r}: …}}",
            field=name,
            remediation="Give a dict, or the fields as keywords.",
        )
    known = [field for section in SECTIONS if section not in BY_SECTION_ONLY for field in FIELDS[section]]
    hint = nearest(name, [*known, *SECTIONS, "config_file"])
    return ConfigurationError(f"{name}: no such setting; {hint}", field=name, remediation="Correct the keyword.")


def _environment(settings: type[Settings]) -> Mapping[str, Any]:
    try:
        return {**EnvSettingsSource(settings)(), **_misspelt(os.environ)}
    except SettingsError as error:
        problem = str(error).partition(" from source")[0]  # its cause quotes the value, so that stays behind
    raise ConfigurationError(
        f"environment: {problem}",
        remediation=f"Set single fields, such as {ENV_PREFIX}PROVIDER{ENV_DELIMITER}MODEL.",
    )


def _misspelt(environment: Mapping[str, str]) -> dict[str, Any]:
    """Sections that there are not, so that `VOICEPILOT_SESSION__…` is told rather than ignored."""
    names = [name.upper().removeprefix(ENV_PREFIX) for name, value in environment.items() if _is_ours(name) and value]
    sections = {name.partition(ENV_DELIMITER)[0].lower() for name in names if ENV_DELIMITER in name}
    return {section: {} for section in sections if section and section not in SECTIONS}


def _is_ours(name: str) -> bool:
    return name.upper().startswith(ENV_PREFIX)
