"""WebRTC calls without the media: SDP in, SDP out, hangup, and the call's conversation for sidebands to join.

Statuses, headers and forms of id: realtime-wire.md C1 and C2.
"""

from __future__ import annotations

import hashlib
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from voicepilot.emulator.checks import Json, WireError
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.http import Reply, Request, error_reply, faulty_reply, json_reply, standard_error
from voicepilot.emulator.minting import good_credential, json_body
from voicepilot.emulator.opening import opened
from voicepilot.emulator.options import Backend
from voicepilot.emulator.record import CallMade, Refused
from voicepilot.emulator.session import merged, new_session

MOST_CALLS = 10_000

_CORS = {"access-control-allow-origin": "*", "access-control-expose-headers": "Location, X-Request-Id"}


def unknown_call() -> Reply:
    """404: the call never was, or is over."""
    return error_reply(WireError("No session found for the provided call_id", "call_id_not_found"), 404)


def create_call(backend: Backend, request: Request, now: float) -> Reply:
    """Answer an SDP offer."""
    fault = backend.faults.active_outage(now) or backend.faults.take("call")
    if fault and fault.kind not in {"slow", "truncated"}:
        reply = faulty_reply(fault, request.provider)
    else:
        reply = _created(backend, request, now)
        delay = (fault.seconds or 1.0) / backend.options.time_scale if fault and fault.kind == "slow" else 0.0
        reply = Reply(
            status=reply.status,
            body=reply.body,
            headers={**reply.headers, **_CORS},
            content_type=reply.content_type,
            delay=delay,
            mishap="truncated" if fault and fault.kind == "truncated" else "none",
        )
    if reply.status != 201:
        tag = backend.record.tag(request.credential) if request.credential else None
        backend.record.add(Refused(at=now, path=request.path, status=reply.status or None, credential=tag))
    return reply


def _created(backend: Backend, request: Request, now: float) -> Reply:
    credential = request.credential or ""
    key = backend.keys.find(credential, now, single_use=backend.faults.single_use_keys)
    if key is None and request.provider == "azure" and good_credential(backend, credential):
        content = standard_error(401, "openai", code="401", message="This operation requires ephemeral tokens")
        return json_reply(401, content)
    if key is None and not good_credential(backend, credential):
        return json_reply(401, standard_error(401, request.provider))
    try:
        offer, changes = _offer(request)
        answer = sdp_answer(offer)
        call_id, session_id = _ids(backend, request, now)
        session = (
            {**key.session, "id": session_id}
            if key
            else new_session(session_id, request.query.get("model", "gpt-realtime"))
        )
        session = merged(session, changes, minting=True) if changes is not None else session
    except WireError as error:
        return error_reply(error)
    if key:
        backend.keys.use(key)
    _remember(backend, call_id, opened(backend, request, session, now, call=True), now)
    tag = backend.record.tag(credential)
    backend.record.add(CallMade(at=now, call=call_id, action="created", credential=tag, session=session_id))
    # The location never has Azure's prefix (realtime-wire.md C1).
    headers = {"Location": f"/v1/realtime/calls/{call_id}"}
    return Reply(status=201, body=answer.encode(), headers=headers, content_type="text/plain; charset=utf-8")


def _ids(backend: Backend, request: Request, now: float) -> tuple[str, str]:
    """The ids of a call and its session: OpenAI's share their tail, Azure's do not."""
    tail = backend.ids.make("", now)
    if request.provider == "azure":
        return f"rtc_{hashlib.sha256(tail.encode()).hexdigest()[:32]}", f"sess_{tail}"
    return f"rtc_u0_{tail}", f"sess_u0_{tail}"


def _remember(backend: Backend, call_id: str, conversation: Conversation, now: float) -> None:
    for old in [each for each, known in backend.calls.items() if now >= known.ends_at]:
        del backend.calls[old]
    if len(backend.calls) >= MOST_CALLS:
        del backend.calls[next(iter(backend.calls))]
    backend.calls[call_id] = conversation


def find_call(backend: Backend, call_id: str, now: float) -> Conversation | None:
    """The conversation of a call that is on."""
    conversation = backend.calls.get(call_id)
    return conversation if conversation and now < conversation.ends_at else None


def control_call(backend: Backend, request: Request, now: float) -> Reply:
    """`POST …/realtime/calls/{call_id}/{verb}`: hangup, for any call; the others are SIP's."""
    *_, call_id, verb = request.path.split("/")
    credential = request.credential
    if not (good_credential(backend, credential) or backend.keys.find(credential or "", now)):
        return json_reply(401, standard_error(401, request.provider))
    conversation = find_call(backend, call_id, now)
    if conversation is None:
        return unknown_call()
    if verb != "hangup":
        return error_reply(WireError(f"Only SIP calls can be answered with '{verb}'.", "invalid_value"))
    del backend.calls[call_id]
    conversation.hang_up(now)
    backend.record.add(CallMade(at=now, call=call_id, action="hangup", credential=backend.record.tag(credential or "")))
    return Reply(status=200)


def _offer(request: Request) -> tuple[str, Json | None]:
    """The SDP and, in the multipart form, the session that came with it."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return request.body.decode("utf-8", "replace"), None
    parts = _parts(kind, request.body)
    if "sdp" not in parts:
        raise WireError("Missing required parameter: 'sdp'.", "missing_required_parameter", "sdp")
    return parts["sdp"].decode("utf-8", "replace"), json_body(parts["session"]) if "session" in parts else None


def _parts(kind: str, body: bytes) -> dict[str, bytes]:
    form = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n" + body
    )
    parts: dict[str, bytes] = {}
    for part in form.get_payload() if form.is_multipart() else ():
        name = part.get_param("name", header="content-disposition") if isinstance(part, Message) else None
        content = part.get_payload(decode=True) if isinstance(part, Message) else None
        if isinstance(name, str) and isinstance(content, bytes):
            parts[name] = content
    return parts


def sdp_answer(offer: str) -> str:
    """An answer of the offer's own media, from a peer that no packet ever reaches."""
    lines = offer.replace("\r\n", "\n").split("\n")
    media = [number for number, line in enumerate(lines) if line.startswith("m=")]
    if not lines[0].startswith("v=0") or not media:
        raise WireError("The SDP offer could not be parsed.", "invalid_offer", "sdp")
    digest = hashlib.sha256(offer.encode("utf-8", "replace")).hexdigest().upper()
    answer = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite"]
    for start, end in zip(media, [*media[1:], len(lines)], strict=True):
        kept = ("a=mid:", "a=rtcp-mux", "a=rtpmap:", "a=fmtp:", "a=sctp-port:")
        answer += [lines[start], "c=IN IP4 127.0.0.1"]
        answer += [line for line in lines[start:end] if line.startswith(kept)]
        answer += [
            f"a=ice-ufrag:{digest[:8]}",
            f"a=ice-pwd:{digest[8:32]}",
            "a=fingerprint:sha-256 " + ":".join(digest[n : n + 2] for n in range(0, 64, 2)),
            "a=setup:passive",
            "a=sendrecv",
        ]
    return "\r\n".join(answer) + "\r\n"
