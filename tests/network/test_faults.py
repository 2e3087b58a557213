"""The fault tables, row by row: what an answer or an exception means."""

from __future__ import annotations

import errno
import json
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from voicepilot import errors
from voicepilot.network.faults import REFUSALS, fault_of_breakdown, fault_of_refusal
from voicepilot.network.reply import Reply
from voicepilot.network.secrets import Secret

NOW = 1_790_000_000.0


def refusal(status: int, error: Any = None, **headers: str) -> Reply:
    body = b"" if error is None else json.dumps({"error": error}).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, NOW)


@pytest.mark.parametrize(
    ("status", "error", "kind", "code", "retryable"),
    [
        (401, {"code": "invalid_api_key"}, errors.AuthenticationError, "INVALID_CREDENTIALS", False),
        (401, {"code": "401", "message": "Access denied"}, errors.AuthenticationError, "INVALID_CREDENTIALS", False),
        (401, None, errors.AuthenticationError, "INVALID_CREDENTIALS", False),
        (403, None, errors.PermissionDeniedError, "INSUFFICIENT_PERMISSIONS", False),
        (403, {"code": "account_deactivated"}, errors.PermissionDeniedError, "ACCOUNT_DEACTIVATED", False),
        (402, None, errors.QuotaExceededError, "QUOTA_EXCEEDED", False),
        (429, {"code": "insufficient_quota"}, errors.QuotaExceededError, "QUOTA_EXCEEDED", False),
        (429, {"type": "insufficient_quota", "code": None}, errors.QuotaExceededError, "QUOTA_EXCEEDED", False),
        (429, {"code": "billing_hard_limit_reached"}, errors.QuotaExceededError, "QUOTA_EXCEEDED", False),
        (429, {"code": "rate_limit_exceeded"}, errors.RateLimitError, "RATE_LIMITED", True),
        (429, {"code": "429"}, errors.RateLimitError, "RATE_LIMITED", True),
        (429, None, errors.RateLimitError, "RATE_LIMITED", True),
        (400, {"type": "invalid_request_error"}, errors.RequestRefusedError, "REQUEST_REFUSED", False),
        (400, {"code": "content_filter"}, errors.RequestRefusedError, "CONTENT_FILTERED", False),
        (404, {"code": "DeploymentNotFound"}, errors.RequestRefusedError, "DEPLOYMENT_NOT_FOUND", False),
        (404, {"code": "model_not_found"}, errors.RequestRefusedError, "MODEL_NOT_FOUND", False),
        (404, None, errors.RequestRefusedError, "ENDPOINT_NOT_FOUND", False),
        (407, None, errors.NetworkError, "PROXY_AUTHENTICATION_REQUIRED", False),
        (408, None, errors.ProviderUnavailableError, "PROVIDER_UNAVAILABLE", True),
        (409, None, errors.ProviderUnavailableError, "CONFLICT", True),
        (413, None, errors.RequestRefusedError, "REQUEST_TOO_LARGE", False),
        (418, None, errors.RequestRefusedError, "REQUEST_REFUSED", False),
        (500, None, errors.ProviderUnavailableError, "PROVIDER_UNAVAILABLE", True),
        (503, {"type": "server_error"}, errors.ProviderUnavailableError, "PROVIDER_UNAVAILABLE", True),
        (302, None, errors.RequestRefusedError, "REDIRECT_REFUSED", False),
        (307, None, errors.RequestRefusedError, "REDIRECT_REFUSED", False),
        (200, {"code": "insufficient_quota"}, errors.QuotaExceededError, "QUOTA_EXCEEDED", False),
        (200, {"code": "rate_limit_exceeded"}, errors.RateLimitError, "RATE_LIMITED", True),
        (200, {"type": "server_error"}, errors.ProviderUnavailableError, "PROVIDER_UNAVAILABLE", True),
        (200, {"code": "strange"}, errors.BadReplyError, "ERROR_IN_REPLY", True),
        (400, {"code": "beta_api_shape_disabled"}, errors.RequestRefusedError, "BETA_PROTOCOL_RETIRED", False),
        (101, None, errors.BadReplyError, "UNEXPECTED_STATUS", True),
        (999, None, errors.BadReplyError, "UNEXPECTED_STATUS", True),
    ],
)
def test_what_an_answer_means(
    status: int, error: dict[str, Any] | None, kind: type[errors.KeyServiceError], code: str, retryable: bool
) -> None:
    fault = fault_of_refusal(refusal(status, error))
    assert (type(fault), fault.code, fault.retryable) == (kind, code, retryable)
    assert fault.remediation
    assert fault.status == status


def test_every_row_can_be_reached() -> None:
    for row in REFUSALS:
        name = next(iter(row.codes), None)
        fault = fault_of_refusal(refusal(row.statuses[0], {"code": name} if name else None))
        assert isinstance(fault, errors.KeyServiceError)
        if row.statuses != range(1000) or row.codes:
            assert (type(fault), fault.code) == (row.error, row.code or row.error.code)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "1e300"}, 86_400.0),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after_ms": "x", "retry_after": "9"}, 9.0),
        ({"retry_after": "Mon, 21 Sep 2026 14:14:00 GMT", "date": "Mon, 21 Sep 2026 14:13:20 GMT"}, 40.0),
        ({"retry_after": "Mon, 21 Sep 2026 14:14:00 GMT", "date": "rubbish"}, 40.0),
        ({"retry_after": "Mon, 21 Sep 2026 14:00:00 GMT"}, 0.0),
    ],
)
def test_how_long_the_provider_asks_us_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert fault_of_refusal(refusal(429, None, **headers)).retry_after == seconds


@pytest.mark.parametrize(
    ("status", "told", "retryable"),
    [(500, "false", False), (400, "true", True), (500, "perhaps", True), (302, "true", False)],
)
def test_the_provider_may_say_whether_to_retry(status: int, told: str, retryable: bool) -> None:
    assert fault_of_refusal(refusal(status, None, x_should_retry=told)).retryable is retryable


def test_request_ids_and_codes_are_kept_for_support() -> None:
    fault = fault_of_refusal(refusal(500, {"code": "odd"}, x_request_id="req_1"))
    assert (fault.request_id, fault.provider_code) == ("req_1", "odd")
    assert fault_of_refusal(refusal(500, None, apim_request_id="azure-1")).request_id == "azure-1"
    assert fault_of_refusal(refusal(500)).request_id is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b"[]", b'{"error": null}', b'{"error": "text"}', b"\xff\xfe", b"[" * 100_000]
)
def test_any_error_body_will_do(body: bytes) -> None:
    assert isinstance(fault_of_refusal(Reply(500, {}, body, NOW)), errors.ProviderUnavailableError)


def test_the_gateways_flat_error_is_read_too() -> None:
    fault = fault_of_refusal(Reply(429, {}, b'{"statusCode": 429, "message": "Too many"}', NOW))
    assert "Too many" in str(fault)


def test_what_the_provider_says_is_repeated_without_the_credential() -> None:
    secret = Secret("0123456789abcdef")
    said = "Incorrect API key provided: sk-proj-abc****xyz or 0123456789abcdef.\nSecond \x1b[31mline " + "long " * 100
    fault = fault_of_refusal(
        refusal(401, {"message": said, "code": "0123456789abcdef"}, x_request_id="0123456789abcdef"), secret
    )
    shown = f"{fault} {fault.fault}"
    assert "Incorrect API key provided" in shown
    assert "sk-proj" not in shown
    assert "0123456789abcdef" not in shown
    assert "\n" not in str(fault)
    assert "\x1b" not in str(fault)
    assert len(str(fault)) < 260


KEY = ConnectionKey("api.openai.com", 443, True, True, None, None, None)


def os_error(kind: type[OSError], number: int = 1) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(KEY, kind(number, "text"))


@pytest.mark.parametrize(
    ("raised", "kind", "code", "retryable"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "x")), errors.NetworkError, "DNS_FAILED", True),
        (os_error(ConnectionRefusedError), errors.NetworkError, "CONNECTION_REFUSED", True),
        (os_error(ConnectionResetError), errors.NetworkError, "CONNECTION_RESET", True),
        (os_error(OSError, 101), errors.NetworkError, "NETWORK_ERROR", True),
        (aiohttp.ClientOSError(errno.ECONNRESET, "x"), errors.NetworkError, "CONNECTION_RESET", True),
        (aiohttp.ClientConnectionResetError("x"), errors.NetworkError, "CONNECTION_RESET", True),
        (aiohttp.ServerDisconnectedError(), errors.NetworkError, "CONNECTION_RESET", True),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("x")),
            errors.NetworkError,
            "TLS_CERTIFICATE_REFUSED",
            False,
        ),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("x")), errors.NetworkError, "TLS_FAILED", True),
        (aiohttp.ClientProxyConnectionError(KEY, OSError(1, "x")), errors.NetworkError, "PROXY_UNREACHABLE", True),
        (aiohttp.ConnectionTimeoutError(), errors.KeyTimeoutError, "CONNECT_TIMEOUT", True),
        (aiohttp.SocketTimeoutError(), errors.KeyTimeoutError, "KEY_REQUEST_TIMEOUT", True),
        (TimeoutError(), errors.KeyTimeoutError, "KEY_REQUEST_TIMEOUT", True),
        (aiohttp.ClientPayloadError("x"), errors.BadReplyError, "TRUNCATED_REPLY", True),
        (aiohttp.ClientConnectionError("x"), errors.NetworkError, "NETWORK_ERROR", True),
        (aiohttp.ClientError("x"), errors.NetworkError, "NETWORK_ERROR", True),
        (ValueError("x"), errors.KeyServiceError, "UNEXPECTED_ERROR", True),
    ],
)
def test_what_an_exception_means(
    raised: Exception, kind: type[errors.KeyServiceError], code: str, retryable: bool
) -> None:
    fault = fault_of_breakdown(raised, "asking api.openai.com for a key")
    assert (type(fault), fault.code, fault.retryable) == (kind, code, retryable)
    assert "api.openai.com" in str(fault)
