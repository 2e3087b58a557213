"""From a provider's answer to a key that may be used, or to the reason why not. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from voicepilot.credentials.profiles import MAX_KEY_LIFE, Profile
from voicepilot.errors import BadReplyError
from voicepilot.network.faults import fault_of_refusal, request_id_of, timestamp
from voicepilot.network.reply import Reply
from voicepilot.network.secrets import Secret, scrubbed
from voicepilot.ports import EphemeralKey, KeyRequest

_LONGEST_VALUE = 8_192  # characters; real keys have fewer than a hundred
_EXPIRY_SLACK = 60.0  # seconds over the provider's own maximum that rounding and slow proxies may add
_MILLISECONDS_FROM = 1e11  # as seconds this is the year 5138, as milliseconds 1973


def key_from(reply: Reply, *, profile: Profile, request: KeyRequest, secret: Secret) -> EphemeralKey:
    """The key in `reply`. Raises the typed KeyServiceError of whatever else it holds."""
    if not 200 <= reply.status < 300:
        raise fault_of_refusal(reply, secret)
    answer = _json_object(reply, secret)
    if isinstance(answer.get("error"), dict):
        raise fault_of_refusal(reply, secret)
    value, expires_at = profile.secret_of(answer)
    model = profile.model_for(request)
    usable = _usable_value(value, secret, reply)
    return EphemeralKey(
        usable,
        expires_in=_seconds_left(expires_at, reply, request.life_seconds, secret),
        issued_for=request.session_id,
        model=model,
        remote_session_id=_usable_id(profile.remote_id_of(answer), usable, secret),
        websocket_url=profile.websocket_url(model),
        webrtc_url=profile.webrtc_url(model),
    )


def _json_object(reply: Reply, secret: Secret) -> Mapping[str, Any]:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise _bad(
            "WRONG_CONTENT_TYPE",
            f"the answer is {scrubbed(kind, secret, limit=60) or 'of no stated type'}, not JSON",
            reply,
            secret,
        )
    try:
        answer = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise _bad("INVALID_JSON", "the answer is not a JSON object", reply, secret)
    return answer


def _usable_value(value: object, secret: Secret, reply: Reply) -> str:
    if value is None or value == "":
        raise _bad("KEY_MISSING", "the answer holds no key", reply, secret)
    if not isinstance(value, str) or len(value) > _LONGEST_VALUE or not _is_one_word(value):
        raise _bad("KEY_MALFORMED", "the answer holds something that cannot be a key", reply, secret)
    if value == secret.reveal():
        # A gateway that passes the credential on as if it were an ephemeral key would leak it to every client.
        raise _bad("KEY_IS_CREDENTIAL", "the answer repeats the long-lived credential instead of a key", reply, secret)
    return value


def _usable_id(remote_id: object, value: str, secret: Secret) -> str | None:
    """What the provider calls the session; it is shown, so nothing that holds a secret."""
    if not isinstance(remote_id, str) or len(remote_id) > 256 or value in remote_id or secret.reveal() in remote_id:
        return None
    return remote_id


def _is_one_word(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _seconds_left(expires_at: object, reply: Reply, asked: float, secret: Secret) -> float:
    """The key's remaining life now, as a duration: by the provider's own clock (Date) where it told us that."""
    if expires_at is None:
        raise _bad("KEY_EXPIRY_MISSING", "the answer does not say when the key expires", reply, secret)
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
        raise _bad("KEY_EXPIRY_MALFORMED", "the key's expiry is not a number of seconds", reply, secret)
    if expires_at >= _MILLISECONDS_FROM:
        raise _bad("KEY_EXPIRY_IN_MILLISECONDS", "the key's expiry is in milliseconds, not seconds", reply, secret)
    date = timestamp(reply.headers.get("date"))
    left = max(expires_at, 0) - (reply.received_at if date is None else date) - reply.body_seconds
    if left <= 0:
        raise _bad("KEY_EXPIRY_PAST", f"the key expired {-left:.0f} s before it arrived", reply, secret)
    if left > MAX_KEY_LIFE + _EXPIRY_SLACK:
        raise _bad(
            "KEY_EXPIRY_ABSURD", f"the key claims to live {left:.0f} s, the most is {MAX_KEY_LIFE} s", reply, secret
        )
    # Without a Date our own clock may be slow, so no more than what was asked for is believed.
    return min(left, asked) if date is None else left


def _bad(code: str, message: str, reply: Reply, secret: Secret) -> BadReplyError:
    return BadReplyError(message, code=code, status=reply.status, request_id=request_id_of(reply.headers, secret))
