from __future__ import annotations

from voicepilot import PurgeOrder
from voicepilot.cli.demo.transcripts import Transcripts
from voicepilot.privacy import PrivacyController, TranscriptStore


async def test_lines_are_counted_as_they_are_kept_and_held() -> None:
    async with PrivacyController() as controller:
        transcripts = Transcripts(TranscriptStore(controller))
        for session, line in (("a", "hello"), ("a", "my card is 4111 1111 1111 1111"), ("b", "hi")):
            transcripts.add(session, "user", line)
        assert transcripts.texts("a") == ("hello", "my card is [card]")
        assert [turn.text for turn in transcripts.redacted] == ["my card is [card]"]
        receipt = await controller.purge(PurgeOrder(session_id="a", reason="user-requested"))
        assert (receipt.cleared, receipt.complete) == (2, True)
        assert transcripts.held(("a", "b")) == {"a": 0, "b": 1}
        assert transcripts.kept == {"a": 2, "b": 1}


async def test_what_is_not_kept_is_not_counted() -> None:
    transcripts = Transcripts(TranscriptStore(PrivacyController()))
    assert transcripts.add("a", "user", "hello") is None
    assert transcripts.kept == {}
