"""A Realtime service to run and test against: faithful on the wire, and failing on command.

Names resolve when they are used: the pytest plugin lives here, and must cost nothing where it is not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicepilot.emulator.answers import Call, Fail, Say, Turn, Wait
    from voicepilot.emulator.faults import Fault, parse_fault
    from voicepilot.emulator.options import Options
    from voicepilot.emulator.plan import Faults
    from voicepilot.emulator.record import Record
    from voicepilot.emulator.script import Script
    from voicepilot.emulator.server import RealtimeEmulator
    from voicepilot.emulator.threaded import running_emulator

_HOMES = {
    "Call": "answers",
    "Fail": "answers",
    "Fault": "faults",
    "Faults": "plan",
    "Options": "options",
    "RealtimeEmulator": "server",
    "Record": "record",
    "Say": "answers",
    "Script": "script",
    "Turn": "answers",
    "Wait": "answers",
    "parse_fault": "faults",
    "running_emulator": "threaded",
}

__all__ = [
    "Call",
    "Fail",
    "Fault",
    "Faults",
    "Options",
    "RealtimeEmulator",
    "Record",
    "Say",
    "Script",
    "Turn",
    "Wait",
    "parse_fault",
    "running_emulator",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
