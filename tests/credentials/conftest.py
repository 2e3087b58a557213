"""A provider in a few lines: an aiohttp server that answers mints with whatever a test puts in its hands."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

CANARY_CREDENTIAL = "sk-canary-CREDENTIAL-0123456789"
CANARY_KEY = "ek_canary_KEY_0123456789"


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Provider:
    """Records requests, and answers each with the next of `answers` (or a good one)."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.root = ""

    @property
    def base_url(self) -> str:
        return f"{self.root}/v1"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.can_read_body:
            self.bodies.append(await request.json())
        if self.answers:
            return await self.answers.pop(0)(request)
        return good(request, self.bodies[-1])


def good(request: web.Request, body: dict[str, Any]) -> web.Response:
    seconds = body.get("expires_after", {}).get("seconds", 60)
    expires_at = int(time.time()) + seconds
    key = {"value": CANARY_KEY, "expires_at": expires_at}
    if "realtimeapi" in request.path:
        return web.json_response({"id": "sess_preview", "model": body["model"], "client_secret": key})
    session = {"id": "sess_1", "object": "realtime.session", "expires_at": 0} | body["session"]
    return web.json_response(key | {"session": session}, headers={"Date": formatdate(usegmt=True)})


@contextlib.asynccontextmanager
async def running(stand_in: Provider, tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    """Serve `stand_in` on loopback."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stand_in.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    scheme = "https" if tls else "http"
    stand_in.root = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    await runner.cleanup()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A stand-in for a provider, on loopback."""
    async with running(Provider()) as stand_in:
        yield stand_in
