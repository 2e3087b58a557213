from __future__ import annotations

from voicepilot import PurgeOrder
from voicepilot.cli.demo.transcripts import Transcripts


async def test_a_purge_clears_one_session_and_counts_it() -> None:
    held = Transcripts()
    for session, line in (("a", "hello"), ("a", "again"), ("b", "hi")):
        held.add(session, line)
    receipt = await held.purge(PurgeOrder(session_id="a", reason="goodbye"))
    assert (receipt.session_id, receipt.reason, receipt.cleared, receipt.complete) == ("a", "goodbye", 2, True)
    assert held.counts() == {"b": 1}
    assert (await held.purge(PurgeOrder(session_id="a", reason="goodbye"))).cleared == 0
