"""The programs in the guide run, against the emulator."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from voicepilot import SessionConfig
from voicepilot.emulator import running_emulator

GUIDE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text()
PROGRAMS: dict[str, str] = dict(re.findall(r"## ([^\n]+)\n(?:(?!\n## ).)*?```python\n(.*?)```", GUIDE, re.DOTALL))

SAYS = {
    "Start and end": ["is active", "connect to ws://"],
    "Connect": ["session.created"],
    "Listen": ["starting -> active: first key fetched", "renewed in", "ending -> ended: user-requested"],
    "Take part": [
        "start the microphone",
        "hold new connections: manual-renewal",
        "go on, with the new key",
        "one second",
    ],
    "Options": ["max_retry: no such session option", "heartbeat_interval_seconds=15", "enable_heartbeat=True"],
    "Limits": ["0 tokens so far"],
    "Look": ["the key is valid for", "credential-validity pass", "Statistics("],
    "Test": [],
}


def test_every_program_of_the_guide_is_known_here() -> None:
    assert list(PROGRAMS) == list(SAYS)
    assert GUIDE.count("```python\n") == len(PROGRAMS)


@pytest.mark.sockets
@pytest.mark.seed("QUA-004")
@pytest.mark.parametrize("title", SAYS)
def test_a_program_of_the_guide_says_what_it_should(
    title: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_emulator() as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(PROGRAMS[title], f"docs/sessions.md: {title}", "exec"), names)  # noqa: S102 - our own guide
        asyncio.set_event_loop(None)
    said = capsys.readouterr().out
    for words in SAYS[title]:
        assert words in said
    assert "ek_" not in said


def test_the_guide_lists_every_option_with_its_default() -> None:
    listed = re.findall(r"^\| `(\w+)` \| ([\w.]+) \|", GUIDE, re.MULTILINE)
    fields = msgspec.structs.fields(SessionConfig)
    order = [name for name, _ in listed]
    assert sorted(listed) == sorted((field.name, f"{field.default}") for field in fields)
    assert order == [field.name for field in fields]
