"""Doubles for tests, ours and yours: a key service, a line to a provider, observers, a clock, virtual time.

For a Realtime service over real sockets, see `voicepilot.emulator`.
"""

from voicepilot.testing.fakes import FakeKeyService, FakePurger, Mint, Recorder
from voicepilot.testing.line import EmulatedLine
from voicepilot.testing.virtual import DeadlockError, VirtualClock, VirtualTimeLoop, run_virtual

__all__ = [
    "DeadlockError",
    "EmulatedLine",
    "FakeKeyService",
    "FakePurger",
    "Mint",
    "Recorder",
    "VirtualClock",
    "VirtualTimeLoop",
    "run_virtual",
]
