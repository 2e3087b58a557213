"""How one session behaves: its margins, timeouts and attempts, with defaults and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from voicepilot.errors import ConfigurationError
from voicepilot.lifecycle.bounds import Bounds, check_known, check_number

BOUNDS: Mapping[str, Bounds] = {
    "renewal_margin_seconds": Bounds(0, 3_600, "seconds"),
    "inactivity_timeout_minutes": Bounds(0.001, 10_080, "minutes"),
    "heartbeat_interval_seconds": Bounds(1, 86_400, "seconds"),
    "max_retry_attempts": Bounds(0, 100, "attempts", whole=True),
    "retry_backoff_ms": Bounds(1, 60_000, "milliseconds"),
    "key_life_seconds": Bounds(10, 7_200, "seconds"),
    "start_timeout_seconds": Bounds(0.1, 600, "seconds"),
    "failed_retention_seconds": Bounds(0, 86_400, "seconds"),
    "renewal_spread_seconds": Bounds(0, 3_600, "seconds"),
    "hook_timeout_seconds": Bounds(0.01, 60, "seconds"),
    "max_duration_seconds": Bounds(1, 2_592_000, "seconds", optional=True),
    "max_total_tokens": Bounds(1, 1_000_000_000, "tokens", whole=True, optional=True),
    "max_audio_seconds": Bounds(1, 2_592_000, "seconds", optional=True),
    "limit_warning_fraction": Bounds(0.01, 1, "of the limit"),
}


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one session. The first seven are the requirement's; every one can be changed while running.

    Raises `ConfigurationError` naming the field when a value is of the wrong type or out of `BOUNDS`.
    """

    renewal_margin_seconds: float = 10
    """Fetch the next key this long before the current one expires (but never before half its life)."""

    inactivity_timeout_minutes: float = 5
    """End the session after this long without activity."""

    heartbeat_interval_seconds: float = 30
    """Check the session's health this often."""

    max_retry_attempts: int = 3
    """How often one round of start or renewal tries again after its first attempt failed."""

    retry_backoff_ms: float = 1_000
    """The first wait between attempts; it doubles with each failure, up to 30 s, with jitter."""

    enable_heartbeat: bool = True
    """Whether health is checked at all."""

    enable_inactivity_timeout: bool = True
    """Whether a silent session is ended at all."""

    key_life_seconds: float = 600
    """The life to ask for each key. The provider allows 10 to 7200 (`expires_after.seconds`)."""

    start_timeout_seconds: float = 30
    """How long a start may take, attempts and waits together."""

    failed_retention_seconds: float = 300
    """How long a failed session's record stays for diagnostics."""

    renewal_spread_seconds: float = 0
    """Renew up to this much earlier, by a share of its own for each session, so that a crowd does not renew at once."""

    hook_timeout_seconds: float = 5
    """How long a ready, suspending or resumed hook may take before it is cancelled. An ending hook has 1 s."""

    max_duration_seconds: float | None = None
    """End the session this long after it became active, whatever its phase. None: no limit."""

    max_total_tokens: int | None = None
    """End it when it has used so many tokens, input and output together. None: no limit."""

    max_audio_seconds: float | None = None
    """End it when it has heard and spoken so many seconds of audio together. None: no limit."""

    limit_warning_fraction: float = 0.9
    """Tell that a limit approaches when this part of it is used."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check(name, getattr(self, name))

    def changed(self, changes: Mapping[str, Any]) -> SessionConfig:
        """A copy with `changes`; all of them are accepted, or `ConfigurationError` is raised and nothing is."""
        check_known("session", changes, self.__struct_fields__)
        return msgspec.structs.replace(self, **changes)


def _check(name: str, value: object) -> None:
    bounds = BOUNDS.get(name)
    if bounds is not None:
        check_number(name, value, bounds)
    elif not isinstance(value, bool):
        raise ConfigurationError(f"{name}: must be True or False, got {value!r}", field=name)
