"""Async tests run in virtual time; those marked `sockets` run on a real event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.canary import no_secret_shows, suite_watch  # noqa: F401 - fixtures around every test
from tests.fuzzing import pytest_terminal_summary, tally  # noqa: F401 - what the fuzz tests tried
from voicepilot.testing.virtual import VirtualTimeLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("sockets"):
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualTimeLoop}
