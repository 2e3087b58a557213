"""Opens the managed connections of one manager; the network is only loaded when the first is asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from voicepilot.ports import Clock, ManagedSession, SessionDefaults

if TYPE_CHECKING:
    from voicepilot.conversation.connection import Conversation
    from voicepilot.conversation.driver import Summariser
    from voicepilot.conversation.options import ConversationConfig
    from voicepilot.conversation.ports import Dialler


class Switchboard:
    """What all conversations share: who dials. One that is given stays its owner's."""

    def __init__(
        self, dialler: Dialler | None, configuration: SessionDefaults, clock: Clock, logger: logging.Logger
    ) -> None:
        self._given = dialler
        self._own: Dialler | None = None
        self._configuration = configuration  # which may have defaults for conversations, too
        self._clock = clock
        self._logger = logger
        self.is_initialized = False

    async def initialize(self) -> None:
        """Be ready; nothing is opened yet."""
        self.is_initialized = True

    async def dispose(self) -> None:
        """Cut what is still open."""
        self.is_initialized = False
        own, self._own = self._own, None
        if own is not None:
            await own.dispose()

    def conversation(
        self,
        session: ManagedSession,
        options: Mapping[str, Any],
        *,
        config: ConversationConfig | Mapping[str, Any] | None,
        model: str | None,
        url: str | None,
        summarise: Summariser | None,
    ) -> Conversation:
        """A conversation of `session`, not opened yet."""
        from voicepilot.conversation.connection import Conversation  # noqa: PLC0415 - loads the network
        from voicepilot.conversation.options import ConversationConfig  # noqa: PLC0415

        if not isinstance(config, ConversationConfig):
            config = self._defaults().changed(config or {})
        return Conversation(
            session,
            self._dialler(),
            config,
            options,
            model=model,
            url=url,
            summarise=summarise,
            logger=self._logger,
        )

    def _defaults(self) -> ConversationConfig:
        from voicepilot.conversation.options import ConversationConfig  # noqa: PLC0415

        given = getattr(self._configuration, "conversation_config", ConversationConfig)()
        return given if isinstance(given, ConversationConfig) else ConversationConfig()

    def _dialler(self) -> Dialler:
        from voicepilot.conversation.sockets import WebSocketDialler  # noqa: PLC0415

        if self._given is not None:
            return self._given
        self._own = self._own or WebSocketDialler(wall=self._clock.wall)
        return self._own
