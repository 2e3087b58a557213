"""Runs a command's coroutine to its end, or to the first Ctrl-C, SIGTERM or closed pipe, without a traceback."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from voicepilot.cli.codes import FAILED, PIPE_CLOSED
from voicepilot.cli.screen import silence


class Stopper:
    """Ends the command early: cancels it once, so that every `async with` on the way out is left properly."""

    def __init__(self, task: asyncio.Task[int]) -> None:
        self._task = task
        self.code: int | None = None

    def stop(self, code: int) -> None:
        """Cancel the command; the process will exit with `code`. The first call counts."""
        if self.code is None:
            self.code = code
            self._task.cancel()

    def lost(self, error: OSError) -> None:
        """Stop because standard output cannot be written; nobody needs to be told that a pipe is closed."""
        silence()
        if not isinstance(error, BrokenPipeError):
            print(f"voicepilot: cannot write to standard output: {error.strerror}", file=sys.stderr)
        self.stop(PIPE_CLOSED if isinstance(error, BrokenPipeError) else FAILED)


Command = Callable[[Stopper], Awaitable[int]]


def run(command: Command, *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> int:
    """The exit code of `command`, or 128 + the signal that stopped it (SIGPIPE for a pipe that nobody reads)."""
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(_until_stopped(command))
    except BrokenPipeError:
        return PIPE_CLOSED


async def _until_stopped(command: Command) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    stopper = Stopper(task)
    loop = asyncio.get_running_loop()

    def caught(number: signal.Signals) -> None:
        _restore(loop)  # a second Ctrl-C ends at once whatever the first one waits for
        stopper.stop(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, caught, number)
    try:
        code = await command(stopper)
        await asyncio.sleep(0)  # a stop after the last await of the command is heard here
        return code
    except asyncio.CancelledError:
        if stopper.code is None:
            raise
        return stopper.code
    finally:
        _restore(loop)


def _restore(loop: asyncio.AbstractEventLoop) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.remove_signal_handler(number)
