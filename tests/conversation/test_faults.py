"""Why there is no connection: refusals, and close codes with their reasons."""

from __future__ import annotations

import json

import pytest

from voicepilot.conversation.faults import (
    fault_of_bad_handshake,
    fault_of_close,
    fault_of_refused_dial,
)
from voicepilot.errors import Fault, FaultDomain
from voicepilot.network.reply import Reply
from voicepilot.network.secrets import Secret

KEY = "ek_canary_Zz9Yy8Xx7Ww6"


def refused(status: int, code: str | None = None, *, message: str = "No.", **headers: str) -> Reply:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 0.0)


@pytest.mark.parametrize(
    ("code", "reason", "name", "retryable"),
    [
        (1000, "", "CONNECTION_CLOSED", True),
        (1001, "Your session hit the maximum duration of 60 minutes.", "CONNECTION_EXPIRED", True),
        (1001, "", "CONNECTION_GOING_AWAY", True),
        (1002, "", "PROTOCOL_VIOLATION", True),
        (1003, "", "DATA_REFUSED", False),
        (1005, "", "CONNECTION_CLOSED", True),
        (1006, "", "CONNECTION_LOST", True),
        (1008, "abuse", "POLICY_VIOLATION", False),
        (1009, "", "PROTOCOL_VIOLATION", True),
        (1011, "", "PROVIDER_FAILED", True),
        (1012, "", "PROVIDER_RESTARTING", True),
        (1013, "", "PROVIDER_OVERLOADED", True),
        (2999, "", "PROTOCOL_VIOLATION", True),
        (3000, "invalid_request_error.invalid_api_key", "INVALID_CREDENTIALS", True),
        (3000, "", "INVALID_CREDENTIALS", True),
        (4000, "invalid_request_error.invalid_api_key", "INVALID_CREDENTIALS", True),
        (4000, "invalid_request_error.insufficient_quota", "QUOTA_EXCEEDED", False),
        (4000, "insufficient_quota.insufficient_quota", "QUOTA_EXCEEDED", False),
        (4000, "invalid_request_error.billing_hard_limit_reached", "QUOTA_EXCEEDED", False),
        (4000, "invalid_request_error.account_deactivated", "ACCOUNT_DEACTIVATED", False),
        (4000, "invalid_request_error.beta_api_shape_disabled", "BETA_PROTOCOL_RETIRED", False),
        (4000, "invalid_request_error.model_not_found", "MODEL_NOT_FOUND", False),
        (4000, "invalid_request_error.session_expired", "CONNECTION_EXPIRED", True),
        (4000, "invalid_request_error.something_new", "REQUEST_REFUSED", False),
        (4000, "requests.rate_limit_exceeded", "RATE_LIMITED", True),
        (4000, "server_error.overloaded", "PROVIDER_UNAVAILABLE", True),
        (4000, "", "PROVIDER_UNAVAILABLE", True),
        (4999, "who knows", "PROVIDER_UNAVAILABLE", True),
    ],
)
def test_a_close_says_whether_to_dial_again(code: int, reason: str, name: str, retryable: bool) -> None:
    fault = fault_of_close(code, reason)
    assert (fault.code, fault.retryable) == (name, retryable)
    assert fault.remediation


def test_a_close_names_its_code_and_what_the_provider_said() -> None:
    assert "1008: abuse" in fault_of_close(1008, "abuse").message
    assert "(1011)" in fault_of_close(1011, "").message
    fault = fault_of_close(4000, "invalid_request_error.insufficient_quota")
    assert (fault.provider_code, fault.status) == ("insufficient_quota", None)
    assert "4000: invalid_request_error.insufficient_quota" in fault.message
    assert fault_of_close(4000, "").message == "the provider closed the connection with 4000: no reason"


def test_a_reason_from_outside_is_bounded_and_shows_no_key() -> None:
    for code in (1008, 4000):
        fault = fault_of_close(code, f"Bad key {KEY}\n" + "x" * 5000)
        assert KEY not in repr(fault)
        assert len(fault.message) < 400
        assert "\n" not in fault.message


@pytest.mark.parametrize(
    ("reply", "name", "retryable"),
    [
        (refused(200), "NOT_A_WEBSOCKET", True),
        (refused(307), "REDIRECT_REFUSED", False),
        (refused(400), "REQUEST_REFUSED", False),
        (refused(401, "invalid_api_key"), "INVALID_CREDENTIALS", True),
        (refused(401, "Unauthorized"), "INVALID_CREDENTIALS", True),
        (refused(403), "INSUFFICIENT_PERMISSIONS", False),
        (refused(404, "model_not_found"), "MODEL_NOT_FOUND", False),
        (refused(404, "DeploymentNotFound"), "DEPLOYMENT_NOT_FOUND", False),
        (refused(404), "ENDPOINT_NOT_FOUND", False),
        (refused(429), "RATE_LIMITED", True),
        (refused(429, "insufficient_quota"), "QUOTA_EXCEEDED", False),
        (refused(500), "PROVIDER_UNAVAILABLE", True),
        (refused(503), "PROVIDER_UNAVAILABLE", True),
    ],
)
def test_a_refused_dial_says_whether_to_dial_again(reply: Reply, name: str, retryable: bool) -> None:
    fault = fault_of_refused_dial(reply)
    assert (fault.code, fault.retryable, fault.status) == (name, retryable, reply.status)


def test_a_refused_dial_says_when_to_come_back() -> None:
    assert fault_of_refused_dial(refused(429, retry_after="7")).retry_after == 7.0
    assert fault_of_refused_dial(refused(429, retry_after_ms="1500")).retry_after == 1.5
    assert fault_of_refused_dial(refused(401)).retry_after is None


def test_a_refusal_that_repeats_the_key_does_not_show_it() -> None:
    plain = "a-token-of-no-known-form"
    fault = fault_of_refused_dial(refused(401, message=f"Not with {plain}"), Secret(plain))
    assert plain not in repr(fault)
    assert "Not with" in fault.message


def test_what_never_was_a_websocket_is_named() -> None:
    assert fault_of_bad_handshake("opening").code == "NOT_A_WEBSOCKET"


@pytest.mark.parametrize(
    ("code", "reason", "whole"),
    [
        (
            4000,
            "invalid_request_error.session_expired",
            Fault(
                code="CONNECTION_EXPIRED",
                message="the connection reached the provider's maximum age",
                remediation="Nothing to do: the conversation dials again by itself.",
                retryable=True,
                domain=FaultDomain.TRANSPORT,
            ),
        ),
        (
            1008,
            "abuse",
            Fault(
                code="POLICY_VIOLATION",
                message="the provider closed the connection for a breach of its policy (1008: abuse)",
                remediation="See the provider's reason: dialling again would meet the same.",
                retryable=False,
                domain=FaultDomain.TRANSPORT,
            ),
        ),
    ],
)
def test_a_close_says_whose_it_is_and_what_to_do(code: int, reason: str, whole: Fault) -> None:
    assert fault_of_close(code, reason) == whole


def test_what_answered_instead_of_the_provider_is_told_as_such() -> None:
    assert fault_of_refused_dial(refused(204)) == Fault(
        code="NOT_A_WEBSOCKET",
        message="the provider answered 204 and opened no WebSocket",
        remediation="Check that the base URL is a Realtime endpoint; a proxy may be answering in its place.",
        retryable=True,
        domain=FaultDomain.INFRASTRUCTURE,
        status=204,
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [("model_not_found", 400), ("insufficient_quota", 400), ("rate_limit_exceeded", 429), ("x", 400)],
)
def test_a_reason_means_what_the_same_refusal_of_a_dial_means(name: str, status: int) -> None:
    told, same = fault_of_close(4000, f"invalid_request_error.{name}"), fault_of_refused_dial(refused(status, name))
    assert (told.code, told.remediation, told.retryable, told.domain, told.provider_code) == (
        same.code,
        same.remediation,
        same.retryable,
        same.domain,
        name,
    )


def test_a_handshake_that_is_wrong_says_where() -> None:
    assert fault_of_bad_handshake("opening").message == "opening: the WebSocket handshake is wrong"
