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


async def test_what_a_managed_connection_hears_is_counted_and_what_is_said_again_once() -> None:
    def finished(item_id: str, text: str) -> dict[str, str]:
        return {"type": "response.output_text.done", "item_id": item_id, "text": text}

    async with PrivacyController() as controller:
        transcripts = Transcripts(TranscriptStore(controller))
        for _ in range(2):
            transcripts.hear("a", finished("one", "hello"))
        transcripts.hear("a", finished("two", "cut"))
        transcripts.drop("a", "two")
        transcripts.hear("a", finished("three", "my card is 4111 1111 1111 1111"))
        assert [turn.text for turn in transcripts.turns("a")] == ["hello", "my card is [card]"]
        assert transcripts.kept == {"a": 2}
