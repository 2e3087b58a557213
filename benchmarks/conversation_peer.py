"""The other side of the conversations that are measured, a process of its own: the emulator, or one that only floods.

`python -m benchmarks.conversation_peer '{…}'` runs the emulator with these options; with `flood` instead, a server that
keeps no record and does nothing but answer, so that it is not what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from voicepilot.emulator import Call, RealtimeEmulator
from voicepilot.emulator.answers import Turn

FLOOD = "flood"
BURST = 64  # frames sent between two looks at the loop


class Peer(msgspec.Struct, frozen=True):
    """Where it is."""

    base_url: str  # ends in /v1

    @property
    def url(self) -> str:
        """Where its realtime connections are opened."""
        return f"ws{self.base_url.removeprefix('http')}/realtime?model=gpt-realtime"

    async def fault(self, fault: str, http: aiohttp.ClientSession) -> None:
        """Let something go wrong there."""
        control = f"{self.base_url.removesuffix('/v1')}/_emulator/faults"
        async with http.post(control, json={"fault": fault}) as response:
            assert response.status == 201, await response.text()


@asynccontextmanager
async def a_peer(what: str | None = None, **options: Any) -> AsyncIterator[Peer]:
    """The emulator with these options, or `FLOOD`, as a process; it is ended with the block."""
    given = what or msgspec.json.encode(options).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.conversation_peer", given, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield msgspec.json.decode(await process.stdout.readline(), type=Peer)
    finally:
        process.terminate()
        await process.wait()


# --- the flood ------------------------------------------------------------------------------------------------------

ANSWER = {"id": "resp_1", "object": "realtime.response", "status": "in_progress", "output": []}
ITEM = {"id": "item_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
PLACE = {"event_id": "event_0123456789abcdef01234", "response_id": "resp_1", "item_id": "item_1"}
SOUND = base64.b64encode(bytes(4_800)).decode()  # a tenth of a second
DELTAS = tuple(
    msgspec.json.encode({"type": f"response.{kind}.delta", **PLACE, "output_index": 0, "content_index": 0, **more})
    for kind, more in (
        ("output_audio_transcript", {"delta": " word", "obfuscation": "0123456789a"}),
        ("output_audio", {"delta": SOUND}),
        ("output_audio", {"delta": SOUND}),
        ("output_audio", {"delta": SOUND}),
    )
)
"""Of a spoken answer: three pieces of sound to a word."""

ECHO = msgspec.json.encode({"type": "rate_limits.updated", "event_id": "event_1", "rate_limits": []})
HELLO = msgspec.json.encode(
    {"type": "session.created", "event_id": "event_0", "session": {"type": "realtime", "id": "sess_1"}}
)


async def _serve(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    await socket.send_str(HELLO.decode())
    async for message in socket:
        event = msgspec.json.decode(message.data)
        if event["type"] == "response.create":
            await _flood(socket, event["response"]["metadata"]["events"])
        else:
            await socket.send_str(ECHO.decode())
    return socket


async def _flood(socket: web.WebSocketResponse, events: int) -> None:
    await _say(socket, "response.created", response=ANSWER)
    await _say(socket, "response.output_item.added", response_id="resp_1", output_index=0, item=ITEM)
    await _say(socket, "conversation.item.added", previous_item_id=None, item=ITEM)
    frames = [frame.decode() for frame in DELTAS]
    for number in range(events):
        await socket.send_str(frames[number % len(frames)])
        if number % BURST == 0:
            await asyncio.sleep(0)
    done = {**ITEM, "status": "completed"}
    await _say(socket, "conversation.item.done", previous_item_id=None, item=done)
    await _say(socket, "conversation.item.deleted", item_id="item_1")
    await _say(socket, "response.done", response={**ANSWER, "status": "completed", "output": [], "usage": None})


async def _say(socket: web.WebSocketResponse, kind: str, **fields: Any) -> None:
    await socket.send_str(msgspec.json.encode({"type": kind, "event_id": "event_1", **fields}).decode())


async def _mint(_: web.Request) -> web.Response:
    session = {"type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "gpt-realtime"}
    key = {"value": f"ek_{secrets.token_hex(16)}", "expires_at": int(time.time()) + 600, "session": session}
    return web.json_response(key)


async def _flooding() -> None:
    app = web.Application()
    app.router.add_get("/v1/realtime", _serve)
    app.router.add_post("/v1/realtime/client_secrets", _mint)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _tell(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
    await asyncio.Event().wait()


def _answer(turn: Turn) -> str | Call:
    return Call("weather") if turn.text == "weather" else f"You said {turn.text}."


async def _emulating(options: dict[str, Any]) -> None:
    async with RealtimeEmulator(answers=_answer, **options) as emulator:
        _tell(emulator.base_url)
        await asyncio.Event().wait()


def _tell(base_url: str) -> None:
    print(msgspec.json.encode(Peer(base_url)).decode(), flush=True)


if __name__ == "__main__":
    what = sys.argv[1]
    asyncio.run(_flooding() if what == FLOOD else _emulating(msgspec.json.decode(what, type=dict[str, Any])))
