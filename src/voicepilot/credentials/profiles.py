"""How each provider wants to be asked for a key: address, header, body, and where a client then connects.

The facts are from sections A1 to A3, B1 and C1 of the wire sheet (reference/realtime-wire.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from voicepilot.credentials.endpoints import checked_azure_endpoint, checked_base_url
from voicepilot.errors import ConfigurationError
from voicepilot.network.secrets import Secret
from voicepilot.ports import KeyRequest

OPENAI_BASE_URL = "https://api.openai.com/v1"
# The successor of the models in RETIRING; no end is announced for it (wire sheet, 0).
DEFAULT_MODEL = "gpt-realtime-2.1"
# When models shut down, as announced (wire sheet, 0).
RETIRING = {"gpt-realtime": "2027-01-20", "gpt-realtime-mini": "2027-01-20", "gpt-audio-mini": "2027-01-20"}
# The last preview version Microsoft documented (wire sheet, A3).
PREVIEW_API_VERSION = "2025-04-01-preview"

MIN_KEY_LIFE = 10  # seconds, bounds of expires_after.seconds (wire sheet, A1)
MAX_KEY_LIFE = 7200
_TRANSCRIPTION = "intent=transcription"  # what a socket for a transcription says in place of a model (wire sheet, B1)


class OpenAIProfile(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's GA protocol. Raises ConfigurationError when no credential may be sent to `base_url`."""

    name: ClassVar[str] = "openai"
    key_variables: ClassVar[tuple[str, ...]] = ("OPENAI_API_KEY",)

    base_url: str = OPENAI_BASE_URL
    model: str = DEFAULT_MODEL  # used when a request names none

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "base_url", checked_base_url(self.base_url))

    @property
    def mint_url(self) -> str:
        """Where keys are asked for."""
        return f"{self.base_url}/realtime/client_secrets"

    def websocket_url(self, model: str | None) -> str:
        """Where a client opens a realtime WebSocket; without a model it is for a transcription."""
        return f"{_websocket(self.base_url)}/realtime?{_TRANSCRIPTION if model is None else _named('model', model)}"

    def webrtc_url(self, model: str | None) -> str | None:
        """Where a client posts its SDP offer with the key; the session is bound to the key."""
        return f"{self.base_url}/realtime/calls"

    def headers(self, secret: Secret) -> dict[str, str]:
        """The header that authenticates a mint."""
        return {"Authorization": f"Bearer {secret.reveal()}"}

    def model_for(self, request: KeyRequest) -> str | None:
        """The model of the session a key is for; None for a transcription, which has one among its options.

        Raises TypeError when the session options name something else.
        """
        if request.session.get("type") == "transcription":
            return None
        model = request.model or request.session.get("model") or self.model
        if not isinstance(model, str):
            raise TypeError("a model's name is a text")
        return model

    def body(self, request: KeyRequest) -> bytes:
        """The mint's body as JSON. Raises TypeError when the session options are not JSON."""
        session: dict[str, Any] = {"type": "realtime"} | dict(request.session)
        if session["type"] == "realtime":
            session["model"] = self.model_for(request)
        _add_labels(session, request.labels)
        seconds = int(min(max(request.life_seconds, MIN_KEY_LIFE), MAX_KEY_LIFE))
        return msgspec.json.encode({"expires_after": {"anchor": "created_at", "seconds": seconds}, "session": session})

    def secret_of(self, reply: Mapping[str, Any]) -> tuple[Any, Any]:
        """`(value, expires_at)` where this protocol's reply has them, each None when absent; not yet judged."""
        return reply.get("value"), reply.get("expires_at")

    def remote_id_of(self, reply: Mapping[str, Any]) -> Any:
        """The provider's session id, where the reply has one."""
        session = reply.get("session")
        return session.get("id") if isinstance(session, dict) else None


class AzureProfile(OpenAIProfile, frozen=True, kw_only=True):
    """Azure OpenAI's GA protocol: OpenAI's, at `{endpoint}/openai/v1`, with the deployment's name as the model.

    Give `endpoint` (the resource, which must be in an Azure domain) or, for a gateway of your own, `base_url`.
    """

    name: ClassVar[str] = "azure"
    key_variables: ClassVar[tuple[str, ...]] = ("AZURE_OPENAI_API_KEY",)

    base_url: str = ""
    endpoint: str = ""

    def __post_init__(self) -> None:
        if self.endpoint:
            base_url = checked_azure_endpoint(self.endpoint) + "/openai/v1"
        elif self.base_url:
            base_url = checked_base_url(self.base_url)
        else:
            raise _no_endpoint()
        msgspec.structs.force_setattr(self, "base_url", base_url)

    def headers(self, secret: Secret) -> dict[str, str]:
        """`api-key` for a resource key, Bearer for an Entra token."""
        return _azure_headers(secret)


class AzurePreviewProfile(OpenAIProfile, frozen=True, kw_only=True):
    """Azure's preview protocol, deprecated since 2026-04-30. Its keys live one minute whatever is asked for.

    `webrtc_region` (eastus2 or swedencentral) names the regional WebRTC host; without it keys carry no WebRTC URL.
    """

    name: ClassVar[str] = "azure-preview"
    key_variables: ClassVar[tuple[str, ...]] = ("AZURE_OPENAI_API_KEY",)

    base_url: str = ""
    endpoint: str = ""
    api_version: str = PREVIEW_API_VERSION
    webrtc_region: str | None = None

    def __post_init__(self) -> None:
        if not self.endpoint:
            raise _no_endpoint()
        msgspec.structs.force_setattr(self, "base_url", checked_azure_endpoint(self.endpoint) + "/openai")

    @property
    def mint_url(self) -> str:
        """Where keys are asked for."""
        return f"{self.base_url}/realtimeapi/sessions?{_named('api-version', self.api_version)}"

    def websocket_url(self, model: str | None) -> str:
        """Where a client opens a realtime WebSocket; without a model it is for a transcription."""
        session = _TRANSCRIPTION if model is None else _named("deployment", model)
        return f"{_websocket(self.base_url)}/realtime?{_named('api-version', self.api_version)}&{session}"

    def webrtc_url(self, model: str | None) -> str | None:
        """The regional WebRTC address, when the region is known."""
        if self.webrtc_region is None or model is None:
            return None
        host = f"{self.webrtc_region}.realtimeapi-preview.ai.azure.com"
        return f"https://{host}/v1/realtimertc?{_named('model', model)}"

    def headers(self, secret: Secret) -> dict[str, str]:
        """`api-key` for a resource key, Bearer for an Entra token."""
        return _azure_headers(secret)

    def body(self, request: KeyRequest) -> bytes:
        """A flat beta session. The protocol has no documented place for a key's life or for labels."""
        model = self.model_for(request)
        return msgspec.json.encode(dict(request.session) | ({} if model is None else {"model": model}))

    def secret_of(self, reply: Mapping[str, Any]) -> tuple[Any, Any]:
        """`(value, expires_at)` from the nested client_secret."""
        secret = reply.get("client_secret")
        return (secret.get("value"), secret.get("expires_at")) if isinstance(secret, dict) else (None, None)

    def remote_id_of(self, reply: Mapping[str, Any]) -> Any:
        """The provider's session id."""
        return reply.get("id")


Profile = OpenAIProfile | AzureProfile | AzurePreviewProfile


def _add_labels(session: dict[str, Any], labels: Mapping[str, str]) -> None:
    # The wire has no field for labels but the metadata of a trace, and we turn no tracing on that nobody asked for.
    tracing = session.get("tracing")
    if labels and isinstance(tracing, Mapping):
        session["tracing"] = dict(tracing) | {"metadata": dict(labels) | dict(tracing.get("metadata") or {})}


def _azure_headers(secret: Secret) -> dict[str, str]:
    if secret.is_token:
        return {"Authorization": f"Bearer {secret.reveal()}"}
    return {"api-key": secret.reveal()}


def _named(name: str, value: str) -> str:
    return f"{name}={quote(value, safe='')}"


def _websocket(base_url: str) -> str:
    return "ws" + base_url.removeprefix("http")


def _no_endpoint() -> ConfigurationError:
    return ConfigurationError(
        "azure_endpoint is not set",
        field="azure_endpoint",
        remediation="Set AZURE_OPENAI_ENDPOINT, for example https://NAME.openai.azure.com.",
    )
