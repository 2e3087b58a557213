"""A Realtime service to run and test against: faithful on the wire, and failing on command."""

from voicepilot.emulator.answers import Call, Fail, Say, Turn, Wait
from voicepilot.emulator.faults import Fault, parse_fault
from voicepilot.emulator.options import Options
from voicepilot.emulator.plan import Faults
from voicepilot.emulator.record import Record
from voicepilot.emulator.server import RealtimeEmulator

__all__ = [
    "Call",
    "Fail",
    "Fault",
    "Faults",
    "Options",
    "RealtimeEmulator",
    "Record",
    "Say",
    "Turn",
    "Wait",
    "parse_fault",
]
