"""The sections of the settings. What another package's options define is made from those: it is written once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, create_model
from pydantic_settings import NoDecode

from voicepilot.conversation.options import BOUNDS as CONVERSATION_BOUNDS
from voicepilot.conversation.options import CHOICES, ConversationConfig
from voicepilot.emulator.options import Options
from voicepilot.errors import ConfigurationError
from voicepilot.lifecycle.config import BOUNDS, SessionConfig
from voicepilot.privacy.redact import RedactionRule, check_rules
from voicepilot.privacy.retention import BOUNDS as WINDOWS
from voicepilot.privacy.retention import RetentionPolicy
from voicepilot.recovery.breaker_options import BOUNDS as BREAKER_BOUNDS
from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.recovery.policy import GUARDRAILS, RetryPolicy

AT_ONCE = "at once"
NEXT_KEY = "at the next key"
NEXT_CONVERSATION = "in the next conversation"
RESTART = "after a restart"


class Section(BaseModel):
    """A group of settings. Unknown names are errors, and no error shows what was given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    applies: ClassVar[Mapping[str, str]] = {}  # when a change of a field applies; RESTART where nothing is said

    @classmethod
    def applies_when(cls, name: str) -> str:
        """When a change of the field reaches a program that runs."""
        return cls.applies.get(name, RESTART)


def _bare(address: str) -> str:
    # Settings are shown, so a password never gets into one; whether a key may be sent there, the profile judges.
    if any(mark in address for mark in "@?#"):
        raise ValueError("must have no user name, password, query or fragment")
    return address


Address = Annotated[str, AfterValidator(_bare)]


class ProviderSettings(Section):
    """Who gives us keys. None means the default that docs/keys.md states."""

    applies: ClassVar[Mapping[str, str]] = {"api_key": NEXT_KEY}

    profile: Literal["openai", "azure", "azure-preview"] = Field(
        default="openai", description="openai, azure or azure-preview; without it the address that is set decides"
    )
    base_url: Address | None = Field(
        default=None, description="an https address ending in /v1, such as https://api.openai.com/v1"
    )
    azure_endpoint: Address | None = Field(default=None, description="https://NAME.openai.azure.com")
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


# --- made from other packages' options --------------------------------------------------------------------------------


def _like(
    struct: type[msgspec.Struct],
    accepted: Mapping[str, str],
    *,
    prefix: str = "",
    optional: bool = False,
    defaults: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """A field for each of the struct's that `accepted` describes: its type and default, judged by the struct itself."""
    made: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if field.name not in accepted:
            continue
        default = None if optional else (defaults or {}).get(field.name, field.default)
        kind = field.type | None if optional else field.type
        rules: list[Any] = [kind, AfterValidator(_judged_by(struct, field.name))]
        if (default is not None or not optional) and type(None) in getattr(kind, "__args__", ()):
            rules.append(BeforeValidator(_never_is_none))
        made[prefix + field.name] = (
            Annotated[tuple(rules)],
            Field(default=default, description=accepted[field.name]),
        )
    return made


def _judged_by(struct: type[msgspec.Struct], name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is not None:
            try:
                struct(**{name: value})
            except ConfigurationError as error:
                problem = re.sub(rf"^(\w+\.)?{name}:? ", "", error.message)
            else:
                return value
            raise ValueError(problem)
        return value

    return check


def _never_is_none(value: object) -> object:
    # TOML and the environment have no word for None.
    return None if value == "never" else value


def _with_bounds(meanings: Mapping[str, str], bounds: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{said}; {_range(bounds.get(name))}" for name, said in meanings.items()}


def _range(bounds: Any) -> str:  # Any: the Bounds of lifecycle or recovery, or a pair
    if bounds is None:
        return "true or false"
    if isinstance(bounds, str):
        return bounds
    low, high = bounds if isinstance(bounds, tuple) else (bounds.low, bounds.high)
    return f"{low:g} to {high:.10g}" + (", or never" if getattr(bounds, "optional", False) else "")


class _SessionLimits(Section):
    max_concurrent_sessions: int = Field(
        default=3, ge=1, le=1_000_000, description="live sessions at one time; 1 to 1000000"
    )


_SESSIONS = {
    "renewal_margin_seconds": "seconds before a key expires that the next is fetched (never before half its life)",
    "inactivity_timeout_minutes": "minutes without activity after which a session is ended",
    "heartbeat_interval_seconds": "seconds between two checks of a session's health",
    "max_retry_attempts": "further attempts of one round of start or renewal after the first failed",
    "retry_backoff_ms": "milliseconds of the first wait between attempts; it doubles, up to 30 s, with jitter",
    "enable_heartbeat": "whether health is checked at all",
    "enable_inactivity_timeout": "whether a silent session is ended at all",
    "key_life_seconds": "seconds of life to ask for each key",
    "start_timeout_seconds": "seconds a start may take, attempts and waits together",
    "failed_retention_seconds": "seconds a failed session's record stays for diagnostics",
    "renewal_spread_seconds": "seconds up to which renewal comes earlier, by a share of its own for each session",
    "hook_timeout_seconds": "seconds a ready, suspending or resumed hook may take",
    "max_duration_seconds": "seconds after which a session is ended, counted from when it became active",
    "max_total_tokens": "tokens, input and output together, after which a session is ended",
    "max_audio_seconds": "seconds of audio, heard and spoken together, after which a session is ended",
    "limit_warning_fraction": "the part of a limit at which it is told that it approaches",
}
_RETRY = {
    "attempts": "attempts of an operation in all; start and renewal follow the section sessions",
    "cap": "seconds of the longest wait between attempts, unless the provider asks for more",
    "budget": "seconds an operation may take, attempts and waits together",
    "cool_down": "seconds of the longest break of a breaker",
}
_BREAKER = {
    "failure_ratio": "the share of the attempts in the window that must fail to open the breaker",
    "minimum_throughput": "attempts the window must hold before the share means anything",
    "sampling": "seconds that the window is long",
    "failures_in_a_row": "attempts that must fail in a row to open the breaker, whatever the window holds",
    "slow_after": "seconds after which an attempt counts as failed, however it ends",
    "first_break": "seconds the breaker stays open at first",
    "growth": "times as long as the one before that each further break is",
    "urgent_break": "seconds of a break after which a session about to lose its key may probe all the same",
    "probes": "attempts let through after a break; all must succeed",
}
_RETENTION = {
    "audio_seconds": "seconds audio may stay once its live session no longer needs it",
    "partial_transcript_seconds": "seconds for transcripts that are not final",
    "final_transcript_seconds": "seconds for final transcripts",
    "diagnostics_seconds": "seconds for diagnostics",
}
_CONVERSATION = {
    "handover_margin_seconds": "seconds before the cut that the next connection is made ready; half its life at most",
    "handover_deadline_seconds": "seconds before the cut at which it is moved to even if nobody paused",
    "max_connection_seconds": "seconds one connection may last; never: as long as the provider says",
    "open_timeout_seconds": "seconds that the first connection is tried to be opened",
    "max_outage_seconds": "seconds that a lost connection is tried to be replaced",
    "restore_timeout_seconds": "seconds an attempt to dial, configure and replay may take; a replay under way, longer",
    "drain_seconds": "seconds a connection that was moved away from is still heard, for transcripts under way",
    "heartbeat_seconds": "seconds of silence after which a connection is asked, and after as many again given up",
    "retry_backoff_seconds": "seconds before the second dial; it doubles, up to 8 s, with jitter",
    "on_interrupted_turn": "what becomes of an answer that was cut in the middle",
    "max_queued_audio_seconds": "seconds of audio that wait while there is no connection; the oldest goes first",
    "max_queued_bytes": "bytes of input that wait, audio in base64",
    "keep_audio": "how long committed audio is kept to be said again",
    "max_kept_audio_seconds": "seconds of audio that are kept for that",
    "replay_token_budget": "tokens of conversation that the next connection is given, about; never: all",
    "max_event_backlog": "events that wait for a slow reader before the connection is no longer read",
}
_CHOICES = {name: " or ".join(choices) for name, choices in CHOICES.items()}
_EMULATOR = {
    "host": "the address to listen on",
    "port": "the port to listen on; 0 to 65535, 0 is any free one",
    "key_life": "seconds no key outlives, whatever was asked for; more than 0",
    "session_life": "seconds after which a connection is ended as expired; more than 0",
    "time_scale": "how many times faster lives, delays and outages pass; more than 0",
    "pacing": "how audio answers arrive: instant or realtime",
    "refusal": "how a bad key is refused a socket: http (at the upgrade) or close (after it)",
    "seed": "of the latencies drawn; a whole number",
    "tls": "whether to speak https and wss, with a certificate made for the occasion; true or false",
    "heartbeat": "seconds between pings of open sockets; more than 0",
    "keep_audio": "whether to keep the audio of committed items; true or false",
}


class RuleSettings(Section):
    """A redaction rule of the user's own."""

    pattern: str = Field(description="a regular expression")
    label: str = Field(description="a lower-case word of up to 32 letters, digits and hyphens")


def _sound(rules: tuple[RuleSettings, ...]) -> tuple[RuleSettings, ...]:
    check_rules(redaction_rules(rules))
    return rules


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        pass
    raise ValueError("must be JSON in the environment, a list of objects")


def redaction_rules(rules: Iterable[RuleSettings]) -> tuple[RedactionRule, ...]:
    """The rules as the privacy package takes them."""
    return tuple(RedactionRule(pattern=rule.pattern, label=rule.label) for rule in rules)


class _PrivacyRules(Section):
    applies: ClassVar[Mapping[str, str]] = dict.fromkeys(_RETENTION, AT_ONCE)

    redaction_rules: Annotated[
        tuple[RuleSettings, ...], NoDecode, BeforeValidator(_from_json), AfterValidator(_sound)
    ] = Field(default=(), description="tables of pattern and label: what matches is stored as [label]")


def _split(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list, in the environment with commas."""


class TelemetrySettings(Section):
    """What is logged, and which labels metrics carry."""

    instrument: bool = Field(
        default=True, description="log events, and make OpenTelemetry spans and metrics where an SDK is installed"
    )
    log_style: Literal["terminal", "json"] | None = Field(
        default=None, description="terminal or json; without it logging is left to the application"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error; counts where log_style is set"
    )
    metric_labels: Names = Field(
        default=(), description="names of the labels given at start that metrics may carry, too"
    )
    metric_label_values: int = Field(
        default=20, ge=1, le=1_000, description="values each of these may have, the rest become `other`; 1 to 1000"
    )


class _EmulatorLists(Section):
    api_keys: Annotated[frozenset[SecretStr] | None, NoDecode, BeforeValidator(_split)] = Field(
        default=None, description="the API keys that are good; without it any"
    )
    models: Annotated[frozenset[str] | None, NoDecode, BeforeValidator(_split)] = Field(
        default=None, description="the models there are; without it any"
    )
    certificate: str | None = Field(default=None, description="a PEM file to speak TLS with")
    private_key: str | None = Field(default=None, description="the PEM file of its private key")


if TYPE_CHECKING:
    SessionSettings = _SessionLimits
    RecoverySettings = Section
    ConversationSettings = Section
    PrivacySettings = _PrivacyRules
    EmulatorSettings = _EmulatorLists
else:
    SessionSettings = create_model(
        "SessionSettings",
        __base__=_SessionLimits,
        **_like(SessionConfig, _with_bounds(_SESSIONS, BOUNDS)),
    )
    SessionSettings.applies = dict.fromkeys(SessionSettings.model_fields, AT_ONCE)
    RecoverySettings = create_model(
        "RecoverySettings",
        __base__=Section,
        **_like(RetryPolicy, _with_bounds(_RETRY, GUARDRAILS), prefix="retry_", optional=True),
        **_like(BreakerOptions, _with_bounds(_BREAKER, BREAKER_BOUNDS), prefix="breaker_"),
    )
    PrivacySettings = create_model(
        "PrivacySettings",
        __base__=_PrivacyRules,
        **_like(RetentionPolicy, _with_bounds(_RETENTION, WINDOWS)),
    )
    ConversationSettings = create_model(
        "ConversationSettings",
        __base__=Section,
        **_like(ConversationConfig, _with_bounds(_CONVERSATION, {**CONVERSATION_BOUNDS, **_CHOICES})),
    )
    ConversationSettings.applies = dict.fromkeys(ConversationSettings.model_fields, NEXT_CONVERSATION)
    # The port is the one `voicepilot emulate` is known by; a program of one's own takes any free one.
    EmulatorSettings = create_model(
        "EmulatorSettings", __base__=_EmulatorLists, **_like(Options, _EMULATOR, defaults={"port": 8690})
    )

SECTIONS: Mapping[str, type[Section]] = {
    "provider": ProviderSettings,
    "sessions": SessionSettings,
    "conversation": ConversationSettings,
    "recovery": RecoverySettings,
    "privacy": PrivacySettings,
    "telemetry": TelemetrySettings,
    "emulator": EmulatorSettings,
}

BY_SECTION_ONLY = frozenset({"emulator"})
"""Sections whose fields are no keywords by themselves: `host` alone says too little."""


def policy_fields(section: Section, struct: type[msgspec.Struct], prefix: str = "") -> dict[str, Any]:
    """What `section` says of the fields of `struct`; a None of the section's own default is left out."""
    names = [field.name for field in msgspec.structs.fields(struct)]
    given = {name: getattr(section, prefix + name) for name in names if prefix + name in type(section).model_fields}
    return {
        name: value
        for name, value in given.items()
        if value is not None or type(section).model_fields[prefix + name].default is not None
    }
