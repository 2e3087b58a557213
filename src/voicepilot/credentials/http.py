"""One HTTP client for all sessions: every wait limited, every answer bounded, nothing followed, nothing leaked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from yarl import URL

from voicepilot.errors import BadReplyError
from voicepilot.network.faults import fault_of_breakdown
from voicepilot.network.reply import Reply
from voicepilot.network.route import proxy_for, trusted
from voicepilot.ports import Clock

MAX_REPLY_BYTES = 1 << 20  # an answer repeats the session's instructions and tools, so not much less


class HttpClient:
    """Open within a running loop, close when done."""

    def __init__(self, clock: Clock, *, secure: bool, connect_timeout: float, connections: int) -> None:
        self._clock = clock
        # The proxy is chosen below and not by trust_env, which would also add credentials from ~/.netrc.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections,
                ssl=trusted() if secure else True,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection, idle or busy."""
        await self._session.close()

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send `body` as JSON and read the answer. Raises a KeyServiceError; the caller limits the whole."""
        return await self._sent("POST", url, {"Content-Type": "application/json", **headers}, body)

    async def head(self, url: str) -> Reply:
        """Ask, without a credential, whether anybody is there. Raises a KeyServiceError."""
        return await self._sent("HEAD", url, {}, None)

    async def greeting(self, url: str, *, headers: Mapping[str, str]) -> str:
        """The first text a WebSocket says, or the status it is refused with. Raises a KeyServiceError."""
        try:
            async with self._session.ws_connect(url, headers=headers, proxy=proxy_for(url)) as socket:
                message = await socket.receive()
                return message.data if isinstance(message.data, str) else f"closed with {socket.close_code}"
        except aiohttp.WSServerHandshakeError as error:
            return f"refused with {error.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            fault = fault_of_breakdown(error, f"opening a WebSocket at {URL(url).host_port_subcomponent}")
        raise fault

    async def _sent(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        try:
            return await self._exchange(method, url, headers, body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            fault = fault_of_breakdown(error, f"asking {URL(url).host_port_subcomponent}")
        raise fault  # outside the handler: aiohttp's errors hold the request's headers

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        async with self._session.request(
            method,
            url,
            data=body,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
            allow_redirects=False,
            proxy=proxy_for(url),
        ) as response:
            received_at = self._clock.wall()
            started = asyncio.get_running_loop().time()
            content = await _bounded_body(response)
            return Reply(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=content,
                received_at=received_at,
                body_seconds=asyncio.get_running_loop().time() - started,
            )


async def _bounded_body(response: aiohttp.ClientResponse) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":  # asked not to; unpacking could make a small answer huge
        raise BadReplyError("the answer is compressed although that was declined", code="COMPRESSED_REPLY")
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_REPLY_BYTES:
            raise BadReplyError(f"the answer is larger than {MAX_REPLY_BYTES} bytes", code="OVERSIZED_REPLY")
    return bytes(content)
