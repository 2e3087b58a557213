"""A reload reaches the sessions that run: in virtual time by hand, and from a real file over a real watcher."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from voicepilot import (
    ConfigurationError,
    ConfigurationManager,
    EphemeralKeyService,
    MissingCredentialsError,
    SessionLimitError,
    SessionManager,
)
from voicepilot.build import build_manager
from voicepilot.config import SectionChanged
from voicepilot.privacy import PrivacyController, RetentionPolicy
from voicepilot.recovery import RecoveryExecutor
from voicepilot.testing import FakeKeyService, FakePurger, VirtualClock

LIMIT = 30.0
"""Seconds after which a test that waits for a real file gives up."""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path("voicepilot.toml").write_text(text)


def replace(text: str) -> None:
    Path("voicepilot.toml").unlink()
    Path("new.toml").write_text(text)
    Path("new.toml").replace("voicepilot.toml")


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[SessionManager, ConfigurationManager, FakeKeyService]]:
    configuration, keys, clock = ConfigurationManager(**options), FakeKeyService(), VirtualClock()
    manager = SessionManager(keys, configuration=configuration, clock=clock, owned=(configuration,))
    async with manager:
        yield manager, configuration, keys


async def test_a_new_margin_moves_the_renewal_of_a_running_session() -> None:
    async with running(key_life_seconds=100, enable_inactivity_timeout=False) as (manager, configuration, keys):
        await manager.start_session()
        write("[sessions]\nrenewal_margin_seconds = 40\n")
        configuration.reload()
        await asyncio.sleep(59)
        assert len(keys.issued) == 1
        await asyncio.sleep(2)
        assert len(keys.issued) == 2


async def test_a_shorter_inactivity_ends_a_running_session_and_switching_it_off_lets_it_live() -> None:
    async with running() as (manager, configuration, _):
        session = await manager.start_session()
        write("[sessions]\nenable_inactivity_timeout = false\n")
        configuration.reload()
        await asyncio.sleep(3_600)
        assert manager.is_session_active(session.session_id)
        write("[sessions]\ninactivity_timeout_minutes = 1\n")
        configuration.reload()
        await asyncio.sleep(61)
        assert manager.get_all_sessions() == ()


async def test_what_was_chosen_for_a_session_stays() -> None:
    async with running() as (manager, configuration, _):
        chosen = await manager.start_session({"inactivity_timeout_minutes": 60})
        usual = await manager.start_session()
        write("[sessions]\ninactivity_timeout_minutes = 7\nretry_backoff_ms = 200\n")
        configuration.reload()
        configs = [manager.get_session_config(session.session_id) for session in (chosen, usual)]
        assert [(c.inactivity_timeout_minutes, c.retry_backoff_ms) for c in configs if c] == [(60, 200), (7, 200)]


async def test_the_limit_counts_for_the_next_start() -> None:
    async with running(inactivity_timeout_minutes=60) as (manager, configuration, _):
        first = await manager.start_session()
        await manager.start_session()
        write("[sessions]\nmax_concurrent_sessions = 1\n")
        configuration.reload()
        assert len(manager.get_all_sessions()) == 2
        with pytest.raises(SessionLimitError):
            await manager.start_session()
        write("[sessions]\nmax_concurrent_sessions = 3\n")
        configuration.reload()
        assert manager.is_session_active(first.session_id)
        await manager.start_session()


async def test_an_invalid_reload_leaves_running_sessions_alone() -> None:
    async with running() as (manager, configuration, _):
        session = await manager.start_session()
        before = manager.get_session_config(session.session_id)
        write("[sessions]\nrenewal_margin_seconds = 40\nkey_life_seconds = 0\n")
        with pytest.raises(ConfigurationError):
            configuration.reload()
        assert manager.get_session_config(session.session_id) == before


async def test_a_disposed_manager_no_longer_listens() -> None:
    configuration = ConfigurationManager()
    await configuration.initialize()
    async with SessionManager(FakeKeyService(), configuration=configuration, clock=VirtualClock()) as manager:
        await manager.start_session()
        assert configuration._tellers
    assert not configuration._tellers
    assert configuration.is_initialized


# --- what `from_settings` puts together -------------------------------------------------------------------------------


def built(**settings: Any) -> tuple[ConfigurationManager, EphemeralKeyService]:
    manager = build_manager(instrument=False, **settings)
    configuration, service = manager._configuration, manager._key_service
    assert isinstance(configuration, ConfigurationManager)
    assert isinstance(service, EphemeralKeyService)
    return configuration, service


async def key_of(service: EphemeralKeyService) -> str:
    return (await service._credential.secret()).reveal()


async def test_what_is_built_is_built_by_the_settings_and_new_windows_apply_at_once() -> None:
    manager = build_manager(api_key="k", retry_attempts=2, breaker_probes=3, audio_seconds=1)
    configuration = manager._configuration
    executor, controller = manager._performer.recovery.executor, manager._performer.purger
    assert isinstance(configuration, ConfigurationManager)
    assert isinstance(executor, RecoveryExecutor)
    assert isinstance(controller, PrivacyController)
    assert executor._policies == configuration.settings.retry_policies()
    assert executor._circuits._new.options.probes == 3
    async with manager:
        assert controller.policy.policy == RetentionPolicy(audio_seconds=1)
        write("[privacy]\ndiagnostics_seconds = 60\n")
        configuration.reload()
        assert controller.policy.policy == RetentionPolicy(audio_seconds=1, diagnostics_seconds=60)
    assert not controller.is_initialized


def test_the_authentication_test_passes_the_executor_that_is_built() -> None:
    manager = build_manager(api_key="k", instrument=False)
    assert isinstance(manager._key_service, EphemeralKeyService)
    assert manager._key_service._recovery is manager._performer.recovery.executor is not None


async def test_a_controller_and_an_executor_that_are_given_are_used() -> None:
    purger, executor = FakePurger(), RecoveryExecutor()
    manager = build_manager(api_key="k", privacy_controller=purger, recovery_executor=executor)
    assert manager._performer.purger is purger
    assert manager._performer.recovery.executor is executor
    assert {executor, purger}.isdisjoint(manager._life.owned)


async def test_a_new_api_key_is_used_for_the_next_mint(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[provider]\napi_key = 'one'\n")
    configuration, service = built()
    write("[provider]\napi_key = 'two'\n")
    configuration.reload()
    assert await key_of(service) == "two"
    write("")
    configuration.reload()
    monkeypatch.setenv("OPENAI_API_KEY", "three")
    assert await key_of(service) == "three"


async def test_a_key_for_another_address_is_never_sent_to_the_old_one(caplog: pytest.LogCaptureFixture) -> None:
    write("[provider]\napi_key = 'one'\n")
    configuration, service = built()
    write("[provider]\napi_key = 'azures'\nazure_endpoint = 'https://mine.openai.azure.com'\n")
    configuration.reload()
    assert await key_of(service) == "one"
    assert "provider.api_key is for another address" in caplog.text
    write("[provider]\napi_key = 'two'\n")
    configuration.reload()
    assert await key_of(service) == "two"


async def test_a_credential_given_as_an_object_stays() -> None:
    configuration, service = built(credential="mine")
    write("[provider]\napi_key = 'two'\n")
    configuration.reload()
    assert await key_of(service) == "mine"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[provider]\napi_key = 'two words'\n", MissingCredentialsError),
        ("[provider]\nazure_endpoint = 'https://mine.openai.azure.com.evil.example'\n", ConfigurationError),
    ],
)
async def test_a_provider_no_key_can_be_asked_from_is_refused_whole(text: str, error: type[Exception]) -> None:
    write("[provider]\napi_key = 'one'\n")
    configuration, service = built()
    write(text + "[sessions]\nkey_life_seconds = 60\n")
    with pytest.raises(error):
        configuration.reload()
    assert configuration.session_config().key_life_seconds == 600
    assert await key_of(service) == "one"


def test_watching_without_watchfiles_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError) as caught:
        ConfigurationManager(watch_file=True)
    assert "voicepilot-sessions[reload]" in caught.value.remediation


# --- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.sockets
async def test_a_changed_file_reaches_the_sessions_that_run() -> None:
    write("[sessions]\nkey_life_seconds = 100\n")
    configuration = ConfigurationManager(watch_file=True)
    manager = SessionManager(FakeKeyService(), configuration=configuration, owned=(configuration,))
    changed = asyncio.Event()
    configuration.on_changed(lambda _: changed.set())
    async with asyncio.timeout(LIMIT), manager:
        session = await manager.start_session()
        write("[sessions]\nkey_life_seconds = 200\n")
        await changed.wait()
        config = manager.get_session_config(session.session_id)
        assert config is not None
        assert config.key_life_seconds == 200
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("voicepilot")] == []


@pytest.mark.sockets
async def test_a_replaced_file_counts_and_a_broken_or_missing_one_does_not() -> None:
    write("[sessions]\nkey_life_seconds = 100\n")
    refused, changed = asyncio.Event(), asyncio.Event()

    class Refusals(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "cannot be used" in record.getMessage():
                refused.set()

    logger = logging.Logger("test")  # noqa: LOG001 - nobody else's
    logger.addHandler(Refusals())
    configuration = ConfigurationManager(watch_file=True, logger=logger)
    heard: list[SectionChanged] = []
    configuration.on_changed(heard.append)
    configuration.on_changed(lambda _: changed.set())
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(configuration.follow())
        write("[sessions]\nkey_life_seconds = 1\n")
        await refused.wait()
        assert configuration.session_config().key_life_seconds == 100
        replace("[sessions]\nkey_life_seconds = 300\n")
        await changed.wait()
        follower.cancel()
    assert [(told.changes["key_life_seconds"].old, told.changes["key_life_seconds"].new) for told in heard] == [
        (100, 300)
    ]


@pytest.mark.sockets
async def test_a_directory_that_is_gone_ends_the_watching_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "v.toml").write_text("")
    configuration = ConfigurationManager(config_file=folder / "v.toml", watch_file=True)
    (folder / "v.toml").unlink()
    folder.rmdir()
    async with asyncio.timeout(LIMIT):
        await configuration.follow()
    assert "is watched no more" in caplog.text
