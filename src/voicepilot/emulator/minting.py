"""Making keys: `POST …/realtime/client_secrets`, and the preview's `POST /openai/realtimeapi/sessions`.

Shapes, bounds and defaults: realtime-wire.md A1 to A3; errors: A4.
"""

from __future__ import annotations

import msgspec

from voicepilot.emulator.checks import Json, WireError, anything, choice, deep, number, record
from voicepilot.emulator.faults import Fault
from voicepilot.emulator.http import Reply, Request, error_reply, faulty_reply, json_reply, standard_error
from voicepilot.emulator.keys import Key
from voicepilot.emulator.options import Backend
from voicepilot.emulator.preview import flat_session, nested
from voicepilot.emulator.record import Mint
from voicepilot.emulator.session import merged, new_session

DEFAULT_LIFE = {"openai": 600.0, "azure": 7200.0}
PREVIEW_LIFE = 60.0

_request = record(
    {
        "expires_after": record({"anchor": choice("created_at"), "seconds": number(10, 7200, whole=True)}),
        "session": anything,
    }
)


def json_body(body: bytes) -> Json:
    """A request's body as an object; none at all is an empty one."""
    try:
        content = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        content = None
    if not isinstance(content, dict) or deep(content):
        message = "We could not parse the JSON body of your request. The API expects a JSON object."
        raise WireError(message, None)
    return content


def good_credential(backend: Backend, credential: str | None) -> bool:
    """Whether this is an API key or token we take; an ephemeral key is neither."""
    if not credential or credential.startswith("ek_"):
        return False
    return backend.options.api_keys is None or credential in backend.options.api_keys


def unknown_model(backend: Backend, session: Json) -> bool:
    """Whether the session is for a model there is not; a transcription session names none of its own."""
    models = backend.options.models
    return models is not None and session["type"] != "transcription" and session["model"] not in models


def mint(backend: Backend, request: Request, now: float, *, preview: bool = False) -> Reply:
    """Answer a request for a key, and put it into the record."""
    fault = backend.faults.active_outage(now) or backend.faults.take("mint")
    if fault and fault.kind not in {"slow", "truncated"}:
        reply, key, asked = faulty_reply(fault, request.provider), None, None
    else:
        delay = backend.faults.delay("mint") + ((fault.seconds or 1.0) if fault and fault.kind == "slow" else 0.0)
        delay /= backend.options.time_scale
        reply, key, asked = _made(backend, request, now + delay, preview=preview)
        cut = "truncated" if fault and fault.kind == "truncated" else "none"
        reply = msgspec.structs.replace(reply, delay=delay, mishap=cut)
    backend.record.add(_entry(backend, request, reply, key, asked, fault, now))
    return reply


def _made(backend: Backend, request: Request, now: float, *, preview: bool) -> tuple[Reply, Key | None, float | None]:
    if not good_credential(backend, request.credential):
        return _unauthorized(request), None, None
    try:
        body = json_body(request.body)
        asked = PREVIEW_LIFE if preview else _life_asked(body)
        session = _preview_session(backend, body, now) if preview else _session(backend, body, now)
    except WireError as error:
        return error_reply(error), None, None
    if unknown_model(backend, session):
        return json_reply(404, standard_error(404, request.provider)), None, asked
    life = min(asked or DEFAULT_LIFE[request.provider], backend.options.key_life or 7200.0)
    key = Key(
        value=backend.ids.secret(),
        session=session,
        valid_until=now + life / backend.options.time_scale,
        provider=request.provider,
    )
    backend.keys.add(key, now)
    content = preview_answer(key) if preview else {"value": key.value, "expires_at": key.expires_at, "session": session}
    return json_reply(200, content), key, asked


def _unauthorized(request: Request) -> Reply:
    if request.credential is None and request.provider == "openai":
        message = "You didn't provide an API key. You need to provide your API key in an Authorization header."
        return json_reply(401, {"error": WireError(message, None).body})
    return json_reply(401, standard_error(401, request.provider))


def _life_asked(body: Json) -> float | None:
    seconds: float | None = _request(body, "").get("expires_after", {}).get("seconds")
    return seconds


def _session(backend: Backend, body: Json, now: float) -> Json:
    session = new_session(backend.ids.make("sess_", now))
    return merged(session, body["session"], minting=True) if "session" in body else session


def _preview_session(backend: Backend, body: Json, now: float) -> Json:
    changes = {"type": "realtime", **nested(body)}
    return merged(new_session(backend.ids.make("sess_", now)), changes, minting=True)


def preview_answer(key: Key) -> Json:
    """The preview's session: flat, with the key inside (realtime-wire.md A3)."""
    return {**flat_session(key.session), "client_secret": {"value": key.value, "expires_at": key.expires_at}}


def _entry(
    backend: Backend,
    request: Request,
    reply: Reply,
    key: Key | None,
    asked: float | None,
    fault: Fault | None,
    now: float,
) -> Mint:
    tag = backend.record.tag
    return Mint(
        at=now,
        status=reply.status or None,
        credential=tag(request.credential) if request.credential else None,
        key=tag(key.value) if key else None,
        model=key.session["model"] if key else None,
        asked=asked,
        expires_at=key.expires_at if key else None,
        valid_until=key.valid_until if key else None,
        session=key.session["id"] if key else None,
        safety_identifier=request.headers.get("openai-safety-identifier"),
        provider=request.provider,
        fault=f"{fault.place}:{fault.kind}" if fault else None,
    )
