"""Who may open a realtime socket, and how the others are turned away.

Ways to authenticate: realtime-wire.md B1; the two styles of refusal: B2; the retired beta shape: section 0.
"""

from __future__ import annotations

import msgspec

from voicepilot.emulator.calls import find_call, unknown_call
from voicepilot.emulator.checks import Json, WireError, missing
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.http import (
    BETA_PROTOCOL,
    Reply,
    Request,
    error_reply,
    faulty_reply,
    json_reply,
    standard_error,
)
from voicepilot.emulator.keys import Key
from voicepilot.emulator.minting import good_credential, unknown_model
from voicepilot.emulator.opening import opened
from voicepilot.emulator.options import Backend
from voicepilot.emulator.record import Refused
from voicepilot.emulator.session import new_session


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """The socket may be opened, after `delay`."""

    conversation: Conversation
    call: str | None = None  # the call it joins as a sideband
    delay: float = 0.0


class TurnedAway(msgspec.Struct, frozen=True, kw_only=True):
    """The socket is opened, told an error, and closed."""

    error: Json
    code: int
    delay: float = 0.0

    @property
    def reason(self) -> str:
        """The close reason: the error's type and code with a dot between."""
        return f"{self.error['type']}.{self.error['code']}"


Admission = Admitted | TurnedAway | Reply


def admit(backend: Backend, request: Request, now: float) -> Admission:
    """Whether this request may open a session of its own."""
    admission = _admission(backend, request, now)
    if not isinstance(admission, Admitted):
        backend.record.add(_entry(backend, request, admission, now))
    return admission


def _admission(backend: Backend, request: Request, now: float) -> Admission:
    fault = backend.faults.active_outage(now) or backend.faults.take("connect")
    delay = backend.faults.delay("connect") + ((fault.seconds or 1.0) if fault and fault.kind == "slow" else 0.0)
    delay /= backend.options.time_scale
    if fault and fault.kind == "close":
        return turned_away(fault.code or "invalid_api_key", fault.message, fault.status)
    if fault and fault.kind != "slow":
        return faulty_reply(fault, request.provider)
    if _beta(request):
        return turned_away("beta_api_shape_disabled", "The Realtime Beta API is no longer supported. Use the GA API.")
    if request.protocols and "realtime" not in request.protocols:
        # No client can go on without one of its protocols being chosen.
        return error_reply(WireError("Offer the subprotocol 'realtime'.", "invalid_subprotocol"))
    return _with_credential(backend, request, now + delay, delay)


def _with_credential(backend: Backend, request: Request, now: float, delay: float) -> Admission:
    credential = request.credential or ""
    key = backend.keys.find(credential, now, single_use=backend.faults.single_use_keys)
    # With an api-version the GA route answers 401, which is how Azure tells people to leave it out.
    mixed = request.provider == "azure" and "api-version" in request.query and not request.preview
    if mixed or not (key or good_credential(backend, credential)):
        return unauthorized(backend, request)
    if call_id := request.query.get("call_id"):
        call = find_call(backend, call_id, now)
        return Admitted(conversation=call, call=call_id, delay=delay) if call else unknown_call()
    try:
        session = _session(backend, request, key, now)
    except WireError as error:
        return error_reply(error)
    if unknown_model(backend, session):
        return json_reply(404, standard_error(404, request.provider))
    if key:
        backend.keys.use(key)
    return Admitted(conversation=opened(backend, request, session, now), delay=delay)


def _beta(request: Request) -> bool:
    asked = request.headers.get("openai-beta", "").replace(" ", "")
    return request.provider == "openai" and (asked == "realtime=v1" or BETA_PROTOCOL in request.protocols)


def turned_away(code: str, message: str | None = None, close: int | None = None) -> TurnedAway:
    """A refusal after the upgrade: close code 3000 for a bad key, 4000 for the rest, unless told otherwise."""
    usual = 3000 if code == "invalid_api_key" else 4000
    error = WireError(message or "Incorrect API key provided.", code).body
    return TurnedAway(error=error, code=close if close and close >= 1000 else usual)


def unauthorized(backend: Backend, request: Request) -> Admission:
    """How a bad key is refused here."""
    if backend.options.refusal == "close" and request.provider == "openai":
        return turned_away("invalid_api_key")
    return json_reply(401, standard_error(401, request.provider))


def _session(backend: Backend, request: Request, key: Key | None, now: float) -> Json:
    session_id = backend.ids.make("sess_", now)
    if key:
        return {**key.session, "id": session_id}
    model = request.query.get("deployment") if request.preview else request.query.get("model")
    if not model and request.query.get("intent") != "transcription":
        raise missing("deployment" if request.preview else "model")
    session = new_session(session_id, model or "gpt-realtime")
    if request.query.get("intent") == "transcription":
        session["type"] = "transcription"
    return session


def _entry(backend: Backend, request: Request, admission: TurnedAway | Reply, now: float) -> Refused:
    return Refused(
        at=now,
        path=request.path,
        status=admission.code if isinstance(admission, TurnedAway) else admission.status or None,
        credential=backend.record.tag(request.credential) if request.credential else None,
        code=admission.error["code"] if isinstance(admission, TurnedAway) else None,
    )
