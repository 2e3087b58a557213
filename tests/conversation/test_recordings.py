"""The user's audio, kept as long and as much as was asked."""

from __future__ import annotations

import base64

import pytest

from voicepilot.conversation.recordings import AudioPolicy, Recordings


def audio(seconds: float, mark: int = 0) -> str:
    return base64.b64encode(bytes([mark]) * round(seconds * 100)).decode()


def recordings(policy: AudioPolicy = "until-transcribed", most: float = 10) -> Recordings:
    return Recordings(policy, most)


def keep(kept: Recordings, item_id: str, *chunks: str) -> None:
    kept.keep(item_id, 0, chunks, 100, "audio/pcm")


def test_chunks_become_one() -> None:
    kept = recordings()
    keep(kept, "a", audio(0.01, 1), audio(0.02, 2))
    assert base64.b64decode(kept.get("a", 0, "audio/pcm") or "") == b"\1\2\2"
    assert kept.seconds == kept.seconds_of("a") == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("policy", "before", "after"), [("until-transcribed", 1, 0), ("always", 1, 1), ("never", 0, 0)]
)
def test_how_long_it_is_kept(policy: AudioPolicy, before: float, after: float) -> None:
    kept = recordings(policy)
    keep(kept, "a", audio(1))
    assert kept.seconds == before
    kept.transcribed("a", 0)
    assert kept.seconds == after


def test_the_oldest_goes_first() -> None:
    kept = recordings(most=10)
    for name in "abc":
        keep(kept, name, audio(4))
    assert [kept.seconds_of(name) for name in "abc"] == [0, 4, 4]


def test_what_is_too_long_by_itself_is_not_kept() -> None:
    kept = recordings(most=10)
    keep(kept, "a", audio(11))
    assert kept.seconds == 0


def test_it_is_of_no_use_in_another_format() -> None:
    kept = recordings()
    keep(kept, "a", audio(1))
    assert kept.get("a", 0, "audio/pcmu") is None
    assert kept.get("a", 1, "audio/pcm") is None


def test_it_can_be_forgotten() -> None:
    kept = recordings()
    keep(kept, "a", audio(1))
    keep(kept, "b", audio(1))
    kept.forget("a")
    assert (kept.seconds_of("a"), kept.seconds) == (0, 1)
    kept.clear()
    assert kept.seconds == 0


def test_what_is_no_base64_is_not_kept() -> None:
    kept = recordings()
    keep(kept, "a", "=ß=", "A")
    assert kept.seconds == 0
