"""Where settings come from, which wins, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from voicepilot.config import ConfigurationManager, Settings
from voicepilot.conversation.options import ConversationConfig
from voicepilot.credentials import AzurePreviewProfile, AzureProfile, EphemeralKeyService, OpenAIProfile
from voicepilot.errors import ConfigurationError
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.ports import Collaborator

CANARY = "sk-canary-CREDENTIAL-0123456789"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def file(text: str, name: str = "voicepilot.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path.resolve()


def key_of(settings: Settings) -> str | None:
    secret = settings.provider.api_key
    return None if secret is None else secret.get_secret_value()


def refused(**overrides: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(**overrides)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def test_the_defaults_of_sessions_are_session_configs_own() -> None:
    settings = Settings.load()
    assert settings.session_config() == SessionConfig()
    assert settings.sessions.max_concurrent_sessions == 3
    assert settings.provider.profile == "openai"


def test_arguments_win_over_environment_over_known_names_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file('[provider]\napi_key = "file"\nmodel = "file"\nbase_url = "https://file.example/v1"\n')
    assert key_of(Settings.load()) == "file"
    monkeypatch.setenv("OPENAI_API_KEY", "known")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://known.example/v1")
    assert key_of(Settings.load()) == "known"
    assert Settings.load().provider.base_url == "https://known.example/v1"
    monkeypatch.setenv("VOICEPILOT_PROVIDER__API_KEY", "environment")
    assert key_of(Settings.load()) == "environment"
    settings = Settings.load(api_key="argument")
    assert key_of(settings) == "argument"
    assert settings.provider.model == "file"


def test_the_file_is_the_one_given_or_named_or_the_one_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file("[sessions]\nmax_concurrent_sessions = 4\n")
    named = file("[sessions]\nmax_concurrent_sessions = 5\n", "named.toml")
    given = file("[sessions]\nmax_concurrent_sessions = 6\n", "given.toml")
    assert Settings.load().sessions.max_concurrent_sessions == 4
    monkeypatch.setenv("VOICEPILOT_CONFIG", str(named))
    assert Settings.load().sessions.max_concurrent_sessions == 5
    assert Settings.load(config_file=given).sessions.max_concurrent_sessions == 6


def test_sessions_are_set_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    file("[sessions]\nkey_life_seconds = 60\nenable_heartbeat = false\n")
    monkeypatch.setenv("VOICEPILOT_SESSIONS__RETRY_BACKOFF_MS", "250")
    monkeypatch.setenv("VOICEPILOT_SESSIONS__ENABLE_INACTIVITY_TIMEOUT", "false")
    config = Settings.load(renewal_margin_seconds=20, max_concurrent_sessions=5).session_config()
    assert config == SessionConfig(
        key_life_seconds=60,
        enable_heartbeat=False,
        retry_backoff_ms=250,
        enable_inactivity_timeout=False,
        renewal_margin_seconds=20,
    )


def test_none_and_an_empty_variable_mean_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("VOICEPILOT_PROVIDER__MODEL", "")
    settings = Settings.load(api_key=None, renewal_margin_seconds=None)
    assert (settings.provider.api_key, settings.provider.model) == (None, None)


def test_azure_is_chosen_by_its_endpoint_and_gets_only_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "for-openai")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    settings = Settings.load()
    assert settings.provider.profile == "azure"
    assert key_of(settings) is None
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "for-azure")
    assert key_of(Settings.load()) == "for-azure"
    chosen = Settings.load(profile="openai")
    assert (chosen.provider.profile, key_of(chosen)) == ("openai", "for-openai")


def test_an_address_given_by_a_stronger_source_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    settings = Settings.load(base_url="http://127.0.0.1:1/v1", api_key="k")
    assert (settings.provider.profile, settings.provider.azure_endpoint) == ("openai", None)


def test_a_gateway_for_azure_replaces_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    settings = Settings.load(profile="azure", base_url="https://gateway.example/openai/v1")
    profile = EphemeralKeyService(settings.provider).profile
    assert isinstance(profile, AzureProfile)
    assert profile.base_url == "https://gateway.example/openai/v1"


def test_two_addresses_from_one_source_are_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    error = refused()
    assert error.field == "provider.profile"
    assert "OPENAI_BASE_URL and AZURE_OPENAI_ENDPOINT" in str(error)
    assert Settings.load(profile="openai").provider.profile == "openai"


@pytest.mark.parametrize(
    ("overrides", "profile"),
    [
        ({}, OpenAIProfile()),
        ({"model": "m"}, OpenAIProfile(model="m")),
        ({"azure_endpoint": "https://mine.openai.azure.com", "model": "d"},
         AzureProfile(endpoint="https://mine.openai.azure.com", model="d")),
        ({"profile": "azure-preview", "azure_endpoint": "https://mine.openai.azure.com", "webrtc_region": "eastus2"},
         AzurePreviewProfile(endpoint="https://mine.openai.azure.com", webrtc_region="eastus2")),
    ],
)  # fmt: skip
def test_settings_choose_the_profile(overrides: dict[str, str], profile: OpenAIProfile) -> None:
    assert EphemeralKeyService(Settings.load(**overrides).provider).profile == profile


def test_azure_without_an_endpoint_is_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        EphemeralKeyService(Settings.load(profile="azure").provider)
    assert caught.value.field == "azure_endpoint"
    assert "AZURE_OPENAI_ENDPOINT" in caught.value.remediation


def test_everything_wrong_is_told_at_once_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    path = file("[sessions]\nkey_life_seconds = 5\n[provider]\nprofil = 'x'\n")
    monkeypatch.setenv("VOICEPILOT_SESSIONS__HEARTBEAT_INTERVAL_SECONDS", "often")
    error = refused(max_concurrent_sessions=0, renewal_margin_seconds=-1)
    lines = str(error).splitlines()
    assert lines[0] == "5 settings cannot be used:"
    text = str(error)
    assert "provider.profil (voicepilot.toml [provider] profil): no such setting; did you mean profile?" in text
    assert "sessions.key_life_seconds (voicepilot.toml [sessions] key_life_seconds): must be between 10" in text
    assert "(environment variable VOICEPILOT_SESSIONS__HEARTBEAT_INTERVAL_SECONDS): Input should be a valid" in text
    assert "expected: seconds between two checks of a session's health; 1 to 86400" in text
    assert "sessions.renewal_margin_seconds (argument renewal_margin_seconds): must be between 0 and 3600" in text
    assert "sessions.max_concurrent_sessions (argument max_concurrent_sessions)" in text
    assert error.remediation
    assert path.exists()


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("renewal_margin", "renewal_margin_seconds"),
        ("basurl", "base_url"),
        ("config", "config_file"),
        ("zzz", "known are"),
    ],
)
def test_an_unknown_keyword_is_named_with_the_nearest(keyword: str, hint: str) -> None:
    error = refused(**{keyword: 1})
    assert error.field == keyword
    assert keyword in str(error)
    assert hint in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[provider\n", "line 1"),
        ("[emulator]\nx = 1\n", "no such setting"),
        ("provider = 7\n", "provider (voicepilot.toml [provider]): it must be a table"),
    ],
)
def test_a_broken_file_is_named(text: str, said: str) -> None:
    file(text)
    assert said in str(refused())


def test_a_section_that_there_is_not_is_named_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEPILOT_SESSION__HOOK_TIMEOUT_SECONDS", "3")
    said = "session (environment variable VOICEPILOT_SESSION__…): no such setting; did you mean sessions?"
    assert str(refused()) == said


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nowhere.toml cannot be read: No such file" in str(refused(config_file="nowhere.toml"))
    monkeypatch.setenv("VOICEPILOT_CONFIG", "elsewhere.toml")
    assert "VOICEPILOT_CONFIG" in str(refused())


def test_no_error_shows_what_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [refused(api_key=[CANARY]), refused(profile=CANARY), refused(credential_source=CANARY)]
    monkeypatch.setenv("VOICEPILOT_PROVIDER", "{" + CANARY)
    errors.append(refused())
    monkeypatch.delenv("VOICEPILOT_PROVIDER")
    file(f"[provider]\napi_key = {CANARY}\n")
    errors.append(refused())
    for error in errors:
        assert CANARY not in f"{error}{error!r}{error.remediation}"


def test_settings_do_not_show_the_key() -> None:
    settings = Settings.load(api_key=CANARY)
    assert CANARY not in f"{settings}{settings!r}{settings.model_dump_json()}"


async def test_the_manager_is_a_collaborator_with_what_sessions_need() -> None:
    manager = ConfigurationManager(max_concurrent_sessions=7, heartbeat_interval_seconds=3)
    assert isinstance(manager, Collaborator)
    states = [manager.is_initialized]
    await manager.initialize()
    await manager.initialize()
    states.append(manager.is_initialized)
    await manager.dispose()
    await manager.dispose()
    states.append(manager.is_initialized)
    assert states == [False, True, False]
    assert manager.max_concurrent_sessions == 7
    assert manager.session_config() == SessionConfig(heartbeat_interval_seconds=3)
    assert manager.provider is manager.settings.provider


def test_the_manager_takes_settings_or_overrides() -> None:
    settings = Settings.load(model="m")
    assert ConfigurationManager(settings).settings is settings
    with pytest.raises(TypeError, match="not both"):
        ConfigurationManager(settings, model="n")


def test_conversations_have_a_section_of_their_own() -> None:
    given = {"max_connection_seconds": 60, "replay_token_budget": "never", "keep_audio": "always"}
    config = Settings.load(base_url="http://127.0.0.1:1/v1", conversation=given).conversation_config()
    assert config == ConversationConfig(max_connection_seconds=60, keep_audio="always")


def test_what_a_conversation_cannot_use_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)conversation\.heartbeat_seconds.*conversation\.keep_audio"):
        Settings.load(base_url="http://127.0.0.1:1/v1", conversation={"keep_audio": "no", "heartbeat_seconds": 0})
