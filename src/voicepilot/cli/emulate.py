"""`voicepilot emulate`: the emulator as a process of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from voicepilot.cli.running import Stopper, run
from voicepilot.config import Settings
from voicepilot.emulator import Fault, RealtimeEmulator, Script, parse_fault
from voicepilot.errors import ConfigurationError, VoicePilotError

STOPPED = {128 + signal.SIGINT, 128 + signal.SIGTERM}

REMEDIES = {
    errno.EADDRINUSE: "Stop what listens there, or choose another --port; 0 takes any free one.",
    errno.EACCES: "Choose a --port above 1023; 0 takes any free one.",
}
"""What helps when an address cannot be listened on; for every other reason it is another host."""


def emulate(
    *, faults: Sequence[str], script: str | None, config_file: str | None, **given: Any
) -> int:  # Any: the fields of emulator Options
    """Serve until somebody says stop, which is how a server ends well: exit code 0. None: as the settings say."""
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    planned = [parse_fault(text) for text in faults]
    if script is not None:
        options["answers"] = Script.load(script)
    emulator = RealtimeEmulator(Settings.load_only("emulator", config_file=config_file).emulator_options(), **options)

    async def serve(_: Stopper) -> int:
        return await _serve(emulator, planned)

    code = run(serve)
    return 0 if code in STOPPED else code


async def _serve(emulator: RealtimeEmulator, faults: Sequence[Fault]) -> int:
    for fault in faults:
        emulator.faults.add(fault)
    await _listen(emulator)
    async with emulator:
        print(ready_line(emulator), flush=True)
        await asyncio.Event().wait()
    return 0


async def _listen(emulator: RealtimeEmulator) -> None:
    try:
        await emulator.start()
    except ConfigurationError as error:
        if not isinstance(error.__cause__, OSError) or error.field != "port":
            raise
        taken = error.__cause__
    else:
        return
    why = taken.strerror if isinstance(taken, socket.gaierror) else os.strerror(taken.errno or 0)
    raise VoicePilotError(
        f"cannot listen on {emulator.options.host}:{emulator.options.port}: {why}",
        remediation=REMEDIES.get(taken.errno or 0, "Choose another --host; 127.0.0.1 is this machine."),
    ) from taken


def ready_line(emulator: RealtimeEmulator) -> str:
    """What another program needs to find the emulator, as one line of JSON."""
    ready = {"event": "ready", "base_url": emulator.base_url, "azure_endpoint": emulator.azure_endpoint}
    if emulator.authority is not None:
        ready["authority"] = emulator.authority.decode()
    return msgspec.json.encode(ready).decode()
