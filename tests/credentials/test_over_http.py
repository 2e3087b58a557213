"""Mints over real sockets: what is sent, and what no server can make us do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import zlib
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from tests.credentials.conftest import CANARY_CREDENTIAL, CANARY_KEY, Answer, Provider, running

from voicepilot import errors
from voicepilot.credentials import EphemeralKeyService, Limits, OpenAIProfile
from voicepilot.credentials.http import MAX_REPLY_BYTES
from voicepilot.network.route import proxy_for
from voicepilot.ports import Collaborator, KeyRequest

pytestmark = pytest.mark.sockets


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_mint_asks_for_the_session_it_is_for(provider: Provider) -> None:
    profile = OpenAIProfile(base_url=provider.base_url)
    async with EphemeralKeyService(profile, credential=CANARY_CREDENTIAL) as service:
        assert isinstance(service, Collaborator)
        key = await service.request_ephemeral_key(
            KeyRequest(session_id="s1", life_seconds=90, session={"instructions": "be brief"})
        )
    assert provider.bodies == [
        {
            "expires_after": {"anchor": "created_at", "seconds": 90},
            "session": {"type": "realtime", "instructions": "be brief", "model": "gpt-realtime-2.1"},
        }
    ]
    assert provider.requests[0].headers["Authorization"] == f"Bearer {CANARY_CREDENTIAL}"
    assert provider.requests[0].path == "/v1/realtime/client_secrets"
    assert key.reveal() == CANARY_KEY
    assert key.issued_for == "s1"
    assert key.expires_in == pytest.approx(90, abs=2)
    assert key.websocket_url == f"ws{provider.base_url.removeprefix('http')}/realtime?model=gpt-realtime-2.1"
    assert key.webrtc_url == f"{provider.base_url}/realtime/calls"


async def fault_from(provider: Provider, answer: Answer, *, total_seconds: float = 10.0) -> errors.KeyServiceError:
    """What one mint fails with when the provider answers so."""
    provider.answers = [answer]
    profile = OpenAIProfile(base_url=provider.base_url)
    async with EphemeralKeyService(
        profile, credential=CANARY_CREDENTIAL, limits=Limits(total_seconds=total_seconds)
    ) as service:
        with pytest.raises(errors.KeyServiceError) as caught:
            await service.request_ephemeral_key(KeyRequest(session_id="s1"))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_the_credential_goes_nowhere(provider: Provider, status: int) -> None:
    async with running(Provider()) as elsewhere:

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"{elsewhere.base_url}/realtime/client_secrets"})

        fault = await fault_from(provider, redirect)
    assert (fault.code, fault.status) == ("REDIRECT_REFUSED", status)
    assert elsewhere.requests == []
    assert len(provider.requests) == 1


async def test_an_endless_answer_is_cut_off(provider: Provider) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 100 * MAX_REPLY_BYTES:
                await response.write(b" " * 65_536)
                sent += 65_536
        return response

    assert (await fault_from(provider, endless)).code == "OVERSIZED_REPLY"
    assert sent < 20 * MAX_REPLY_BYTES


async def test_a_packed_answer_is_not_unpacked(provider: Provider) -> None:
    async def bomb(_: web.Request) -> web.Response:
        packed = zlib.compress(b" " * 50_000_000)
        return web.Response(body=packed, headers={"Content-Encoding": "deflate", "Content-Type": "application/json"})

    assert (await fault_from(provider, bomb)).code == "COMPRESSED_REPLY"
    assert provider.requests[0].headers["Accept-Encoding"] == "identity"


async def test_an_answer_that_stops_in_the_middle_is_truncated(provider: Provider) -> None:
    async def stops(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "500"})
        await response.prepare(request)
        await response.write(b'{"value": "ek_')
        assert request.transport
        request.transport.close()
        return response

    fault = await fault_from(provider, stops)
    assert (fault.code, fault.retryable) == ("TRUNCATED_REPLY", True)


async def test_a_connection_cut_before_the_answer_is_a_reset(provider: Provider) -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport
        request.transport.abort()
        return web.Response()

    fault = await fault_from(provider, cut)
    assert (fault.code, fault.retryable) == ("CONNECTION_RESET", True)


@pytest.mark.parametrize("dripping", [False, True])
async def test_an_answer_that_takes_too_long_is_given_up_on(provider: Provider, dripping: bool) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if dripping:
            await response.prepare(request)
            await response.write(b"{")
        await asyncio.Event().wait()
        return response

    fault = await fault_from(provider, slow, total_seconds=0.2)
    assert isinstance(fault, errors.KeyTimeoutError)
    assert fault.retryable


@pytest.mark.parametrize("junk", [b"not http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n"])
async def test_an_answer_that_is_not_http_is_a_bad_reply(junk: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(junk)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        profile = OpenAIProfile(base_url=f"http://127.0.0.1:{port}/v1")
        async with EphemeralKeyService(profile, credential=CANARY_CREDENTIAL) as service:
            with pytest.raises(errors.BadReplyError) as caught:
                await service.request_ephemeral_key(KeyRequest(session_id="s1"))
    assert caught.value.code == "NOT_HTTP"
    assert caught.value.__context__ is None


async def test_a_port_where_nobody_listens_refuses(unused_port: int) -> None:
    profile = OpenAIProfile(base_url=f"http://127.0.0.1:{unused_port}/v1")
    async with EphemeralKeyService(profile, credential=CANARY_CREDENTIAL) as service:
        with pytest.raises(errors.NetworkError) as caught:
            await service.request_ephemeral_key(KeyRequest(session_id="s1"))
    assert caught.value.code == "CONNECTION_REFUSED"


async def test_a_host_that_does_not_exist_has_a_name_of_its_own() -> None:
    profile = OpenAIProfile(base_url="https://nobody.invalid/v1")
    async with EphemeralKeyService(profile, credential=CANARY_CREDENTIAL) as service:
        with pytest.raises(errors.NetworkError) as caught:
            await service.request_ephemeral_key(KeyRequest(session_id="s1"))
    assert caught.value.code == "DNS_FAILED"


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_checked_and_ssl_cert_file_is_honoured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: bool
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with running(Provider(), context) as provider:
        profile = OpenAIProfile(base_url=provider.base_url)
        async with EphemeralKeyService(profile, credential=CANARY_CREDENTIAL) as service:
            if trusted:
                assert await service.request_ephemeral_key(KeyRequest(session_id="s1"))
                return
            with pytest.raises(errors.NetworkError) as caught:
                await service.request_ephemeral_key(KeyRequest(session_id="s1"))
    assert (caught.value.code, caught.value.retryable) == ("TLS_CERTIFICATE_REFUSED", False)
    assert provider.requests == []


async def test_loopback_never_goes_through_a_proxy_and_netrc_is_not_read(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unused_port: int
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port}")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with EphemeralKeyService(OpenAIProfile(base_url=provider.base_url), credential="key-1") as service:
        await service.request_ephemeral_key(KeyRequest(session_id="s1"))
    assert provider.requests[0].headers["Authorization"] == "Bearer key-1"


def test_the_proxy_is_the_one_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    assert proxy_for("https://api.openai.com/v1") == "http://proxy.example:3128"
    assert proxy_for("https://internal.example/v1") is None
    assert proxy_for("https://127.0.0.1/v1") is None


@pytest.mark.parametrize(("status", "code"), [(407, "PROXY_AUTHENTICATION_REQUIRED"), (502, "PROXY_REFUSED")])
async def test_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    seen = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with EphemeralKeyService(OpenAIProfile(), credential=CANARY_CREDENTIAL) as service:
            with pytest.raises(errors.NetworkError) as caught:
                await service.request_ephemeral_key(KeyRequest(session_id="s1"))
    assert caught.value.code == code
    assert CANARY_CREDENTIAL.encode() not in seen


async def test_one_client_serves_all_sessions(provider: Provider) -> None:
    profile = OpenAIProfile(base_url=provider.base_url)
    async with EphemeralKeyService(profile, credential="key-1", limits=Limits(concurrent_mints=3)) as service:
        keys = await asyncio.gather(
            *(service.request_ephemeral_key(KeyRequest(session_id=str(number))) for number in range(12))
        )
    assert len(keys) == 12
    assert len({request.transport for request in provider.requests}) <= 3


async def test_a_cancelled_mint_leaves_no_socket(provider: Provider) -> None:
    reached = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        reached.set()
        await asyncio.Event().wait()
        return web.Response()

    provider.answers = [hang]
    async with EphemeralKeyService(OpenAIProfile(base_url=provider.base_url), credential="key-1") as service:
        mint = asyncio.ensure_future(service.request_ephemeral_key(KeyRequest(session_id="s1")))
        await reached.wait()
        mint.cancel()
        with pytest.raises(asyncio.CancelledError):
            await mint
        assert await service.request_ephemeral_key(KeyRequest(session_id="s2"))
        assert service._mints == {}
