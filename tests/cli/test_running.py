from __future__ import annotations

import asyncio
import os
import signal

import pytest

from voicepilot.cli import running
from voicepilot.cli.running import Stopper, run

pytestmark = pytest.mark.sockets


def test_the_code_of_a_command_is_the_code() -> None:
    async def command(_: Stopper) -> int:
        return 7

    assert run(command) == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_command_clean_up(number: signal.Signals) -> None:
    cleaned: list[str] = []

    async def command(_: Stopper) -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            cleaned.append("up")
        return 0

    before = signal.getsignal(number)
    assert run(command) == 128 + number
    assert cleaned == ["up"]
    assert signal.getsignal(number) == before


def test_a_stop_after_the_last_await_is_heard() -> None:
    async def command(stopper: Stopper) -> int:
        stopper.stop(141)
        stopper.stop(130)  # the first call counts
        return 0

    assert run(command) == 141


def test_a_cancellation_of_another_kind_is_not_swallowed() -> None:
    async def command(_: Stopper) -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(command)


@pytest.mark.parametrize(("error", "code", "said"), [(BrokenPipeError(), 141, ""), (OSError(28, "full"), 1, "full")])
def test_output_that_cannot_be_written_ends_the_command(
    error: OSError, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silenced: list[bool] = []
    monkeypatch.setattr(running, "silence", lambda: silenced.append(True))

    async def command(stopper: Stopper) -> int:
        stopper.lost(error)
        await asyncio.Event().wait()
        return 0

    assert run(command) == code
    assert silenced == [True]
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == bool(said)


def test_a_closed_pipe_ends_the_command_wherever_it_shows() -> None:
    async def command(_: Stopper) -> int:
        raise BrokenPipeError

    assert run(command) == 141
