"""Audio that was committed, and connections cut at an event, over sockets."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from voicepilot.emulator import RealtimeEmulator
from voicepilot.emulator.audio import FORMATS, tone
from voicepilot.emulator.commits import Commits
from voicepilot.errors import ConfigurationError

pytestmark = pytest.mark.sockets

Http = aiohttp.ClientSession
Until = Callable[[Callable[[], object]], Awaitable[None]]
KEY = {"Authorization": "Bearer sk-test-0123456789"}
PCM = FORMATS["audio/pcm"]


def url(emulator: RealtimeEmulator) -> str:
    return f"{emulator.base_url}/realtime?model=m"


async def committed(http: Http, emulator: RealtimeEmulator, *lengths: float) -> list[bytes]:
    """Commit tones of these lengths by hand; gives what was said."""
    said = [tone(length, PCM) for length in lengths]
    async with http.ws_connect(url(emulator), headers=KEY) as socket:
        manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await socket.send_json({"type": "session.update", "session": manual})
        for data in said:
            await socket.send_json({"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()})
            await socket.send_json({"type": "input_audio_buffer.commit"})
        left = len(said)
        while left:
            left -= (await socket.receive_json())["type"] == "input_audio_buffer.committed"
    return said


async def test_what_was_committed_can_be_asked_for(http: Http) -> None:
    async with RealtimeEmulator(keep_audio=True) as emulator:
        said = await committed(http, emulator, 0.2, 0.3)
        said += await committed(http, emulator, 0.4)
        kept = emulator.committed_audio()
        items = [frame.event["item_id"] for frame in emulator.record.frames("input_audio_buffer.committed")]
        async with http.get(f"{emulator.azure_endpoint}/_emulator/audio") as response:
            shown = await response.json()
    assert [each.audio for each in kept] == said
    assert [each.connection for each in kept] == [1, 1, 2]
    assert [each.item_id for each in kept] == items
    assert shown["dropped"] == 0
    assert [base64.b64decode(each["audio"]) for each in shown["committed"]] == said


async def test_audio_is_kept_only_when_asked(http: Http) -> None:
    async with RealtimeEmulator() as emulator:
        await committed(http, emulator, 0.2)
        with pytest.raises(ConfigurationError, match="keeps no audio"):
            emulator.committed_audio()
        async with http.get(f"{emulator.azure_endpoint}/_emulator/audio") as response:
            assert response.status == 404


async def test_the_oldest_audio_goes_first(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicepilot.emulator.commits.MOST_HELD", PCM.size(0.5))
    async with RealtimeEmulator(keep_audio=True) as emulator:
        said = await committed(http, emulator, 0.3, 0.2, 0.1)
        assert [each.audio for each in emulator.committed_audio()] == said[1:]
        commits = emulator._backend.commits
    assert isinstance(commits, Commits)
    assert commits.dropped == 1


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_a_session_is_cut_after_its_nth_event(http: Http, until: Until, count: int) -> None:
    async with RealtimeEmulator() as emulator:
        emulator.faults.add(f"session:drop:after_events={count}")
        kinds: list[Any] = []
        async with http.ws_connect(url(emulator), headers=KEY) as socket:
            for _ in range(2):
                await socket.send_json({"type": "input_audio_buffer.clear"})
            async for message in socket:
                kinds.append(json.loads(message.data)["type"])  # noqa: PERF401 - a cut raises nothing here
        await until(lambda: emulator.record.connections()[0].closed)
        closed = emulator.record.connections()[0].closed
    assert kinds == ["session.created", "input_audio_buffer.cleared"][:count]
    assert closed is not None
    assert (closed.code, closed.by) == (1006, "server")


async def test_open_sessions_are_cut_after_so_many_more(http: Http) -> None:
    async with RealtimeEmulator() as emulator, http.ws_connect(url(emulator), headers=KEY) as socket:
        assert (await socket.receive_json())["type"] == "session.created"
        fault = {"fault": "live:drop:after_events=2"}
        async with http.post(f"{emulator.azure_endpoint}/_emulator/faults", json=fault) as response:
            assert response.status == 201
        for _ in range(4):
            await socket.send_json({"type": "input_audio_buffer.clear"})
        assert [message.type async for message in socket] == [aiohttp.WSMsgType.TEXT] * 2


async def test_a_cut_by_name_counts_too(http: Http) -> None:
    async with RealtimeEmulator() as emulator, http.ws_connect(url(emulator), headers=KEY) as socket:
        assert (await socket.receive_json())["type"] == "session.created"
        emulator.faults.drop_sessions(after_events=1)
        await socket.send_json({"type": "input_audio_buffer.clear"})
        assert [message.type async for message in socket] == [aiohttp.WSMsgType.TEXT]
