"""The standard remedies a recovery plan, or a person, can run for the session that failed."""

from __future__ import annotations

from typing import Protocol

from voicepilot.lifecycle.phases import RUNNING
from voicepilot.ports import PurgeOrder, RecoveryRegistrar
from voicepilot.runtime.perform import Performer


class _Manager(Protocol):
    async def end_session(self, session_id: str | None = None, *, reason: str = "user-requested") -> None: ...


def register_remedies(registrar: RecoveryRegistrar, manager: _Manager, performer: Performer) -> None:
    """Offer SESSION_FORCE_TERMINATION, SESSION_PURGE_PRIVACY and the fallback mode `degraded-features`."""

    async def force_termination(session_id: str) -> bool:
        await manager.end_session(session_id, reason="force-termination")
        return True

    async def purge_privacy(session_id: str) -> bool:
        order = PurgeOrder(session_id=session_id, reason="recovery")
        return (await performer.purger.purge(order)).complete

    async def degrade(session_id: str) -> None:
        entry = performer.registry.get(session_id)
        # It may be over, or well again, since the plan began: then nothing would ever clear the mode.
        if entry is not None and entry.session.phase in RUNNING and entry.session.degraded:
            performer.recovery.enter_degraded(session_id)

    registrar.add_step("SESSION_FORCE_TERMINATION", force_termination)
    registrar.add_step("SESSION_PURGE_PRIVACY", purge_privacy)
    registrar.add_fallback("degraded-features", degrade)
