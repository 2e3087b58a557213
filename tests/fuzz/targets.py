"""What is fuzzed: for each kind of input a function that takes bytes and fails when a promise is broken.

The bytes are text that a person can read, so that an input which once broke something says what it was (`found/`).
Nothing in here knows who makes the bytes: atheris (`make fuzz`), hypothesis or a file.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from tests.fuzz.command_line import try_arguments
from tests.fuzz.judging import judge_key
from tests.fuzz.listening import try_server_frames

from voicepilot.build import check_settings
from voicepilot.config.listing import listed
from voicepilot.config.settings import read
from voicepilot.credentials.profiles import AzurePreviewProfile, AzureProfile, OpenAIProfile, Profile
from voicepilot.credentials.replies import key_from
from voicepilot.emulator import Faults
from voicepilot.emulator.answers import FunctionAnswers
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.effects import Effect, Send
from voicepilot.emulator.ids import Ids
from voicepilot.emulator.preview import PreviewConversation
from voicepilot.emulator.script import Script
from voicepilot.emulator.session import new_session
from voicepilot.emulator.stage import Terms
from voicepilot.errors import ConfigurationError, KeyServiceError, VoicePilotError
from voicepilot.network.reply import Reply
from voicepilot.network.secrets import Secret
from voicepilot.ports import EphemeralKey, KeyRequest
from voicepilot.privacy.redact import Redactor

NOW = 1_784_852_000.0
SECRET = Secret("sk-canary-CREDENTIAL-0123456789")


# --- mint replies: "status profile", header lines, an empty line, the body --------------------------------------------

PROFILES: dict[str, Profile] = {
    "openai": OpenAIProfile(),
    "azure": AzureProfile(endpoint="https://mine.openai.azure.com/", model="voice"),
    "preview": AzurePreviewProfile(endpoint="https://mine.openai.azure.com", model="voice", webrtc_region="eastus2"),
}


def try_mint_reply(data: bytes) -> None:
    """A reply becomes a good key or a typed error."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    status, _, name = first.partition(" ")
    number = int(status) % 1000 if status.isascii() and status.isdigit() and len(status) < 9 else 200
    headers = {field.strip().lower(): value.strip() for field, _, value in (line.partition(":") for line in lines)}
    judge_key(
        _outcome(Reply(number, headers, body, NOW), PROFILES.get(name, PROFILES["openai"])), number, SECRET.reveal()
    )


def _outcome(reply: Reply, profile: Profile) -> EphemeralKey | KeyServiceError:
    request = KeyRequest(session_id="s1", life_seconds=600)
    try:
        return key_from(reply, profile=profile, request=request, secret=SECRET)
    except KeyServiceError as error:
        return error


# --- realtime frames: one on each line --------------------------------------------------------------------------------


def try_client_frames(data: bytes) -> None:
    """The emulated provider answers each frame in JSON and lives on."""
    for protocol in (Conversation, PreviewConversation):
        answers = FunctionAnswers().begin()
        talk = protocol(new_session("sess_1"), answers, terms=Terms(), ids=_counted_ids(), faults=Faults(), now=NOW)
        now = NOW
        for frame in data.split(b"\n")[:40]:
            _fit_to_send(talk.receive(frame, now))
            now = _let_happen(talk, now + 0.5)
        if protocol is Conversation:
            said = talk.receive(b'{"type":"session.update","session":{"type":"realtime"}}', now)
            assert "session.updated" in {effect.event["type"] for effect in said if isinstance(effect, Send)}


def _counted_ids() -> Ids:
    numbers = itertools.count()
    return Ids(lambda length: str(next(numbers)).zfill(length)[-length:])


def _let_happen(talk: Conversation, until: float) -> float:
    while (at := talk.wake_at()) is not None and at <= until:
        _fit_to_send(talk.wake(at))
    return until


def _fit_to_send(effects: list[Effect]) -> None:
    for effect in effects:
        assert isinstance(effect, Send)
        assert msgspec.json.decode(msgspec.json.encode(effect.event))["type"]


# --- files ------------------------------------------------------------------------------------------------------------

_FOLDER = Path(tempfile.gettempdir())
PROBE = "call me at 555-123-4567, order ORD-123456, " + "a" * 40 + "!"


def try_settings_file(data: bytes) -> None:
    """A settings file becomes settings that every part can use, or an error without the secrets in it."""
    path = _FOLDER / f"voicepilot-fuzz-{os.getpid()}.toml"
    path.write_bytes(data)
    try:
        loaded = read(config_file=path)
    except ConfigurationError as error:
        _judge_refusal(str(error), data)
        return
    settings = loaded.settings
    shown = repr([(setting.name, setting.value) for setting in listed(loaded)])
    for use in (lambda: check_settings(settings), settings.emulator_options):
        try:
            use()
        except VoicePilotError as error:
            shown += f"{error}{error.remediation}"
    for secret in _secrets(data):
        assert secret not in shown + repr(settings) + repr(loaded)
    settings.session_config()
    settings.retry_policies()
    settings.breaker_options()
    settings.retention_policy()
    Redactor(settings.redaction_rules()).redact(PROBE)


def _judge_refusal(told: str, data: bytes) -> None:
    assert told.strip()
    for secret in _secrets(data):
        assert secret not in told


def _secrets(data: bytes) -> Iterator[str]:
    """The long enough values of secret fields, where they stand nowhere else in the file."""
    text = data.decode(errors="replace")
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        word = value.strip().strip("\"'")
        if equals and name.strip() in {"api_key", "provider.api_key"} and len(word) >= 12 and text.count(word) == 1:
            yield word


def try_script(data: bytes) -> None:
    """A script or a recording can be played, or is refused in words; its first line says which it is."""
    kind, _, text = data.decode(errors="replace").partition("\n")
    try:
        script = Script.replay(text.splitlines()) if kind == "recording" else Script.parse(text)
    except ConfigurationError:
        return
    talk = Conversation(
        new_session("sess_1"), script.begin(), terms=Terms(), ids=_counted_ids(), faults=Faults(), now=NOW
    )
    now = NOW
    for _ in range(2):
        _fit_to_send(talk.receive(b'{"type":"response.create"}', now))
        now = _let_happen(talk, now + 5.0)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "mint-replies": try_mint_reply,
    "client-frames": try_client_frames,
    "server-frames": try_server_frames,
    "settings-files": try_settings_file,
    "scripts": try_script,
    "command-lines": try_arguments,
}
"""What is fuzzed, by the name of its folder in `seeds/` and `found/`."""
