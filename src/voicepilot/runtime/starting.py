"""Starting a session: the caller waits for its first key and the ready hook, and whoever is cancelled ends it."""

from __future__ import annotations

import asyncio
import time
import uuid

from voicepilot.errors import Fault, SessionEndedError, SessionError, SessionLimitError, SessionStartError
from voicepilot.lifecycle.inputs import EndRequested, StartRequested
from voicepilot.lifecycle.session import Session, SessionInfo, info
from voicepilot.runtime.perform import Performer
from voicepilot.runtime.registry import Entry


def new_session_id() -> str:
    """An id that no other session has, here or elsewhere. Jitter and spread are derived from it."""
    return f"session-{int(time.time() * 1000)}-{uuid.uuid4()}"


async def start(performer: Performer, session: Session) -> SessionInfo:
    """Take a new session in, and wait until it is active or over. Raises why it is over."""
    entry = Entry(session)
    entry.start = asyncio.get_running_loop().create_future()
    performer.registry.add(entry)
    performer.apply(entry, StartRequested())
    try:
        answer = await entry.start
    except asyncio.CancelledError:
        performer.apply(entry, EndRequested("start-cancelled"))
        raise
    finally:
        entry.start = None
    cause, entry.cause = entry.cause, None
    if answer.ended:
        raise SessionEndedError("the session was ended while it was starting", session_id=session.session_id)
    if answer.fault is not None:
        raise _error(answer.fault, session.session_id) from cause
    return info(entry.fold())


def _error(fault: Fault, session_id: str) -> SessionError:
    if fault.code == SessionLimitError.code:
        return SessionLimitError(fault.message, session_id=session_id)
    return SessionStartError(fault, session_id=session_id)
