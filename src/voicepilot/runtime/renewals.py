"""Asking for a session's next key: one renewal however many ask, and whoever is cancelled leaves it running."""

from __future__ import annotations

import asyncio

from voicepilot.errors import Fault
from voicepilot.lifecycle.inputs import RenewRequested
from voicepilot.lifecycle.session import RenewalResult, Trigger
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


async def next_key(performer: Performer, entry: Entry) -> Fault | None:
    """Begin a renewal for a dial or join the one under way, and wait for one attempt: None, or why it gave no key.

    Whoever dials has a backoff of his own, so that he does not wait for the end of a round.
    """
    if entry.dials is None:
        entry.dials = asyncio.get_running_loop().create_future()
    dials = entry.dials
    performer.apply(entry, RenewRequested(Trigger.CONNECTION))
    if is_inside(performer.supervisor) and not dials.done():
        return RENEWAL_REQUESTED
    return await asyncio.shield(dials)
