"""`get_session_diagnostics` beside building the same record by hand."""

from __future__ import annotations

from benchmarks.measure import each, in_turn
from benchmarks.table import Rows, compared, run
from benchmarks.world import a_manager, start
from voicepilot import NextEvent, SessionDiagnostics, TimerStatus, TimerStatuses

CALLS = 20_000
ROUNDS = 25


def by_hand(known: SessionDiagnostics) -> SessionDiagnostics:
    """The same record from values that are known already."""
    timers, upcoming = known.timers, known.next_event
    assert upcoming is not None
    return SessionDiagnostics(
        session_id=known.session_id,
        state=known.state,
        timers=TimerStatuses(
            renewal=TimerStatus(is_active=True, scheduled_at=timers.renewal.scheduled_at, remaining=590.0),
            inactivity=TimerStatus(is_active=True, scheduled_at=timers.inactivity.scheduled_at, remaining=300.0),
            heartbeat=TimerStatus(is_active=True, scheduled_at=timers.heartbeat.scheduled_at, remaining=30.0),
        ),
        credential_status=known.credential_status,
        key_seconds_left=600.0,
        connection_status=known.connection_status,
        connection_phase=known.connection_phase,
        degraded=known.degraded,
        last_error=known.last_error,
        uptime=1.0,
        next_event=NextEvent(kind=upcoming.kind, at=upcoming.at, remaining=30.0),
    )


async def rows() -> Rows:
    """Of one active session."""
    async with a_manager() as manager:
        session_id = (await start(manager, 1))[0]
        known = manager.get_session_diagnostics(session_id)

        async def ours(calls: int) -> None:
            diagnostics = manager.get_session_diagnostics
            for _ in range(calls):
                diagnostics(session_id)

        async def floor(calls: int) -> None:
            for _ in range(calls):
                by_hand(known)

        found = await in_turn(each(CALLS, ours), each(CALLS, floor), rounds=ROUNDS)
    return (compared("get_session_diagnostics", found, "building the record by hand", at_most=3),)


if __name__ == "__main__":
    run(rows)
