"""Recorded-shape answers, good and bad: which become keys, and what the others are called."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest

from voicepilot.credentials.profiles import AzurePreviewProfile, AzureProfile, OpenAIProfile, Profile
from voicepilot.credentials.replies import key_from
from voicepilot.errors import BadReplyError
from voicepilot.network.reply import Reply
from voicepilot.network.secrets import Secret
from voicepilot.ports import EphemeralKey, KeyRequest

NOW = 1_784_852_000.0
SECRET = Secret("sk-canary-CREDENTIAL-0123456789")
REQUEST = KeyRequest(session_id="s1", life_seconds=600)
OPENAI = OpenAIProfile()
AZURE = AzureProfile(endpoint="https://mine.openai.azure.com/", model="voice")
PREVIEW = AzurePreviewProfile(endpoint="https://mine.openai.azure.com", model="voice", webrtc_region="eastus2")

# The shape of wire sheet A1, shortened; A2's is the same.
SESSION = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_E4xxY",
    "model": "gpt-realtime",
    "expires_at": 0,
}


def ga(value: Any = "ek_1", expires_at: Any = NOW + 600, **more: Any) -> dict[str, Any]:
    return {"value": value, "expires_at": expires_at, "session": SESSION} | more


def preview(value: Any = "ek_1", expires_at: Any = NOW + 60) -> dict[str, Any]:
    return {"id": "sess_P", "model": "voice", "client_secret": {"value": value, "expires_at": expires_at}}


def reply(answer: Any, *, status: int = 200, kind: str = "application/json", date: float | None = NOW) -> Reply:
    headers = {"content-type": kind, "x-request-id": "req_1"}
    if date is not None:
        headers["date"] = formatdate(date, usegmt=True)
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return Reply(status, headers, body, NOW)


def key(answer: Reply, profile: Profile = OPENAI, request: KeyRequest = REQUEST) -> EphemeralKey:
    return key_from(answer, profile=profile, request=request, secret=SECRET)


@pytest.mark.parametrize(
    ("profile", "answer", "model", "remote_id", "websocket_url", "webrtc_url"),
    [
        (
            OPENAI,
            ga(),
            "gpt-realtime-2.1",
            "sess_E4xxY",
            "wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1",
            "https://api.openai.com/v1/realtime/calls",
        ),
        (
            AZURE,
            ga(),
            "voice",
            "sess_E4xxY",
            "wss://mine.openai.azure.com/openai/v1/realtime?model=voice",
            "https://mine.openai.azure.com/openai/v1/realtime/calls",
        ),
        (
            PREVIEW,
            preview(),
            "voice",
            "sess_P",
            "wss://mine.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=voice",
            "https://eastus2.realtimeapi-preview.ai.azure.com/v1/realtimertc?model=voice",
        ),
    ],
)
def test_a_good_answer_becomes_a_key_that_says_where_to_connect(
    profile: Profile, answer: Any, model: str, remote_id: str, websocket_url: str, webrtc_url: str
) -> None:
    given_key = key(reply(answer), profile)
    assert given_key.reveal() == "ek_1"
    assert given_key.issued_for == "s1"
    assert given_key.expires_in == (60 if profile is PREVIEW else 600)
    assert (given_key.model, given_key.remote_session_id) == (model, remote_id)
    assert (given_key.websocket_url, given_key.webrtc_url) == (websocket_url, webrtc_url)


def test_the_expiry_counts_from_the_providers_clock_so_our_own_may_be_wrong() -> None:
    an_hour_ahead = reply(ga(expires_at=NOW + 3600 + 600), date=NOW + 3600)
    assert key(an_hour_ahead).expires_in == 600


def test_an_answer_that_dripped_in_slowly_has_used_up_life() -> None:
    assert key(reply(ga())._replace(body_seconds=5.0)).expires_in == 595


def test_without_a_date_no_more_is_believed_than_was_asked_for() -> None:
    assert key(reply(ga(expires_at=NOW + 300), date=None)).expires_in == 300
    assert key(reply(ga(expires_at=NOW + 4200), date=None)).expires_in == 600


def test_azure_may_give_more_life_than_asked_for() -> None:
    assert key(reply(ga(expires_at=NOW + 7200)), AZURE).expires_in == 7200  # wire sheet, A2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply({}), "KEY_MISSING"),
        (reply(ga(value=None)), "KEY_MISSING"),
        (reply(ga(value="")), "KEY_MISSING"),
        (reply(ga(value=7)), "KEY_MALFORMED"),
        (reply(ga(value={"secret": "ek"})), "KEY_MALFORMED"),
        (reply(ga(value="ek_1\r\nX: y")), "KEY_MALFORMED"),
        (reply(ga(value="ek 1")), "KEY_MALFORMED"),
        (reply(ga(value="ek_é")), "KEY_MALFORMED"),
        (reply(ga(value="e" * 10_000)), "KEY_MALFORMED"),
        (reply(ga(value=SECRET.reveal())), "KEY_IS_CREDENTIAL"),
        (reply({"value": "ek_1"}), "KEY_EXPIRY_MISSING"),
        (reply(ga(expires_at=None)), "KEY_EXPIRY_MISSING"),
        (reply(ga(expires_at="1784852600")), "KEY_EXPIRY_MALFORMED"),
        (reply(ga(expires_at=True)), "KEY_EXPIRY_MALFORMED"),
        (reply(ga(expires_at=(NOW + 600) * 1000)), "KEY_EXPIRY_IN_MILLISECONDS"),
        (reply(ga(expires_at=NOW)), "KEY_EXPIRY_PAST"),
        (reply(ga(expires_at=0)), "KEY_EXPIRY_PAST"),
        (reply(ga(expires_at=-1)), "KEY_EXPIRY_PAST"),
        (reply(ga(expires_at=NOW + 10_000)), "KEY_EXPIRY_ABSURD"),
        (reply(ga(expires_at=NOW + 10_000), date=None), "KEY_EXPIRY_ABSURD"),
        (reply(b'{"value":"ek_1","expires_at":1e400}'), "INVALID_JSON"),
        (reply(b'{"value":"ek_1","expires_at":-1' + b"0" * 400 + b"}"), "KEY_EXPIRY_PAST"),
        (reply(b""), "INVALID_JSON"),
        (reply(b'{"value":"ek_1","expires'), "INVALID_JSON"),
        (reply(b"[]"), "INVALID_JSON"),
        (reply(b"\xff"), "INVALID_JSON"),
        (reply(b"[" * 100_000), "INVALID_JSON"),
        (reply(ga(), kind="text/html; charset=utf-8"), "WRONG_CONTENT_TYPE"),
        (reply(ga(), kind=""), "WRONG_CONTENT_TYPE"),
        (reply({"error": {"message": "no"}}), "ERROR_IN_REPLY"),
        (reply(preview()), "KEY_MISSING"),
    ],
)
def test_a_bad_answer_has_a_name(answer: Reply, code: str) -> None:
    with pytest.raises(BadReplyError) as caught:
        key(answer)
    assert caught.value.code == code
    assert caught.value.request_id == "req_1"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("answer", [ga(), {"client_secret": "ek_1"}, {"client_secret": {}}, {"client_secret": None}])
def test_a_bad_preview_answer_has_a_name(answer: Any) -> None:
    with pytest.raises(BadReplyError) as caught:
        key(reply(answer), PREVIEW)
    assert caught.value.code == "KEY_MISSING"


def test_an_answer_never_shows_its_body() -> None:
    assert "ek_1" not in repr(reply(ga()))


def test_the_request_may_name_the_model() -> None:
    assert key(reply(ga()), request=KeyRequest(session_id="s", model="m/1")).websocket_url == (
        "wss://api.openai.com/v1/realtime?model=m%2F1"
    )


def test_a_key_for_a_transcription_names_no_model() -> None:
    request = KeyRequest(session_id="s", session={"type": "transcription"})
    urls = {profile.name: key(reply(ga()), profile, request).websocket_url for profile in (OPENAI, AZURE)}
    assert urls == {
        "openai": "wss://api.openai.com/v1/realtime?intent=transcription",
        "azure": "wss://mine.openai.azure.com/openai/v1/realtime?intent=transcription",
    }
    assert key(reply(ga()), request=request).model is None
    old = key(reply(preview()), PREVIEW, request)
    assert (old.model, old.webrtc_url) == (None, None)
    assert old.websocket_url == (
        "wss://mine.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&intent=transcription"
    )
