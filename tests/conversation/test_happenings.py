from __future__ import annotations

import pytest

from voicepilot.conversation import happenings
from voicepilot.conversation.happenings import Happening, Lost, Restored

KINDS = [kind for kind in vars(happenings).values() if isinstance(kind, type) and issubclass(kind, Happening)]


def test_no_event_of_the_protocol_can_be_mistaken_for_one() -> None:
    types = [kind.type for kind in KINDS if kind is not Happening]
    assert all(name.startswith("voicepilot.") for name in types)
    assert len(types) == len(set(types)) >= 7


def test_they_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Lost("a", "b").reason = "c"  # type: ignore[misc]


def test_what_was_restored_is_by_default_nothing_and_as_it_should_be() -> None:
    assert Restored() == Restored(replayed=(), dropped=(), lost=(), configured=True, events_resent=0, audio_resent=0.0)
