"""WebRTC calls without media: offers, hangup, sidebands."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from voicepilot.emulator import RealtimeEmulator

pytestmark = pytest.mark.sockets

Http = aiohttp.ClientSession
KEY = {"Authorization": "Bearer sk-test-0123456789"}
OFFER = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=sctp-port:5000\r\n"
)


async def ephemeral(http: Http, emulator: RealtimeEmulator) -> dict[str, str]:
    async with http.post(f"{emulator.base_url}/realtime/client_secrets", json={}, headers=KEY) as response:
        return {"Authorization": f"Bearer {(await response.json())['value']}"}


async def dial(http: Http, base: str, headers: dict[str, str], **body: Any) -> tuple[int, str, Any]:
    body = body or {"data": OFFER, "headers": {**headers, "Content-Type": "application/sdp"}}
    async with http.post(f"{base}/realtime/calls", **{"headers": headers, **body}) as response:
        return response.status, await response.text(), response.headers


async def sideband(http: Http, emulator: RealtimeEmulator, call: str) -> aiohttp.ClientWebSocketResponse:
    return await http.ws_connect(f"{emulator.base_url}/realtime?call_id={call}", headers=KEY)


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
async def test_an_offer_is_answered(emulator: RealtimeEmulator, http: Http, prefix: str) -> None:
    headers = await ephemeral(http, emulator)
    status, answer, got = await dial(http, emulator.azure_endpoint + prefix, headers)
    assert (status, got["Content-Type"]) == (201, "text/plain; charset=utf-8")
    assert answer.startswith("v=0\r\n")
    assert "m=application 9 UDP/DTLS/SCTP webrtc-datachannel" in answer
    assert got["Location"].startswith("/v1/realtime/calls/rtc_")
    assert got["access-control-allow-origin"] == "*"
    (call,) = emulator.record.calls()
    shares_tail = str(call.session).removeprefix("sess_") == call.call.removeprefix("rtc_")
    assert shares_tail == (prefix == "/v1")


async def test_a_backend_may_relay_the_offer_with_a_session(emulator: RealtimeEmulator, http: Http) -> None:
    form = aiohttp.FormData()
    form.add_field("sdp", OFFER, content_type="application/sdp")
    form.add_field("session", '{"type": "realtime", "instructions": "Be brief"}', content_type="application/json")
    status, _, got = await dial(http, emulator.base_url, KEY, data=form)
    assert status == 201
    async with await sideband(http, emulator, got["Location"].rsplit("/", 1)[1]) as socket:
        await socket.send_json({"type": "session.update", "session": {"type": "realtime"}})
        first = await socket.receive_json()
    assert first["type"] == "session.updated"
    assert first["session"]["instructions"] == "Be brief"


async def test_azure_takes_only_ephemeral_keys(emulator: RealtimeEmulator, http: Http) -> None:
    status, answer, _ = await dial(http, f"{emulator.azure_endpoint}/openai/v1", {"api-key": "0123456789"})
    assert status == 401
    assert "This operation requires ephemeral tokens" in answer


async def test_what_is_no_offer_is_refused(emulator: RealtimeEmulator, http: Http) -> None:
    for data in (b"", b"hello", b"v=0\r\n", b"\xff\xfe"):
        status, _, _ = await dial(http, emulator.base_url, KEY, data=data)
        assert status == 400
    status, _, _ = await dial(http, emulator.base_url, {})
    assert status == 401


async def test_sidebands_share_one_conversation_without_its_audio(emulator: RealtimeEmulator, http: Http) -> None:
    _, _, got = await dial(http, emulator.base_url, await ephemeral(http, emulator))
    call = got["Location"].rsplit("/", 1)[1]
    async with await sideband(http, emulator, call) as one, await sideband(http, emulator, call) as two:
        await one.send_json({"type": "session.update", "session": {"type": "realtime"}})
        assert (await two.receive_json())["type"] == "session.updated"
        await two.send_json({"type": "response.create"})
        kinds: list[str] = []
        while kinds[-1:] != ["output_audio_buffer.stopped"]:
            kinds.append((await one.receive_json())["type"])
    assert "output_audio_buffer.started" in kinds
    assert "response.output_audio_transcript.done" in kinds
    assert "response.output_audio.delta" not in kinds
    assert {connection.opened.call for connection in emulator.record.connections()} == {call}


async def test_a_hangup_ends_the_call_for_everybody(emulator: RealtimeEmulator, http: Http) -> None:
    _, _, got = await dial(http, emulator.base_url, await ephemeral(http, emulator))
    call = got["Location"].rsplit("/", 1)[1]
    hangup = f"{emulator.base_url}/realtime/calls/{call}/hangup"
    async with await sideband(http, emulator, call) as socket:
        async with http.post(hangup, headers=KEY) as response:
            assert response.status == 200
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1000)
    async with http.post(hangup, headers=KEY) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "call_id_not_found"
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await sideband(http, emulator, call)
    assert caught.value.status == 404


async def test_a_sideband_that_leaves_does_not_end_the_call(emulator: RealtimeEmulator, http: Http) -> None:
    _, _, got = await dial(http, emulator.base_url, await ephemeral(http, emulator))
    call = got["Location"].rsplit("/", 1)[1]
    for _ in range(2):
        async with await sideband(http, emulator, call) as socket:
            await socket.send_json({"type": "input_audio_buffer.clear"})
            assert (await socket.receive_json())["type"] == "input_audio_buffer.cleared"


async def test_calls_fail_on_command(emulator: RealtimeEmulator, http: Http) -> None:
    emulator.faults.add("call:503")
    assert (await dial(http, emulator.base_url, KEY))[0] == 503
    assert (await dial(http, emulator.base_url, KEY))[0] == 201
