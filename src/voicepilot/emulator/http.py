"""Requests and replies as plain data, so that the routes can be tested without a server.

Envelopes and headers: realtime-wire.md A1, A2 (headers seen) and A4 (errors).
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Literal

import msgspec

from voicepilot.emulator.checks import Json, WireError
from voicepilot.emulator.faults import Fault
from voicepilot.emulator.ids import Ids

KEY_PROTOCOL = "openai-insecure-api-key."
PREVIEW_PATHS = ("/openai/realtime", "/openai/realtimeapi/sessions")
BETA_PROTOCOL = "openai-beta.realtime-v1"

_AZURE_401 = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
_DEFAULTS = {
    400: ("invalid_request_error", None, "The request is wrong."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "permission_denied", "You have insufficient permissions for this operation."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
}
_UNAVAILABLE = ("server_error", None, "The server is overloaded or not ready yet.")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request; header names in lower case."""

    method: str
    path: str
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes = b""

    @property
    def provider(self) -> str:
        """`azure` under its own prefix, else `openai`."""
        return "azure" if self.path.startswith("/openai/") else "openai"

    @property
    def preview(self) -> bool:
        """Whether it is for Azure's preview."""
        return self.path in PREVIEW_PATHS and "api-version" in self.query

    @property
    def protocols(self) -> list[str]:
        """The WebSocket subprotocols offered."""
        offered = self.headers.get("sec-websocket-protocol", "")
        return [name.strip() for name in offered.split(",") if name.strip()]

    @property
    def credential(self) -> str | None:
        """What the client authenticates with, wherever it put it (realtime-wire.md B1)."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and value.strip():
            return value.strip()
        offered = [name.removeprefix(KEY_PROTOCOL) for name in self.protocols if name.startswith(KEY_PROTOCOL)]
        return self.headers.get("api-key") or self.query.get("api-key") or next(iter(offered), None) or None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """How a request is answered, and what goes wrong with the answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}
    content_type: str = "application/json"
    delay: float = 0.0
    mishap: Literal["none", "hang", "reset", "truncated"] = "none"


def json_reply(status: int, content: object, **more: str) -> Reply:
    """A JSON reply; `more` are headers, with underscores for hyphens."""
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    return Reply(status=status, body=msgspec.json.encode(content), headers=headers)


def error_reply(error: WireError, status: int = 400) -> Reply:
    """An error in the provider's envelope."""
    return json_reply(status, {"error": error.body})


def standard_error(status: int, provider: str, *, code: str | None = None, message: str | None = None) -> Json:
    """The provider's body for a status."""
    kind, usual_code, usual = _DEFAULTS.get(status, _UNAVAILABLE if status >= 500 else _DEFAULTS[400])
    if provider == "azure" and status in {401, 429}:
        return {"error": {"code": code or str(status), "message": message or (_AZURE_401 if status == 401 else usual)}}
    return {"error": WireError(message or usual, code or usual_code, kind=kind).body}


def faulty_reply(fault: Fault, provider: str) -> Reply:
    """What a client gets where a fault replaces the answer."""
    if fault.kind == "hang":
        return Reply(status=0, mishap="hang")
    if fault.kind == "reset":
        return Reply(status=0, mishap="reset")
    if fault.kind == "malformed":
        return Reply(status=200, body=b'{"value": "ek_')
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    if fault.retry_after_ms is not None:
        headers["retry-after-ms"] = f"{fault.retry_after_ms:g}"
    status = fault.status or 503
    content = standard_error(status, provider, code=fault.code, message=fault.message)
    body = msgspec.json.encode(content) if fault.body is None else fault.body.encode()
    return Reply(status=status, body=body, headers=headers)


def usual_headers(provider: str, ids: Ids, now: float) -> dict[str, str]:
    """The headers the provider sends with everything."""
    request_id = ids.token(32).lower()
    headers = {
        "Date": formatdate(now, usegmt=True),
        "openai-version": "2020-10-01",
        "openai-processing-ms": "12",
        "x-request-id": f"req_{request_id}",
    }
    if provider == "azure":
        headers |= {"apim-request-id": request_id, "azureml-served-by-cluster": "emulator"}
    return headers
