"""ConfigurationManager: the settings in force, for the parts that are configured by them."""

from __future__ import annotations

from typing import Any

from voicepilot.config.settings import ProviderSettings, Settings
from voicepilot.lifecycle.config import SessionConfig


class ConfigurationManager:
    """Implements `ports.Collaborator`.

    Takes `settings`, or reads defaults, file and environment under `overrides` (the keywords of `Settings.load`).
    Raises ConfigurationError, TypeError when given both.
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        if settings is not None and overrides:
            raise TypeError("give settings or overrides, not both")
        self._settings = settings or Settings.load(**overrides)
        self._initialized = False

    @property
    def is_initialized(self) -> bool:
        """Whether initialize() was called and dispose() was not called since."""
        return self._initialized

    async def initialize(self) -> None:
        """Make ready for use. Idempotent."""
        self._initialized = True

    async def dispose(self) -> None:
        """Let go of everything. Idempotent."""
        self._initialized = False

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def provider(self) -> ProviderSettings:
        """Who gives us keys."""
        return self._settings.provider

    @property
    def max_concurrent_sessions(self) -> int:
        """How many sessions may be live at one time."""
        return self._settings.sessions.max_concurrent_sessions

    def session_config(self) -> SessionConfig:
        """The options a new session starts with."""
        return self._settings.session_config()
