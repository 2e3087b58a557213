"""The sections for recovery, privacy, telemetry and the emulator: what they mean, and what they refuse."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from voicepilot.cli.app import PORT
from voicepilot.config import Settings
from voicepilot.config.layers import Layer
from voicepilot.config.settings import FIELDS, read
from voicepilot.emulator.options import Options
from voicepilot.errors import ConfigurationError, FaultDomain
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.privacy.redact import RedactionRule
from voicepilot.privacy.retention import RetentionPolicy
from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.recovery.policy import ENVELOPES
from voicepilot.telemetry.instrument import instrument

CANARY = "sk-canary-CREDENTIAL-0123456789"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_those_of_the_parts() -> None:
    settings = Settings.load()
    assert settings.session_config() == SessionConfig()
    assert settings.retry_policies() == {domain.value: policy for domain, policy in ENVELOPES.items()}
    assert settings.breaker_options() == BreakerOptions()
    assert settings.retention_policy() == RetentionPolicy()
    assert settings.redaction_rules() == ()
    assert settings.emulator_options() == Options(port=PORT)
    assert settings.telemetry.metric_label_values == inspect.signature(instrument).parameters["label_values"].default


def test_every_option_of_the_emulator_that_is_no_function_can_be_set() -> None:
    assert set(FIELDS["emulator"]) == set(Options.__struct_fields__) - {"answers"}


def test_every_breaker_option_and_window_can_be_set() -> None:
    assert {f"breaker_{name}" for name in BreakerOptions.__struct_fields__} <= set(FIELDS["recovery"])
    assert set(RetentionPolicy.__struct_fields__) <= set(FIELDS["privacy"])
    assert set(SessionConfig.__struct_fields__) <= set(FIELDS["sessions"])


def test_every_field_is_described() -> None:
    assert [f"{section}.{name}" for section in FIELDS for name, said in FIELDS[section].items() if not said] == []


def test_a_keyword_means_one_field() -> None:
    names = [name for section, fields in FIELDS.items() if section != "emulator" for name in fields]
    assert len(names) == len(set(names))


def test_each_source_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("voicepilot.toml").write_text("[privacy]\naudio_seconds = 1\n[recovery]\nretry_attempts = 2\n")
    assert Settings.load().retention_policy().audio_seconds == 1
    monkeypatch.setenv("VOICEPILOT_PRIVACY__AUDIO_SECONDS", "2")
    assert Settings.load().retention_policy().audio_seconds == 2
    assert Settings.load(audio_seconds=3).retention_policy().audio_seconds == 3
    assert Settings.load(privacy={"audio_seconds": 4, "final_transcript_seconds": None}).retention_policy() == (
        RetentionPolicy(audio_seconds=4)
    )
    assert {policy.attempts for policy in Settings.load().retry_policies().values()} == {2}
    assert Settings.load().retry_policies()[FaultDomain.AUTH].budget == ENVELOPES[FaultDomain.AUTH].budget


def test_lists_have_commas_in_the_environment_and_rules_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEPILOT_TELEMETRY__METRIC_LABELS", "tenant, region")
    monkeypatch.setenv("VOICEPILOT_EMULATOR__API_KEYS", CANARY)
    monkeypatch.setenv("VOICEPILOT_PRIVACY__REDACTION_RULES", '[{"pattern": "A[0-9]", "label": "order"}]')
    settings = Settings.load()
    assert settings.telemetry.metric_labels == ("tenant", "region")
    assert settings.emulator_options().api_keys == frozenset({CANARY})
    assert settings.redaction_rules() == (RedactionRule("A[0-9]", "order"),)
    assert CANARY not in f"{settings!r}{settings.model_dump_json()}"


def test_never_is_the_word_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEPILOT_RECOVERY__BREAKER_SLOW_AFTER", "never")
    Path("voicepilot.toml").write_text("[recovery]\nbreaker_failures_in_a_row = 'never'\n")
    assert Settings.load().breaker_options() == BreakerOptions(slow_after=None, failures_in_a_row=None)


def test_a_session_has_no_limits_unless_they_are_set_and_never_takes_one_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().session_config() == SessionConfig()
    Path("voicepilot.toml").write_text("[sessions]\nmax_total_tokens = 1000\nmax_duration_seconds = 3600\n")
    monkeypatch.setenv("VOICEPILOT_SESSIONS__MAX_DURATION_SECONDS", "never")
    limited = Settings.load(max_audio_seconds=60).session_config()
    assert (limited.max_total_tokens, limited.max_duration_seconds, limited.max_audio_seconds) == (1000, None, 60)
    with pytest.raises(ConfigurationError, match=r"max_total_tokens.* must be between 1 and 1000000000 tokens"):
        Settings.load(max_total_tokens=0)


def test_everything_wrong_in_any_section_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEPILOT_RECOVERY__BREAKER_PROBES", "0")
    monkeypatch.setenv("VOICEPILOT_SESSION__MODEL", "x")
    Path("voicepilot.toml").write_text(
        "[emulator]\nport = 99999\n[[privacy.redaction_rules]]\nlabel = 'x'\npatern = 'x'\n[nonsense]\nx = 1\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(audio_seconds=-1, metric_label_values=0, emulator={"pacing": "slow"})
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert [line.split(":")[0] for line in lines] == [
        "recovery.breaker_probes (environment variable VOICEPILOT_RECOVERY__BREAKER_PROBES)",
        "privacy.redaction_rules.0.pattern",
        "privacy.redaction_rules.0.patern (voicepilot.toml [privacy.redaction_rules.0] patern)",
        "privacy.audio_seconds (argument audio_seconds)",
        "telemetry.metric_label_values (argument metric_label_values)",
        "emulator.port (voicepilot.toml [emulator] port)",
        "emulator.pacing (argument pacing)",
        "nonsense (voicepilot.toml [nonsense])",
        "session (environment variable VOICEPILOT_SESSION__…)",
    ]
    assert "must be between 1 and 100 attempts, got 0" in lines[0]
    assert "did you mean pattern?" in lines[2]
    assert "did you mean sessions?" in lines[8]
    assert "docs/configuration.md" in caught.value.remediation


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('[{"pattern": "(", "label": "order"}]', "redaction rule 1 (order)"),
        ('[{"pattern": "(a+)+", "label": "order"}, {"pattern": "a", "label": "No"}]', "redaction rule 2 (No)"),
        ("[{" + CANARY, "must be JSON"),
    ],
)
def test_a_bad_redaction_rule_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, rules: str, said: str) -> None:
    monkeypatch.setenv("VOICEPILOT_PRIVACY__REDACTION_RULES", rules)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(audio_seconds=-1)
    assert "2 settings" in str(caught.value)
    assert said in str(caught.value)
    assert CANARY not in f"{caught.value!r}{caught.value}"


def test_a_section_as_an_argument_is_a_dict() -> None:
    with pytest.raises(ConfigurationError, match="recovery: a section is given as a dict"):
        Settings.load(recovery=7)
    with pytest.raises(ConfigurationError, match="port: no such setting"):
        Settings.load(port=1)


def test_one_section_can_be_read_whatever_the_others_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://a.example/v1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com")
    Path("voicepilot.toml").write_text("[emulator]\nport = 7\n[sessions]\nkey_life_seconds = 1\n")
    assert Settings.load_only("emulator").emulator_options().port == 7


def test_what_was_loaded_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    loaded = read()
    assert CANARY not in f"{loaded!r}{loaded.layers!r}"
    layer = next(layer for layer in loaded.layers if layer.holds(("provider", "api_key")))
    assert layer.origin(("provider", "api_key")) == "environment variable OPENAI_API_KEY"
    assert not Layer("environment", {"a": [1]}).holds(("a", "1"))
