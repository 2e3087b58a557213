"""An emulator on a thread and event loop of its own, so that blocking code can talk to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from voicepilot.emulator.options import Options
from voicepilot.emulator.server import RealtimeEmulator

PATIENCE = 10.0  # seconds the thread has to start or stop


@contextmanager
def running_emulator(options: Options | None = None, **changes: Any) -> Iterator[RealtimeEmulator]:
    """An emulator for a `with` statement; its `faults` and `record` may be used from any thread."""
    emulator = RealtimeEmulator(options, **changes)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="realtime-emulator", daemon=True)
    thread.start()

    def do(coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    try:
        do(emulator.start())
        yield emulator
    finally:
        do(emulator.stop())
        do(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
