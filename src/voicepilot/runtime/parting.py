"""Closes what is attached to a session that ends, in the time there is for it."""

from __future__ import annotations

import asyncio
import logging

from voicepilot.runtime.registry import Close, Entry
from voicepilot.runtime.supervisor import Supervisor, others_code


async def part(entry: Entry, reason: str, limit: float, supervisor: Supervisor, logger: logging.Logger) -> None:
    """Close the session's managed connection, if it has one; what takes longer than `limit` is cancelled."""
    close, entry.attached, entry.warn = entry.attached, None, None
    if close is None:
        return
    session_id = entry.session.session_id
    # A task of its own, so that one that does not mind being cancelled does not use up what time the provider has.
    closing = supervisor.spawn(_closed(close, reason, session_id, logger), "voicepilot-parting")
    try:
        await asyncio.wait({closing}, timeout=limit)
    finally:
        if not closing.done():
            closing.cancel()
            logger.warning("the connection of session %s took over %g s to close", session_id, limit)


async def _closed(close: Close, reason: str, session_id: str, logger: logging.Logger) -> None:
    try:
        with others_code():
            await close(reason)
    except Exception:
        logger.exception("the connection of session %s could not be closed", session_id)
