"""Keys over HTTP: the answer's exact shape, what is refused, and what goes wrong on command."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from voicepilot.emulator import Fault, RealtimeEmulator
from voicepilot.errors import ConfigurationError

pytestmark = pytest.mark.sockets

Until = Callable[[Callable[[], object]], Awaitable[None]]
AUTH = {"Authorization": "Bearer sk-test-0123456789"}


async def post(
    http: aiohttp.ClientSession, base: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, Any]:
    url = f"{base}/realtime/client_secrets"
    async with http.post(url, json=body, headers=AUTH if headers is None else headers) as response:
        return response.status, await response.json(), response.headers


async def test_the_answer_has_the_recorded_shape(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    before = int(time.time())
    status, answer, headers = await post(http, emulator.base_url, {})
    assert status == 200
    assert list(answer) == ["value", "expires_at", "session"]
    assert answer["value"].startswith("ek_")
    assert before + 600 <= answer["expires_at"] <= int(time.time()) + 600
    session = answer["session"]
    assert session.pop("id").startswith("sess_")
    assert session.pop("instructions")
    assert session == {
        "type": "realtime",
        "object": "realtime.session",
        "model": "gpt-realtime",
        "output_modalities": ["audio"],
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": 0,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
        "include": None,
    }
    assert headers["Content-Type"] == "application/json"
    assert headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("headers", [{"api-key": "0123456789abcdef"}, AUTH])
async def test_azure_takes_both_headers_and_gives_two_hours(
    emulator: RealtimeEmulator, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    status, answer, got = await post(http, f"{emulator.azure_endpoint}/openai/v1", {}, headers)
    assert status == 200
    assert answer["expires_at"] - int(time.time()) in {7199, 7200}
    assert "apim-request-id" in got


@pytest.mark.parametrize(("seconds", "code"), [(9, "integer_below_min_value"), (7201, "integer_above_max_value")])
async def test_a_life_out_of_bounds_is_refused(
    emulator: RealtimeEmulator, http: aiohttp.ClientSession, seconds: int, code: str
) -> None:
    body = {"expires_after": {"anchor": "created_at", "seconds": seconds}}
    status, answer, _ = await post(http, emulator.base_url, body)
    assert status == 400
    assert answer["error"].pop("message")
    assert answer == {"error": {"type": "invalid_request_error", "code": code, "param": "expires_after.seconds"}}


async def test_no_credential_is_401(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    status, answer, _ = await post(http, emulator.base_url, {}, headers={})
    assert status == 401
    assert answer["error"]["type"] == "invalid_request_error"
    status, answer, _ = await post(http, emulator.base_url, {}, headers={"Authorization": "Bearer ek_0123456789"})
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    status, answer, _ = await post(http, f"{emulator.azure_endpoint}/openai/v1", {}, headers={})
    assert (status, answer["error"]["code"]) == (401, "401")


async def test_only_listed_api_keys_are_good_if_there_is_a_list(http: aiohttp.ClientSession) -> None:
    async with RealtimeEmulator(api_keys=frozenset({"sk-good-123"})) as emulator:
        good, _, _ = await post(http, emulator.base_url, {}, {"Authorization": "Bearer sk-good-123"})
        bad, _, _ = await post(http, emulator.base_url, {}, AUTH)
    assert (good, bad) == (200, 401)


async def test_key_life_caps_what_was_asked(http: aiohttp.ClientSession) -> None:
    async with RealtimeEmulator(key_life=2.5) as emulator:
        _, answer, _ = await post(http, emulator.base_url, {"expires_after": {"seconds": 600}})
        (mint,) = emulator.record.mints()
    assert mint.valid_until is not None
    assert mint.valid_until - mint.at == pytest.approx(2.5)
    assert mint.valid_until - 1 < answer["expires_at"] <= mint.valid_until


async def test_a_status_fault_hits_so_many_mints(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    emulator.faults.fail_mints(429, count=2, retry_after=2)
    first, second, third = [await post(http, emulator.base_url, {}) for _ in range(3)]
    assert [first[0], second[0], third[0]] == [429, 429, 200]
    assert first[1]["error"]["code"] == "rate_limit_exceeded"
    assert first[2]["Retry-After"] == "2"
    assert [mint.status for mint in emulator.record.mints()] == [429, 429, 200]


async def test_a_fault_may_carry_its_own_body_and_headers(
    emulator: RealtimeEmulator, http: aiohttp.ClientSession
) -> None:
    emulator.faults.fail_mints(429, retry_after_ms=1500, body='{"error": {"code": "insufficient_quota"}}')
    status, answer, headers = await post(http, emulator.base_url, {})
    assert (status, answer, headers["retry-after-ms"]) == (429, {"error": {"code": "insufficient_quota"}}, "1500")


async def test_a_reset_mint_gets_no_answer(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    emulator.faults.reset_mints()
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(http, emulator.base_url, {})
    assert (await post(http, emulator.base_url, {}))[0] == 200


async def test_a_truncated_mint_ends_in_the_middle(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    emulator.faults.truncate_mints()
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(http, emulator.base_url, {})


async def test_a_garbled_mint_is_no_json(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    emulator.faults.garble_mints()
    with pytest.raises(ValueError, match="Unterminated"):
        await post(http, emulator.base_url, {})


async def test_a_hanging_mint_ends_with_the_emulator(http: aiohttp.ClientSession, until: Until) -> None:
    async with RealtimeEmulator() as emulator:
        emulator.faults.hang_mints()
        async with asyncio.TaskGroup() as tasks:
            hanging = tasks.create_task(refused(http, emulator.base_url))
            await until(emulator.record.mints)
            await emulator.stop()
    assert hanging.result()


async def refused(http: aiohttp.ClientSession, base: str) -> bool:
    try:
        await post(http, base, {})
    except aiohttp.ClientConnectionError:
        return True
    return False


async def test_an_outage_lasts_until_it_is_cleared(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    emulator.faults.outage()
    during = [(await post(http, emulator.base_url, {}))[0] for _ in range(3)]
    emulator.faults.clear()
    assert [*during, (await post(http, emulator.base_url, {}))[0]] == [503, 503, 503, 200]


async def test_it_comes_back_on_the_same_port(http: aiohttp.ClientSession) -> None:
    emulator = RealtimeEmulator()
    await emulator.start()
    before = emulator.base_url
    await post(http, before, {})
    await emulator.stop()
    await emulator.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(http, before, {})
    async with emulator:
        assert emulator.base_url == before
        assert (await post(http, before, {}))[0] == 200


async def test_an_unknown_url_is_the_providers_404(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{emulator.base_url}/models", headers=AUTH) as response:
        assert response.status == 404
        assert (await response.json())["error"]["message"] == "Invalid URL (GET /v1/models)"


async def test_the_preview_gives_a_flat_session_with_the_key_inside(
    emulator: RealtimeEmulator, http: aiohttp.ClientSession
) -> None:
    url = f"{emulator.azure_endpoint}/openai/realtimeapi/sessions?api-version=2025-04-01-preview"
    async with http.post(url, json={"model": "my-deployment", "voice": "verse"}, headers={"api-key": "0123"}) as reply:
        answer = await reply.json()
    assert (answer["model"], answer["voice"]) == ("my-deployment", "verse")
    assert answer["client_secret"]["value"].startswith("ek_")
    assert answer["client_secret"]["expires_at"] - int(time.time()) in {59, 60}


async def test_faults_and_record_are_there_for_other_languages(
    emulator: RealtimeEmulator, http: aiohttp.ClientSession
) -> None:
    control = f"{emulator.azure_endpoint}/_emulator"
    async with http.post(f"{control}/faults", json={"fault": "mint:401"}) as response:
        assert response.status == 201
    async with http.get(f"{control}/faults") as response:
        assert await response.json() == {"faults": [{"place": "mint", "kind": "status", "status": 401}]}
    await post(http, emulator.base_url, {})
    async with http.get(f"{control}/record") as response:
        text = await response.text()
        assert (await response.json())["entries"][0]["status"] == 401
    assert "sk-test" not in text
    async with http.post(f"{control}/faults", json={"fault": "mint:nonsense"}) as response:
        assert response.status == 400
        assert "mint has no fault 'nonsense'" in (await response.json())["error"]["message"]
    async with http.post(f"{control}/faults", json={"place": "mint", "kind": "hang", "count": None}) as response:
        assert response.status == 201
    for what, empty in (("faults", {"faults": []}), ("record", {"dropped": 0, "entries": []})):
        async with http.delete(f"{control}/{what}") as response:
            assert response.status == 204
        async with http.get(f"{control}/{what}") as response:
            assert await response.json() == empty


async def test_a_body_beyond_the_limit_is_refused(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    where = f"{emulator.base_url}/realtime/client_secrets"
    async with http.post(where, data=io.BytesIO(bytes(3_000_000)), headers=AUTH) as response:
        assert response.status == 413
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_a_taken_port_is_named(emulator: RealtimeEmulator) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{emulator.port}"):
        await RealtimeEmulator(port=emulator.port).start()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"session_life": 0}, "session_life"),
        ({"session_life": float("inf")}, "session_life"),
        ({"time_scale": -1}, "time_scale"),
        ({"port": 70_000}, "port"),
        ({"certificate": "cert.pem"}, "certificate"),
        ({"colour": "red"}, None),
    ],
)
def test_options_that_cannot_be_are_named(options: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RealtimeEmulator(**options)
    assert caught.value.field == field


async def test_a_slow_mint_is_not_answered_early_by_a_stop(http: aiohttp.ClientSession, until: Until) -> None:
    async with RealtimeEmulator() as emulator:
        emulator.faults.slow_mints(60)
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(refused(http, emulator.base_url))
            await until(emulator.record.mints)
            await emulator.stop()
    assert slow.result()


async def test_slow_mints_are_late_and_good(emulator: RealtimeEmulator, http: aiohttp.ClientSession) -> None:
    emulator.faults.add(Fault(place="mint", kind="slow", seconds=0.05))
    began = time.monotonic()
    assert (await post(http, emulator.base_url, {}))[0] == 200
    assert time.monotonic() - began >= 0.05
