"""Doubles for tests, ours and yours: a key service, a purger, observers, a clock and a loop in virtual time.

For a Realtime service to talk to, see `voicepilot.emulator`.
"""

from voicepilot.testing.fakes import FakeKeyService, FakePurger, Mint, Recorder
from voicepilot.testing.virtual import DeadlockError, VirtualClock, VirtualTimeLoop, run_virtual

__all__ = [
    "DeadlockError",
    "FakeKeyService",
    "FakePurger",
    "Mint",
    "Recorder",
    "VirtualClock",
    "VirtualTimeLoop",
    "run_virtual",
]
