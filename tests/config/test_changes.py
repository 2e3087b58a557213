"""Changes: told by section, all or nothing, to everybody, and without secrets."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from voicepilot.config import Change, ConfigurationManager, SectionChanged, Settings
from voicepilot.errors import ConfigurationError

CANARY = "sk-canary-CREDENTIAL-0123456789"
OTHER = "sk-canary-ANOTHER-0123456789"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path("voicepilot.toml").write_text(text)


def test_each_section_that_changed_is_told_once_with_old_and_new() -> None:
    manager = ConfigurationManager()
    heard: list[SectionChanged] = []
    manager.on_changed(heard.append)
    write("[sessions]\nkey_life_seconds = 60\nmax_retry_attempts = 1\n[telemetry]\nlog_level = 'debug'\n")
    told = manager.reload()
    assert (
        heard
        == list(told)
        == [
            SectionChanged("sessions", {"key_life_seconds": Change(600, 60), "max_retry_attempts": Change(3, 1)}),
            SectionChanged("telemetry", {"log_level": Change("info", "debug")}, restart=("log_level",)),
        ]
    )
    assert manager.session_config().key_life_seconds == 60
    assert manager.reload() == ()


def test_arguments_stay_stronger_than_the_file() -> None:
    manager = ConfigurationManager(key_life_seconds=30)
    write("[sessions]\nkey_life_seconds = 60\n")
    assert manager.reload() == ()


def test_an_invalid_reload_changes_nothing_and_says_why() -> None:
    write("[sessions]\nkey_life_seconds = 60\n")
    manager = ConfigurationManager()
    heard: list[SectionChanged] = []
    manager.on_changed(heard.append)
    before = manager.settings
    write("[sessions]\nkey_life_seconds = 90\nheartbeat_interval_seconds = 0\n")
    with pytest.raises(ConfigurationError, match=r"voicepilot.toml \[sessions\] heartbeat_interval_seconds"):
        manager.reload()
    assert manager.settings is before
    assert heard == []


def test_settings_that_a_check_refuses_do_not_come_into_force() -> None:
    def check(settings: Settings) -> None:
        if settings.provider.model == "no":
            raise ConfigurationError("no")

    manager = ConfigurationManager(check=check)
    write("[provider]\nmodel = 'no'\n")
    with pytest.raises(ConfigurationError, match="no"):
        manager.reload()
    assert manager.provider.model is None
    with pytest.raises(ConfigurationError, match="no"):
        ConfigurationManager(check=check)


def test_a_secret_changes_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    manager = ConfigurationManager()
    heard: list[SectionChanged] = []
    manager.on_changed(heard.append)
    monkeypatch.setenv("OPENAI_API_KEY", OTHER)
    with caplog.at_level(logging.DEBUG):
        manager.reload()
    monkeypatch.delenv("OPENAI_API_KEY")
    manager.reload()
    assert [told.changes["api_key"] for told in heard] == [Change("<hidden>", "<hidden>"), Change("<hidden>", None)]
    assert "api_key" in caplog.text
    assert CANARY not in f"{heard}{caplog.text}"
    assert OTHER not in f"{heard}{caplog.text}"


def test_what_needs_a_restart_is_said(caplog: pytest.LogCaptureFixture) -> None:
    manager = ConfigurationManager()
    write("[provider]\nmodel = 'm'\napi_key = 'k'\n")
    (told,) = manager.reload()
    assert (set(told.changes), told.restart) == ({"model", "api_key"}, ("model",))
    assert "provider: model apply after a restart" in caplog.text


def test_a_handler_that_is_disposed_or_whose_manager_is_hears_nothing() -> None:
    manager = ConfigurationManager()
    heard: list[SectionChanged] = []
    with manager.on_changed(heard.append):
        pass
    manager.replace(Settings.load(key_life_seconds=60))
    assert heard == []


async def test_after_dispose_no_handler_is_called() -> None:
    manager = ConfigurationManager()
    heard: list[SectionChanged] = []
    manager.on_changed(heard.append)
    await manager.initialize()
    await manager.dispose()
    manager.replace(Settings.load(key_life_seconds=60))
    assert heard == []


def test_a_handler_that_reloads_keeps_the_order_for_everybody() -> None:
    manager = ConfigurationManager()

    def nervous(told: SectionChanged) -> None:
        if told.changes["key_life_seconds"].new == 60:
            manager.replace(Settings.load(key_life_seconds=70))

    heard: list[object] = []
    manager.on_changed(nervous)
    manager.on_changed(lambda told: heard.append(told.changes["key_life_seconds"].new))
    manager.replace(Settings.load(key_life_seconds=60))
    assert heard == [60, 70]


async def test_an_async_handler_is_refused() -> None:
    async def handler(_: SectionChanged) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        ConfigurationManager().on_changed(handler)


def test_settings_given_as_an_object_are_replaced_and_not_reloaded() -> None:
    manager = ConfigurationManager(Settings())
    with pytest.raises(ConfigurationError, match="given as an object"):
        manager.reload()
    assert manager.replace(Settings.load(model="m"))
    with pytest.raises(TypeError):
        ConfigurationManager(Settings(), watch_file=True)
