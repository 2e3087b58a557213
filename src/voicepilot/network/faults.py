"""What can go wrong between asking for a key and having one, as two tables: what it is, and whether to try again.

Sources: sections A4 and B2 of the wire sheet (reference/realtime-wire.md).
"""

from __future__ import annotations

import email.utils
import math
import socket
import ssl
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import aiohttp
import msgspec

from voicepilot.errors import (
    AuthenticationError,
    BadReplyError,
    KeyServiceError,
    KeyTimeoutError,
    NetworkError,
    PermissionDeniedError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitError,
    RequestRefusedError,
)
from voicepilot.network.reply import Reply
from voicepilot.network.secrets import Secret, scrubbed


class Refusal(NamedTuple):
    """One row: an answer of this status (and, where given, one of these error codes or types) means this error."""

    statuses: range
    codes: frozenset[str]  # empty: whatever the code
    error: type[KeyServiceError]
    code: str | None = None  # None: the error's own
    remediation: str | None = None
    retryable: bool | None = None


def _codes(*names: str) -> frozenset[str]:
    return frozenset(names)


def _only(status: int) -> range:
    return range(status, status + 1)


ANY = range(1000)
SUCCESS = range(200, 300)

# The first row that matches decides. Rows with codes come first, because a code says more than a status.
REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        ANY,
        _codes("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "QuotaExceeded"),
        QuotaExceededError,
    ),
    Refusal(
        ANY,
        _codes("account_deactivated"),
        PermissionDeniedError,
        "ACCOUNT_DEACTIVATED",
        "Ask the provider why the account is deactivated.",
    ),
    Refusal(ANY, _codes("invalid_api_key", "invalid_authentication"), AuthenticationError),
    Refusal(
        ANY,
        _codes("DeploymentNotFound"),
        RequestRefusedError,
        "DEPLOYMENT_NOT_FOUND",
        "On Azure the model is the deployment's name; a new deployment takes some minutes to appear.",
    ),
    Refusal(
        range(400, 500),
        _codes("model_not_found"),
        RequestRefusedError,
        "MODEL_NOT_FOUND",
        "Check the model's name, that it is a realtime model, and that this account may use it.",
    ),
    Refusal(
        range(400, 500),
        _codes("content_filter"),
        RequestRefusedError,
        "CONTENT_FILTERED",
        "The provider's content filter refuses the session options; change the instructions.",
    ),
    Refusal(
        ANY,
        _codes("beta_api_shape_disabled"),
        RequestRefusedError,
        "BETA_PROTOCOL_RETIRED",
        "Use profile openai or azure; the beta protocol is no longer served.",
    ),
    Refusal(SUCCESS, _codes("rate_limit_exceeded"), RateLimitError),
    Refusal(SUCCESS, _codes("server_error"), ProviderUnavailableError),
    Refusal(SUCCESS, _codes(), BadReplyError, "ERROR_IN_REPLY", "See the provider's message."),
    Refusal(
        range(300, 400),
        _codes(),
        RequestRefusedError,
        "REDIRECT_REFUSED",
        "Set the base URL to the address the provider documents; credentials are never sent after a redirect.",
    ),
    Refusal(_only(401), _codes(), AuthenticationError),
    Refusal(_only(402), _codes(), QuotaExceededError),
    Refusal(_only(403), _codes(), PermissionDeniedError),
    Refusal(
        _only(404),
        _codes(),
        RequestRefusedError,
        "ENDPOINT_NOT_FOUND",
        "Check the base URL (https://api.openai.com/v1, or an Azure resource that serves /openai/v1) and the model.",
    ),
    Refusal(
        _only(407),
        _codes(),
        NetworkError,
        "PROXY_AUTHENTICATION_REQUIRED",
        "Put the proxy's user name and password into HTTPS_PROXY.",
        retryable=False,
    ),
    Refusal(_only(408), _codes(), ProviderUnavailableError),
    Refusal(_only(409), _codes(), ProviderUnavailableError, "CONFLICT"),
    Refusal(
        _only(413),
        _codes(),
        RequestRefusedError,
        "REQUEST_TOO_LARGE",
        "Shorten the instructions or the tool definitions.",
    ),
    Refusal(_only(429), _codes(), RateLimitError),
    Refusal(range(400, 500), _codes(), RequestRefusedError),
    Refusal(range(500, 600), _codes(), ProviderUnavailableError),
    Refusal(ANY, _codes(), BadReplyError, "UNEXPECTED_STATUS"),
)


class Breakdown(NamedTuple):
    """One row: an exception of these types on the way there or back means this error."""

    types: tuple[type[BaseException], ...]
    error: type[KeyServiceError]
    code: str | None
    message: str
    remediation: str | None = None
    retryable: bool | None = None


_CA_REMEDY = "If a company proxy inspects TLS, give its certificate in SSL_CERT_FILE; otherwise check the base URL."

# The first row that matches decides; aiohttp's narrow errors come before the wide ones they derive from.
BREAKDOWNS: tuple[Breakdown, ...] = (
    Breakdown(
        (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError, aiohttp.ServerFingerprintMismatch),
        NetworkError,
        "TLS_CERTIFICATE_REFUSED",
        "the server's certificate is not trusted",
        _CA_REMEDY,
        retryable=False,
    ),
    Breakdown(
        (aiohttp.ClientSSLError, ssl.SSLError), NetworkError, "TLS_FAILED", "the TLS handshake failed", _CA_REMEDY
    ),
    Breakdown(
        (aiohttp.ClientConnectorDNSError, socket.gaierror),
        NetworkError,
        "DNS_FAILED",
        "the host's name cannot be resolved",
        "Check the base URL's host name and the network.",
    ),
    Breakdown(
        (aiohttp.ClientProxyConnectionError,),
        NetworkError,
        "PROXY_UNREACHABLE",
        "the proxy cannot be reached",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    Breakdown(
        (aiohttp.ClientHttpProxyError,),
        NetworkError,
        "PROXY_REFUSED",
        "the proxy refused to connect",
        "Check HTTPS_PROXY, and that the proxy lets this host through.",
    ),
    Breakdown(
        (aiohttp.ConnectionTimeoutError,), KeyTimeoutError, "CONNECT_TIMEOUT", "the connection was not made in time"
    ),
    Breakdown((TimeoutError, aiohttp.ServerTimeoutError), KeyTimeoutError, None, "no answer in time"),
    Breakdown((ConnectionRefusedError,), NetworkError, "CONNECTION_REFUSED", "the connection was refused"),
    Breakdown(
        (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, aiohttp.ServerDisconnectedError),
        NetworkError,
        "CONNECTION_RESET",
        "the connection was cut before the answer",
    ),
    Breakdown(
        (aiohttp.ClientPayloadError,), BadReplyError, "TRUNCATED_REPLY", "the answer ended before it was complete"
    ),
    Breakdown((aiohttp.ClientResponseError,), BadReplyError, "NOT_HTTP", "the answer is not proper HTTP"),
    Breakdown((OSError, aiohttp.ClientConnectionError), NetworkError, None, "the network failed"),
    Breakdown((aiohttp.ClientError,), NetworkError, None, "the HTTP client failed"),
)


def row_of(status: int, names: Collection[str]) -> Refusal:
    """The row for an answer of this status whose error's code or type is one of `names`."""
    return next(
        row
        for row in REFUSALS
        if status in row.statuses and (not row.codes or any(name in row.codes for name in names))
    )


def fault_of_refusal(reply: Reply, secret: Secret | None = None) -> KeyServiceError:
    """The error an answer without a key means."""
    body = _error_body(reply.body)
    names = [name for key in ("code", "type") if isinstance(name := body.get(key), str)]
    row = row_of(reply.status, names)
    said = body.get("message")
    message = f"the provider answered {reply.status}"
    if isinstance(said, str) and said.strip():
        message += f": {scrubbed(said, secret)}"
    return row.error(
        message,
        code=row.code,
        remediation=row.remediation,
        retryable=_retryable(reply, row),
        retry_after=retry_after(reply),
        status=reply.status,
        provider_code=scrubbed(names[0], secret, limit=80) if names else None,
        request_id=request_id_of(reply.headers, secret),
    )


def fault_of_breakdown(error: Exception, where: str) -> KeyServiceError:
    """The error an exception of the HTTP client means. It holds nothing of the exception, which may hold headers."""
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
        return fault_of_refusal(Reply(error.status, {}, b"", 0.0))
    # aiohttp wraps the operating system's error; what we know the failure by may be either of the two.
    inner = getattr(error, "os_error", None) or error
    if type(inner) is aiohttp.ClientOSError and inner.errno:
        inner = OSError(inner.errno, "")  # Python then picks ConnectionResetError and its like by number
    row = next((row for row in BREAKDOWNS if isinstance(error, row.types) or isinstance(inner, row.types)), None)
    if row is None:
        return KeyServiceError(f"{where}: {type(error).__name__}", code="UNEXPECTED_ERROR", retryable=True)
    return row.error(f"{where}: {row.message}", code=row.code, remediation=row.remediation, retryable=row.retryable)


def retry_after(reply: Reply) -> float | None:
    """How long the provider asks us to wait, in seconds: `retry-after-ms`, or `Retry-After` as seconds or a date."""
    milliseconds = _number(reply.headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    hint = reply.headers.get("retry-after")
    seconds = _number(hint)
    if seconds is not None:
        return _bounded(seconds)
    then = timestamp(hint)
    if then is None:
        return None
    now = timestamp(reply.headers.get("date"))
    return _bounded(then - (reply.received_at if now is None else now))


def timestamp(date: str | None) -> float | None:
    """An HTTP date as seconds since the epoch; None when it is absent or none."""
    try:
        return None if date is None else email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def request_id_of(headers: Mapping[str, str], secret: Secret | None = None) -> str | None:
    """What the provider calls this exchange, for its support: OpenAI's `x-request-id` or Azure's `apim-request-id`."""
    for name in ("x-request-id", "apim-request-id", "x-ms-request-id"):
        if value := "".join(ch for ch in headers.get(name, "") if ch.isprintable()):
            hidden = secret is not None and secret.reveal() in value
            return "<hidden>" if hidden else value[:128]
    return None


def _retryable(reply: Reply, row: Refusal) -> bool | None:
    # OpenAI's own clients obey this header before anything else (wire sheet, A4); a redirect stays final.
    told = reply.headers.get("x-should-retry")
    if told in {"true", "false"} and reply.status >= 400:
        return told == "true"
    return row.retryable


def _error_body(body: bytes) -> Mapping[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer)  # Azure's gateway puts code and message at the top
    return error if isinstance(error, dict) else {"message": error}


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), 86_400.0)
