"""Tries command lines in this process, without doing what takes long: no demo, no server, no network, no file."""

from __future__ import annotations

import copy
import functools
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any
from unittest import mock

from voicepilot.cli import app as command
from voicepilot.cli import config as config_commands
from voicepilot.cli import doctor, emulate
from voicepilot.cli.codes import FAILED, USAGE

GOES_ON = {"emulate", "doctor"}
"""Commands that are carried out until they would start to serve or ask; of the others only the words are read."""


def try_arguments(data: bytes) -> None:
    """Whatever is asked, there is an exit code and, for a mistake, one line that says what to do."""
    arguments = [argument for argument in data.decode(errors="replace").split("\n") if "\0" not in argument]
    out, err = io.StringIO(), io.StringIO()
    with nothing_done(), redirect_stdout(out), redirect_stderr(err):
        code = command.run_app(arguments)
    told = err.getvalue()
    assert code in {0, FAILED, USAGE}, (code, told)
    if told:
        assert code != 0
        assert re.fullmatch(r"voicepilot: [^\n]+\n", told), told
    assert code == 0 or told or out.getvalue()


@contextmanager
def nothing_done() -> Iterator[None]:
    """Commands are read and checked, and nothing happens."""
    with (
        mock.patch.object(command.app, "registered_commands", [_harmless(each) for each in _registered()]),
        mock.patch.object(emulate, "run", return_value=0),
        mock.patch.object(doctor, "run", return_value=0),
        mock.patch.object(config_commands, "Path", mock.MagicMock()),
    ):
        yield


def _registered() -> list[Any]:  # Any: typer does not promise the type
    return command.app.registered_commands


def _harmless(registered: Any) -> Any:
    if registered.callback.__name__ in GOES_ON:
        return registered
    quiet = copy.copy(registered)
    quiet.callback = _idle(registered.callback)
    return quiet


def _idle(callback: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(callback)
    def nothing(**_: object) -> int:
        return 0

    return nothing
