"""Puts a SessionManager together from settings: the composition root for library users."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from voicepilot.config import ConfigurationManager, ProviderSettings, SectionChanged, Settings
from voicepilot.credentials import EphemeralKeyService
from voicepilot.credentials.provider import credential_of, profile_of
from voicepilot.ports import Clock, Disposable, Host, KeyMinter, Purger, RecoveryExecutor
from voicepilot.privacy import PrivacyController, Redactor, TranscriptStore
from voicepilot.privacy.transcripts import Registrar
from voicepilot.recovery import RecoveryExecutor as Executor
from voicepilot.recovery import RecoveryPlan, RecoveryRegistrar
from voicepilot.runtime.manager import SessionManager
from voicepilot.telemetry import WatchedKeyService, configure_logging, instrument


def build_manager(
    *,
    config_file: str | os.PathLike[str] | None = None,
    credential: Any = None,
    logger: logging.Logger | None = None,
    privacy_controller: Purger | None = None,
    recovery_executor: RecoveryExecutor | None = None,
    host: Host | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> SessionManager:
    """A manager that makes, initialises and disposes its own parts; a controller or executor that is given stays yours.

    `credential` is whatever `EphemeralKeyService` takes for one; `settings` are the keywords of `Settings.load`, and
    `watch_file=True` for settings that follow their file. Raises `ConfigurationError`.
    """
    configuration = ConfigurationManager(
        config_file=config_file, check=partial(check_settings, credential=credential), logger=logger, **settings
    )
    executor = controller = None
    if recovery_executor is None:
        recovery_executor = executor = _executor(configuration.settings, clock, logger)
    key_service = EphemeralKeyService(
        configuration.provider,
        credential=credential,
        clock=clock,
        logger=logger,
        recovery_executor=recovery_executor,
    )
    if credential is None:
        configuration.on_changed(_next_mint_uses(configuration, key_service))
    if privacy_controller is None:
        privacy_controller = controller = _controller(configuration, clock, logger)
    telemetry = _Telemetry(configuration.settings, key_service, clock)
    ours = (telemetry, configuration, key_service, executor, controller)  # the first to begin is the last to stop
    manager = SessionManager(
        telemetry.key_service,
        configuration=configuration,
        logger=logger,
        privacy_controller=privacy_controller,
        transcripts=_transcripts(privacy_controller, configuration.settings, clock),
        recovery_executor=recovery_executor,
        host=host,
        clock=clock,
        owned=[part for part in ours if part is not None],
    )
    telemetry.watch(manager)
    if executor is not None:
        manager.set_recovery_executor(executor, _plan(manager, logger))
    return manager


class _Telemetry:
    """What the settings want logged, traced and measured; a collaborator of the manager's own."""

    def __init__(self, settings: Settings, key_service: EphemeralKeyService, clock: Clock | None) -> None:
        self._wanted = settings.telemetry
        self._now = clock.now if clock else time.time
        self._watched = WatchedKeyService(key_service)
        self._handles: list[Disposable] = []
        self.key_service: KeyMinter = self._watched if self._wanted.instrument else key_service
        self.is_initialized = False

    def watch(self, manager: SessionManager) -> None:
        """Begin to listen, before the first session starts."""
        if self._wanted.instrument:
            labels, values = self._wanted.metric_labels, self._wanted.metric_label_values
            handle = instrument(manager, self._watched, labels=labels, label_values=values, now=self._now)
            self._handles.append(handle)

    async def initialize(self) -> None:
        """Show the log, where the settings say how."""
        self.is_initialized = True
        if self._wanted.log_style is not None:
            self._handles.append(configure_logging(self._wanted.log_style, level=self._wanted.log_level))

    async def dispose(self) -> None:
        """Let go of what was begun, the last first."""
        self.is_initialized = False
        while self._handles:
            self._handles.pop().dispose()


def _plan(manager: SessionManager, logger: logging.Logger | None) -> RecoveryPlan:
    """The plan of a manager that was given none: go on degraded, and let the host show it."""
    registrar = RecoveryRegistrar(logger)
    manager.register_recovery_actions(registrar)
    return registrar.plan(fallback="degraded-features")


def _executor(settings: Settings, clock: Clock | None, logger: logging.Logger | None) -> Executor:
    return Executor(policies=settings.retry_policies(), breaker=settings.breaker_options(), clock=clock, logger=logger)


def _controller(
    configuration: ConfigurationManager, clock: Clock | None, logger: logging.Logger | None
) -> PrivacyController:
    controller = PrivacyController(configuration.settings.retention_policy(), clock=clock, logger=logger)

    def changed(news: SectionChanged) -> None:
        policy = configuration.settings.retention_policy()
        if news.section == "privacy" and controller.is_initialized and policy != controller.policy.policy:
            controller.update_policy(policy)

    configuration.on_changed(changed)
    return controller


def _transcripts(controller: Purger, settings: Settings, clock: Clock | None) -> TranscriptStore | None:
    """What keeps what is said, where somebody would purge it."""
    if not isinstance(controller, Registrar):
        return None
    return TranscriptStore(controller, redactor=Redactor(settings.redaction_rules()), clock=clock)


def check_settings(settings: Settings, credential: Any = None) -> None:
    """Raise ConfigurationError or MissingCredentialsError for a provider that no key can be asked from."""
    profile_of(settings.provider)
    credential_of(settings.provider, given=credential)


def _next_mint_uses(configuration: ConfigurationManager, key_service: EphemeralKeyService) -> Callable[..., None]:
    """Gives the key service a new API key. Whatever else changes about the provider needs a restart, as is logged."""
    made_for = _destination(configuration.provider)

    def changed(news: SectionChanged) -> None:
        if news.section != "provider" or configuration.provider.credential_source != "api-key":
            return
        if _destination(configuration.provider) == made_for:
            key_service.set_credential(credential_of(configuration.provider))
        elif "api_key" in news.changes:  # it must not go to the address that is still in use
            logging.getLogger("voicepilot").warning("provider.api_key is for another address: it needs a restart, too")

    return changed


def _destination(provider: ProviderSettings) -> tuple[str | None, ...]:
    return provider.profile, provider.base_url, provider.azure_endpoint, provider.credential_source
