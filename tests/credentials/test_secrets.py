"""A canary credential and a canary key: neither shows anywhere, whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator

import pytest
from aiohttp import web
from tests.credentials.conftest import CANARY_CREDENTIAL, CANARY_KEY, Answer, Provider

from voicepilot import errors
from voicepilot.credentials import (
    AzurePreviewProfile,
    AzureProfile,
    EphemeralKeyService,
    Limits,
    OpenAIProfile,
    Profile,
)
from voicepilot.ports import KeyRequest

pytestmark = pytest.mark.sockets

ECHO = f"you sent {CANARY_CREDENTIAL} and would get {CANARY_KEY}"


def answering(**how: object) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(**how)  # type: ignore[arg-type]  # a table of its keywords

    return answer


def json_text(text: str) -> bytes:
    return f'{{"error": {{"message": "{text}", "code": "{CANARY_CREDENTIAL}", "type": "{CANARY_KEY}"}}}}'.encode()


async def cut(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "900"})
    await response.prepare(request)
    await response.write(f'{{"value": "{CANARY_KEY}"'.encode())
    assert request.transport
    request.transport.close()
    return response


async def hang(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


JSON = "application/json"
MISHAPS: dict[str, Answer | None] = {
    "good": None,
    **{str(status): answering(status=status, body=json_text(ECHO)) for status in (400, 401, 403, 404, 429, 500)},
    "headers": answering(status=500, headers={"x-request-id": ECHO, "Retry-After": CANARY_CREDENTIAL}),
    "error inside": answering(body=json_text(ECHO), content_type=JSON),
    "no json": answering(body=ECHO.encode(), content_type=JSON),
    "wrong type": answering(body=ECHO.encode(), content_type="text/html"),
    "odd type": answering(body=b"", headers={"Content-Type": f"text/{CANARY_KEY}"}),
    "no expiry": answering(body=f'{{"value": "{CANARY_KEY}"}}'.encode(), content_type=JSON),
    "the credential": answering(
        body=f'{{"value": "{CANARY_CREDENTIAL}", "expires_at": 1}}'.encode(), content_type=JSON
    ),
    "redirect": answering(status=302, headers={"Location": f"https://{CANARY_KEY}.example/"}),
    "cut": cut,
    "half": half,
    "hang": hang,
}


def everything_in(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    """All that can be read off an exception, its causes and contexts, as text."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield f"{error} {error!r} {error.args!r} {vars(error)!r}"
    yield "".join(traceback.format_exception(error))
    if isinstance(error, errors.VoicePilotError):
        yield repr(error.fault)
    yield from everything_in(error.__cause__, seen)
    yield from everything_in(error.__context__, seen)


@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.parametrize("kind", ["openai", "azure", "azure-preview"])
async def test_no_secret_shows_whatever_happens(
    provider: Provider, caplog: pytest.LogCaptureFixture, mishap: str, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    profiles: dict[str, Callable[[], Profile]] = {
        "openai": lambda: OpenAIProfile(base_url=provider.base_url),
        "azure": lambda: AzureProfile(endpoint=provider.root),
        "azure-preview": lambda: AzurePreviewProfile(endpoint=provider.root),
    }
    profile = profiles[kind]()
    answer = MISHAPS[mishap]
    provider.answers = [answer] * 2 if answer else []
    heard: list[object] = []
    shown: list[str] = []
    limits = Limits(total_seconds=0.1 if mishap == "hang" else 10)
    service = EphemeralKeyService(profile, credential=CANARY_CREDENTIAL, limits=limits)
    async with service:
        service.on_key_renewed(heard.append)
        service.on_key_expired(heard.append)
        service.on_authentication_error(heard.append)
        try:
            key = await service.request_ephemeral_key(KeyRequest(session_id="s1"))
            shown.append(f"{key} {key!r}")
        except errors.KeyServiceError as error:
            assert mishap != "good"
            shown += everything_in(error, set())
        report = await service.test_authentication()
        shown.append(f"{report!r} {heard!r} {service!r} {vars(service)!r} {profile!r}")
    everything = "\n".join([*shown, caplog.text, *(repr(record.__dict__) for record in caplog.records)])
    assert len(provider.requests) >= 1
    assert CANARY_CREDENTIAL.lower() not in everything.lower()
    assert CANARY_KEY.lower() not in everything.lower()
