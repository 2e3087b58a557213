"""Asking for a session's next key by hand: one renewal however many ask, and whoever is cancelled leaves it running."""

from __future__ import annotations

import asyncio

from voicepilot.errors import Fault
from voicepilot.lifecycle.inputs import RenewRequested
from voicepilot.lifecycle.session import RenewalResult
from voicepilot.runtime.perform import Performer
from voicepilot.runtime.registry import Entry
from voicepilot.runtime.supervisor import is_inside

RENEWAL_REQUESTED = Fault(
    code="RENEWAL_REQUESTED",
    message="the renewal is under way; a hook or handler cannot wait for it",
    remediation="Listen for renewal-completed or renewal-failed.",
    retryable=True,
)


async def renew(performer: Performer, entry: Entry) -> RenewalResult:
    """Begin a renewal or join the one under way, and wait for it; inside a hook or handler, only ask for it."""
    if entry.renewal is None:
        entry.renewal = asyncio.get_running_loop().create_future()
    renewal = entry.renewal
    performer.apply(entry, RenewRequested())
    if is_inside(performer.supervisor) and not renewal.done():
        return RenewalResult(session_id=entry.session.session_id, success=False, error=RENEWAL_REQUESTED)
    return await asyncio.shield(renewal)
