"""Puts a SessionManager together from settings: the composition root for library users."""

from __future__ import annotations

import logging
import os
from typing import Any

from voicepilot.config import ConfigurationManager
from voicepilot.credentials import EphemeralKeyService
from voicepilot.ports import Clock, Host, Purger, RecoveryExecutor
from voicepilot.runtime.manager import SessionManager


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
    """A manager that makes, initialises and disposes its own configuration and key service.

    `credential` is whatever `EphemeralKeyService` takes for one; `settings` are the keywords of `Settings.load`.
    Raises `ConfigurationError`.
    """
    configuration = ConfigurationManager(config_file=config_file, **settings)
    key_service = EphemeralKeyService(configuration.provider, credential=credential, clock=clock, logger=logger)
    return SessionManager(
        key_service,
        configuration=configuration,
        logger=logger,
        privacy_controller=privacy_controller,
        recovery_executor=recovery_executor,
        host=host,
        clock=clock,
        owned=(configuration, key_service),
    )
