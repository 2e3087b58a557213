"""Every HTTP request but the socket's, answered without a server: request and time in, reply out."""

from __future__ import annotations

import re

import msgspec

from voicepilot.emulator.calls import control_call, create_call
from voicepilot.emulator.checks import WireError
from voicepilot.emulator.faults import fault_from, parse_fault
from voicepilot.emulator.http import Reply, Request, error_reply, json_reply
from voicepilot.emulator.minting import json_body, mint
from voicepilot.emulator.options import Backend
from voicepilot.errors import ConfigurationError

PREFIXES = ("/v1", "/openai/v1")
SOCKETS = tuple(f"{prefix}/realtime" for prefix in PREFIXES)
PREVIEW_MINT = "/openai/realtimeapi/sessions"
CALL_VERB = re.compile(r"/realtime/calls/[^/]+/(?:accept|reject|refer|hangup)")
PREFLIGHT = {  # browsers ask before they post an offer with a key
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "*, authorization, content-type",
}
RETIRED = "/v1/realtime/sessions"


def answer(backend: Backend, request: Request, now: float) -> Reply:
    """The reply to a request."""
    if request.path.startswith("/_emulator/"):
        return control(backend, request)
    prefix = next((prefix for prefix in PREFIXES if request.path.startswith(f"{prefix}/")), "")
    match request.method, request.path.removeprefix(prefix):
        case "POST", "/realtime/client_secrets" if prefix:
            return mint(backend, request, now)
        case "POST", "/realtime/calls" if prefix:
            return create_call(backend, request, now)
        case "POST", path if prefix and CALL_VERB.fullmatch(path):
            return control_call(backend, request, now)
        case "OPTIONS", _:
            return Reply(status=204, headers=PREFLIGHT)
        case "POST", path if path == PREVIEW_MINT and request.preview:
            return mint(backend, request, now, preview=True)
        case _:
            return unknown(request)


def unknown(request: Request) -> Reply:
    """The provider's 404 for a URL it does not have."""
    if request.path == RETIRED:
        message = "The Realtime Beta API is no longer supported. Please use POST /v1/realtime/client_secrets."
        return error_reply(WireError(message, "beta_api_shape_disabled"))
    return error_reply(WireError(f"Invalid URL ({request.method} {request.path})", None), 404)


def control(backend: Backend, request: Request) -> Reply:
    """The emulator's own routes, for tests in other languages: faults to come, and what happened."""
    match request.method, request.path:
        case "GET", "/_emulator/faults":
            return json_reply(200, {"faults": backend.faults.pending()})
        case "POST", "/_emulator/faults":
            return _add_fault(backend, request)
        case "DELETE", "/_emulator/faults":
            backend.faults.clear()
            return Reply(status=204)
        case "GET", "/_emulator/record":
            return json_reply(200, {"dropped": backend.record.dropped, "entries": backend.record.entries()})
        case "GET", "/_emulator/audio":
            return _committed(backend)
        case "DELETE", "/_emulator/record":
            backend.record.clear()
            return Reply(status=204)
        case _:
            return unknown(request)


def _committed(backend: Backend) -> Reply:
    if backend.commits is None:
        return error_reply(WireError("This emulator keeps no audio: start it with keep_audio.", "no_audio_kept"), 404)
    return json_reply(
        200, {"dropped": backend.commits.dropped, "committed": [each._asdict() for each in backend.commits]}
    )


def _add_fault(backend: Backend, request: Request) -> Reply:
    try:
        content = json_body(request.body)
        fault = parse_fault(content["fault"]) if isinstance(content.get("fault"), str) else fault_from(content)
        backend.faults.add(fault)
    except WireError as error:
        return error_reply(error)
    except ConfigurationError as error:
        return error_reply(WireError(error.message, "invalid_fault"))
    return json_reply(201, msgspec.to_builtins(fault))
