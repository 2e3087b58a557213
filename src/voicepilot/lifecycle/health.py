"""How healthy a session is, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from voicepilot.errors import FaultDomain
from voicepilot.lifecycle.diagnostics import CredentialStatus, credential_status
from voicepilot.lifecycle.phases import RUNNING, Phase
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, Session

LONG_SESSION = 3600.0
"""Seconds after which a session's age is worth a remark: providers cut a connection after an hour."""


MANAGED = frozenset(ConnectionPhase) - {ConnectionPhase.NONE, ConnectionPhase.CLOSED}
"""While a managed connection is in one of these, it is reopened without anybody's doing."""


DOING = {
    ConnectionPhase.CONNECTING: "a connection is being opened",
    ConnectionPhase.RESTORING: "connected, the conversation is being replayed",
    ConnectionPhase.LIVE: "a connection carries the conversation",
    ConnectionPhase.MOVING: "a connection carries the conversation, the next one is being prepared",
    ConnectionPhase.WAITING: "there is no connection, the next attempt is due later",
    ConnectionPhase.CLOSED: "the conversation is over",
}
"""What a managed connection is doing, for people."""

CHECK_NETWORK = "Check the network between this host and the provider."
CONNECT_AGAIN = "The conversation is lost: begin another with connect()."


class CheckStatus(StrEnum):
    """The result of one check."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    WARN = "warn"
    FAIL = "fail"


class HealthCheck(msgspec.Struct, frozen=True):
    """One check: what was looked at, what was found, and what to do about it (empty when it passed)."""

    name: str
    status: CheckStatus
    detail: str
    advice: str = ""


class SessionHealth(msgspec.Struct, frozen=True):
    """All checks of one session at one moment."""

    session_id: str
    at: float
    checks: tuple[HealthCheck, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether no check failed; a warning is not a failure."""
        return all(check.status is not CheckStatus.FAIL for check in self.checks)

    @property
    def recommendations(self) -> tuple[str, ...]:
        """The advice of every check that did not pass."""
        return tuple(check.advice for check in self.checks if check.advice)


def check_health(session: Session, now: float) -> SessionHealth:
    """Look at the session's key, renewals, timers, connection and age."""
    return SessionHealth(session.session_id, now, tuple(check(session, now) for check in CHECKS))


def is_healthy(session: Session, now: float) -> bool:
    """Whether no check fails, for the heartbeat, which has no use for their words. The tests hold it to the checks."""
    return (
        credential_status(session, now) is CredentialStatus.VALID
        and session.connection is not ConnectionStatus.FAILED
        and not (session.failed_rounds and session.phase is Phase.RECOVERING)
    )


def _passed(name: str, detail: str) -> HealthCheck:
    return HealthCheck(name, CheckStatus.PASS, detail)


def _credential(session: Session, now: float) -> HealthCheck:
    name = "credential-validity"
    status = credential_status(session, now)
    if status is CredentialStatus.VALID:
        assert session.key is not None  # noqa: S101 - a valid status means a key
        return _passed(name, f"the key is valid for another {session.key.expires_at - now:.0f} s")
    advice = {
        CredentialStatus.EXPIRED: "The key lapsed. Check that the provider is reachable; renewal goes on trying.",
        CredentialStatus.MISSING: "There is no key yet. Wait for the start to complete, or start a new session.",
        CredentialStatus.INVALID: "The provider refused the key; a new one is being fetched. Check the account.",
    }
    return HealthCheck(name, CheckStatus.FAIL, f"the key is {status}", advice[status])


def _renewal(session: Session, now: float) -> HealthCheck:
    name = "renewal"
    if not session.failed_rounds:
        return _passed(name, "the last renewal worked, or none was needed yet")
    why = session.last_error.remediation if session.last_error else "See the renewal-error events."
    detail = f"{session.failed_rounds} renewal round(s) failed in a row"
    status = CheckStatus.FAIL if session.phase is Phase.RECOVERING else CheckStatus.WARN
    return HealthCheck(name, status, detail, f"{why} It goes on trying by itself.")


def _timers(session: Session, now: float) -> HealthCheck:
    name = "timer-health"
    if session.phase not in RUNNING:
        return _passed(name, f"no timers are due while {session.phase}")
    missing = []
    if session.renew_at is None and session.round is None:
        missing.append("renewal")
    if session.frozen is None:
        if session.config.enable_inactivity_timeout and session.idle_at is None:
            missing.append("inactivity")
        if session.config.enable_heartbeat and session.beat_at is None:
            missing.append("heartbeat")
    if missing:
        advice = "End the session and start a new one (recovery step SESSION_FORCE_TERMINATION does both ends)."
        return HealthCheck(name, CheckStatus.WARN, f"not armed: {', '.join(missing)}", advice)
    return _passed(name, "paused" if session.frozen else "all armed")


def _connection(session: Session, now: float) -> HealthCheck:
    if session.connection_phase is not ConnectionPhase.NONE:
        return _managed_connection(session)
    name = "connection"
    if session.connection is ConnectionStatus.FAILED:
        advice = "Reconnect with the current key; check the network between this host and the provider."
        return HealthCheck(name, CheckStatus.FAIL, "the transport reported a failed connection", advice)
    if session.connection is ConnectionStatus.DEGRADED:
        advice = "Watch latency and packet loss; reconnect if it lasts."
        return HealthCheck(name, CheckStatus.WARN, "the transport reported a degraded connection", advice)
    if session.connection is ConnectionStatus.UNKNOWN:
        return _passed(name, "no transport has reported yet")
    return _passed(name, "healthy")


def _managed_connection(session: Session) -> HealthCheck:
    name, detail = "connection", f"{session.connection_phase}: {DOING[session.connection_phase]}"
    if session.connection is ConnectionStatus.FAILED:
        again = "It is reopened by itself. If that lasts:" if session.connection_phase in MANAGED else CONNECT_AGAIN
        return HealthCheck(name, CheckStatus.FAIL, detail, f"{again} {_remedy(session)}")
    if session.connection is ConnectionStatus.DEGRADED:
        advice = f"The next one is tried again by itself before this one is cut. If that lasts: {CHECK_NETWORK}"
        return HealthCheck(name, CheckStatus.WARN, f"{detail}, but the next one could not be opened", advice)
    return _passed(name, detail)


def _remedy(session: Session) -> str:
    """What the last error advises, unless that is of the connection itself, which tells nothing but its fall."""
    fault = session.last_error
    return CHECK_NETWORK if fault is None or fault.domain is FaultDomain.TRANSPORT else fault.remediation


def _age(session: Session, now: float) -> HealthCheck:
    name = "session-age"
    age = now - (session.started_at or session.created_at)
    if age < LONG_SESSION or session.connection_phase in MANAGED:
        return _passed(name, f"{age:.0f} s")
    advice = "The provider cuts a connection after its maximum duration (60 minutes); plan a reconnect."
    return HealthCheck(name, CheckStatus.WARN, f"{age / 60:.0f} minutes old", advice)


CHECKS: tuple[Callable[[Session, float], HealthCheck], ...] = (_credential, _renewal, _timers, _connection, _age)
