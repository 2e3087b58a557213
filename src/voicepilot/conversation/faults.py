"""Why a conversation has no connection: a dial that failed or a connection that ended, as a Fault.

`retryable` says whether another dial can succeed. Each dial brings a fresh key, so a refused key is retryable here,
though the same refusal ends a mint. Sources: sections B2, B3 and E2 of the wire sheet (reference/realtime-wire.md).
"""

from __future__ import annotations

import msgspec

from voicepilot.errors import AuthenticationError, BadReplyError, Fault, FaultDomain
from voicepilot.network.faults import fault_of_refusal, row_of
from voicepilot.network.reply import Reply
from voicepilot.network.secrets import Secret, scrubbed

_PASSES = "Nothing to do: the conversation dials again by itself."
_FINAL = "See the provider's reason: dialling again would meet the same."
_ENDPOINT = "Check that the base URL is a Realtime endpoint; a proxy may be answering in its place."

# What close codes mean by themselves (RFC 6455, 7.4.1): the fault's code, its message, whether to dial again.
_CLOSES: dict[int, tuple[str, str, bool]] = {
    1000: ("CONNECTION_CLOSED", "the provider closed the connection", True),
    1001: ("CONNECTION_GOING_AWAY", "the provider ended the connection", True),
    1003: ("DATA_REFUSED", "the provider does not take this kind of data", False),
    1005: ("CONNECTION_CLOSED", "the provider closed the connection without a reason", True),
    1006: ("CONNECTION_LOST", "the connection was cut", True),
    1008: ("POLICY_VIOLATION", "the provider closed the connection for a breach of its policy", False),
    1011: ("PROVIDER_FAILED", "the provider closed the connection because of an error of its own", True),
    1012: ("PROVIDER_RESTARTING", "the provider restarts", True),
    1013: ("PROVIDER_OVERLOADED", "the provider is overloaded", True),
}
_OTHER = ("PROTOCOL_VIOLATION", "the connection broke the WebSocket protocol", True)
# The status that an HTTP answer of this error type would have; the rest is the provider's own fault.
_STATUSES = {"invalid_request_error": 400, "rate_limit_exceeded": 429, "requests": 429, "tokens": 429}


def fault_of_refused_dial(reply: Reply, key: Secret | None = None) -> Fault:
    """The fault when the upgrade is answered with anything but 101. `key` is kept out of what the provider said."""
    if 200 <= reply.status < 300:
        return _fault(
            "NOT_A_WEBSOCKET",
            f"the provider answered {reply.status} and opened no WebSocket",
            _ENDPOINT,
            domain=FaultDomain.INFRASTRUCTURE,
            status=reply.status,
        )
    return _with_another_key(fault_of_refusal(reply, key).fault)


def fault_of_bad_handshake(where: str) -> Fault:
    """The fault when the answer to the upgrade says 101 and is none."""
    return BadReplyError(f"{where}: the WebSocket handshake is wrong", code="NOT_A_WEBSOCKET").fault


def fault_of_close(code: int, reason: str) -> Fault:
    """The fault behind the end of a connection. The provider's reasons look like `invalid_request_error.<code>`."""
    if 3000 <= code < 5000:
        return _fault_of_provider_close(code, reason)
    if code == 1001 and "maximum duration" in reason:
        return _fault("CONNECTION_EXPIRED", "the connection reached the provider's maximum age", _PASSES)
    name, message, retryable = _CLOSES.get(code, _OTHER)
    message += f" ({code}: {said})" if (said := scrubbed(reason)) else f" ({code})"
    return _fault(name, message, _PASSES if retryable else _FINAL, retryable=retryable)


def _fault_of_provider_close(code: int, reason: str) -> Fault:
    kind, _, name = reason.rpartition(".")
    if name == "session_expired":
        return _fault("CONNECTION_EXPIRED", "the connection reached the provider's maximum age", _PASSES)
    if code == 3000 and not name:
        name = "invalid_api_key"  # what the code stands for (wire sheet, B2)
    row = row_of(_STATUSES.get(name, _STATUSES.get(kind, 500)), [name, kind])
    error = row.error(
        f"the provider closed the connection with {code}: {scrubbed(reason) or 'no reason'}",
        code=row.code,
        remediation=row.remediation,
        retryable=row.retryable,
        provider_code=scrubbed(name, limit=80) or None,
    )
    return _with_another_key(error.fault)


def _with_another_key(fault: Fault) -> Fault:
    if fault.code != AuthenticationError.code:
        return fault
    return msgspec.structs.replace(fault, retryable=True)


def _fault(
    code: str,
    message: str,
    remediation: str,
    *,
    retryable: bool = True,
    domain: FaultDomain = FaultDomain.TRANSPORT,
    status: int | None = None,
) -> Fault:
    return Fault(code=code, message=message, remediation=remediation, retryable=retryable, domain=domain, status=status)
