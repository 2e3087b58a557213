"""Where sessions get their behaviour from, and what becomes of live ones when that changes."""

from __future__ import annotations

from collections.abc import Callable

from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.inputs import ConfigUpdated
from voicepilot.ports import ChangingDefaults, SessionDefaults
from voicepilot.runtime.perform import Performer


class BuiltInDefaults:
    """The defaults of a manager that was given no configuration."""

    max_concurrent_sessions = 3

    def session_config(self) -> SessionConfig:
        """Every option at its default."""
        return SessionConfig()


def follow(configuration: SessionDefaults, performer: Performer, *, ours: bool) -> Callable[[], None] | None:
    """Take the defaults in force and, where they can change, their changes, until what it gives is called.

    Where they are `ours`, nobody else makes them notice changes.
    """
    performer.slots = configuration.max_concurrent_sessions
    changing: object = configuration  # what it can do is asked, not known by its type
    if not isinstance(changing, ChangingDefaults):
        return None
    if ours:
        performer.supervisor.spawn(changing.follow(), "voicepilot-configuration")

    def changed(old: SessionConfig, new: SessionConfig) -> None:
        performer.slots = configuration.max_concurrent_sessions
        _reach_live_sessions(performer, old, new)

    return changing.on_defaults_changed(changed).dispose


def _reach_live_sessions(performer: Performer, old: SessionConfig, new: SessionConfig) -> None:
    """New defaults reach live sessions, except the fields that were given another value for a session."""
    changed = {name: getattr(new, name) for name in new.__struct_fields__ if getattr(old, name) != getattr(new, name)}
    for entry in performer.registry.live():
        config = entry.session.config
        changes = {name: held for name, held in changed.items() if getattr(config, name) == getattr(old, name)}
        if changes:
            performer.apply(entry, ConfigUpdated(config.changed(changes)))
