"""ConfigurationManager: the settings in force, and the news of their changes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from voicepilot.config.changes import SectionChanged, changes_between
from voicepilot.config.layers import settings_file
from voicepilot.config.settings import ProviderSettings, Settings
from voicepilot.config.watch import Watched, require_watchfiles
from voicepilot.conversation.options import ConversationConfig
from voicepilot.errors import ConfigurationError, VoicePilotError
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.subscription import Subscription, is_async

Teller = Callable[[Settings, Settings, SectionChanged], object]


class ConfigurationManager:
    """Implements `ports.Collaborator` and `ports.ChangingDefaults`.

    Takes `settings`, or reads defaults, file and environment under `overrides` (the keywords of `Settings.load`), and
    again whenever `reload()` is called; with `watch_file`, `follow()` calls it when the file has changed. `check` may
    refuse settings by raising a VoicePilotError. Raises ConfigurationError, TypeError when given both.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        watch_file: bool = False,
        check: Callable[[Settings], object] | None = None,
        logger: logging.Logger | None = None,
        **overrides: Any,
    ) -> None:
        if settings is not None and (overrides or watch_file):
            raise TypeError("give settings or overrides, not both")
        self._logger = logger or logging.getLogger("voicepilot.config")
        self._overrides = None if settings is not None else overrides
        self._watched: Watched | None = None
        if watch_file:
            require_watchfiles()
            self._watched = Watched(settings_file(overrides.get("config_file")))
        self._check = check or _anything_goes
        self._settings = settings or Settings.load(**overrides)
        self._check(self._settings)
        self._tellers: dict[object, Teller] = {}
        self._news: deque[tuple[Settings, Settings, SectionChanged]] = deque()
        self._telling = False
        self._initialized = False

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def is_initialized(self) -> bool:
        """Whether initialize() was called and dispose() was not called since."""
        return self._initialized

    async def initialize(self) -> None:
        """Make ready for use. Idempotent."""
        self._initialized = True

    async def dispose(self) -> None:
        """Let go of everything: no handler hears anything any more. Idempotent."""
        self._initialized = False
        self._tellers.clear()
        self._news.clear()

    # --- the settings in force --------------------------------------------------------------------------------------

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

    def conversation_config(self) -> ConversationConfig:
        """The options a new conversation starts with."""
        return self._settings.conversation_config()

    # --- changes ----------------------------------------------------------------------------------------------------

    def on_changed(self, handler: Callable[[SectionChanged], object]) -> Subscription:
        """Call `handler` with each section that changed, once the new settings are in force.

        One that raises is logged; the others hear of the change all the same, and the settings stay.
        Raises TypeError for an async function.
        """
        if is_async(handler):
            raise TypeError("on_changed takes a plain function; start what has to wait in a task of your own")
        return self._subscribe(lambda _, __, changed: handler(changed))

    def on_defaults_changed(self, handler: Callable[[SessionConfig, SessionConfig], object]) -> Subscription:
        """Call `handler` with the old and the new defaults of sessions when the section sessions changed."""

        def tell(old: Settings, new: Settings, changed: SectionChanged) -> None:
            if changed.section == "sessions":
                handler(old.session_config(), new.session_config())

        return self._subscribe(tell)

    def reload(self) -> tuple[SectionChanged, ...]:
        """Read file and environment again, and tell what changed. Call it where the manager's event loop runs.

        All or nothing: raises ConfigurationError (or what `check` does), and then the settings stay as they are.
        """
        if self._overrides is None:
            raise ConfigurationError(
                "these settings were given as an object, so there is nothing to read again",
                remediation="Give the new ones to replace().",
            )
        return self.replace(Settings.load(**self._overrides))

    def replace(self, settings: Settings) -> tuple[SectionChanged, ...]:
        """Put `settings` in force, as a host does that has a source of its own, and tell what changed.

        Raises what `check` does when they are refused; then the settings stay as they are.
        """
        self._check(settings)
        old, self._settings = self._settings, settings
        changes = changes_between(old, settings)
        self._news.extend((old, settings, changed) for changed in changes)
        for changed in changes:
            self._log(changed)
        if not self._telling:  # else whoever tells goes on with these, so that everybody hears all in one order
            self._tell()
        return changes

    async def follow(self) -> None:
        """Reload whenever the file has changed, until cancelled; nothing to do without `watch_file`. Never raises.

        A SessionManager that made this configuration runs it. Otherwise it belongs in a TaskGroup of yours.
        """
        if self._watched is None:
            return
        self._look(self._watched)  # what happened before there was a watcher
        try:
            async for _ in self._watched.stirrings():
                self._look(self._watched)
        except Exception:
            self._logger.exception("%s is watched no more; reload() still works", self._watched.path)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _look(self, watched: Watched) -> None:
        if not watched.has_changed():
            return
        try:
            self.reload()
        except VoicePilotError as error:
            self._logger.error(  # noqa: TRY400 - whoever wrote the file needs no traceback
                "%s has changed and cannot be used; the settings stay as they are: %s", watched.path, error
            )

    def _subscribe(self, tell: Teller) -> Subscription:
        ticket = object()
        self._tellers[ticket] = tell

        def cancel() -> None:
            self._tellers.pop(ticket, None)

        return Subscription(cancel)

    def _tell(self) -> None:
        self._telling = True
        try:
            while self._news:
                news = self._news.popleft()
                for ticket, tell in tuple(self._tellers.items()):
                    if ticket in self._tellers:
                        self._tell_one(tell, news)
        finally:
            self._telling = False

    def _tell_one(self, tell: Teller, news: tuple[Settings, Settings, SectionChanged]) -> None:
        try:
            tell(*news)
        except Exception:
            self._logger.exception("a handler of changes in %s raised; the change stays", news[2].section)

    def _log(self, changed: SectionChanged) -> None:
        self._logger.info("settings of %s changed: %s", changed.section, ", ".join(changed.changes))
        if changed.restart:
            self._logger.warning("%s: %s apply after a restart", changed.section, ", ".join(changed.restart))


def _anything_goes(_: Settings) -> None:
    """No further check."""
