"""What a user sets, as far as the simulator uses it: session options, recovery, how many keys at once."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from voicepilot.errors import ConfigurationError, FaultDomain
from voicepilot.lifecycle.config import BOUNDS, SessionConfig
from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.recovery.policy import ENVELOPES, RetryPolicy


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The settings under test."""

    config: SessionConfig = SessionConfig()
    policies: Mapping[str, RetryPolicy] = {}
    breaker: BreakerOptions = BreakerOptions()
    concurrent_mints: int = 16

    @property
    def cool_down(self) -> float:
        """Seconds; the longest break of the breaker that starts and renewals open."""
        for name in ("renew", FaultDomain.SESSION.value):
            if name in self.policies:
                return self.policies[name].cool_down
        return ENVELOPES[FaultDomain.SESSION].cool_down

    def changes(self) -> dict[str, float]:
        """The session options that are not at their defaults."""
        default = SessionConfig()
        names = [name for name in default.__struct_fields__ if getattr(self.config, name) != getattr(default, name)]
        return {name: getattr(self.config, name) for name in names}

    def changed(self, name: str, value: float) -> Setup:
        """A copy with one session option changed. Raises `ConfigurationError`."""
        whole = BOUNDS[name].whole and float(value).is_integer()
        return msgspec.structs.replace(self, config=self.config.changed({name: int(value) if whole else value}))


def option_named(name: str) -> str:
    """The session option that is meant: its whole name, or a part of it that no other numeric option has.

    Raises `ConfigurationError` that names the candidates.
    """
    known = [
        field for field in SessionConfig.__struct_fields__ if not isinstance(getattr(SessionConfig(), field), bool)
    ]
    wanted = name.strip().replace("-", "_")
    if wanted in known:
        return wanted
    found = [field for field in known if wanted and wanted in field]
    if len(found) == 1:
        return found[0]
    why = f"it could be {' or '.join(found)}" if found else f"there are {', '.join(known)}"
    raise ConfigurationError(
        f"--compare {name}: no one session option is called so; {why}",
        field="compare",
        remediation="Give a session option's name and the values to compare, such as --compare margin=10,30.",
    )
