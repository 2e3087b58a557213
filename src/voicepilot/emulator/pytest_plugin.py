"""The `realtime_emulator` fixture, for every project that has voicepilot-sessions and pytest installed.

Choose options with a marker: `@pytest.mark.realtime_emulator(key_life=20, pacing="realtime")`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from voicepilot.emulator.server import RealtimeEmulator


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "realtime_emulator(**options): options of the realtime_emulator fixture")


@pytest.fixture
def realtime_emulator(request: pytest.FixtureRequest) -> Iterator[RealtimeEmulator]:
    """A Realtime service of this test's own, on a thread of its own: for sync and async tests."""
    # Imported when used, so that projects which do not test voice pay nothing for the plugin.
    from voicepilot.emulator.threaded import running_emulator  # noqa: PLC0415

    marker = request.node.get_closest_marker("realtime_emulator")
    with running_emulator(**(marker.kwargs if marker else {})) as emulator:
        yield emulator
