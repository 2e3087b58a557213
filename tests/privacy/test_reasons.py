from __future__ import annotations

from voicepilot.ports import PURGE_REASONS
from voicepilot.privacy import PurgeReason


def test_every_reason_a_session_can_end_for_is_one_the_controller_takes() -> None:
    assert set(PurgeReason) >= PURGE_REASONS
