"""A canary key and a canary credential go through everything, and show nowhere. First: the harness can fail."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider

from tests.canary import CREDENTIAL, KEY, Net, Watch, logs_into
from tests.telemetry.watching import Watched, a_watched_world
from voicepilot import ConversationLifecycleHooks, SessionConfig, SessionManager
from voicepilot.cli.app import run_app
from voicepilot.config import Settings
from voicepilot.credentials import AzureProfile, EphemeralKeyService, Limits, OpenAIProfile, examine
from voicepilot.emulator import Fault, RealtimeEmulator, running_emulator
from voicepilot.emulator.record import Record, Refused
from voicepilot.errors import AuthenticationError, KeyServiceError, RateLimitError, VoicePilotError
from voicepilot.events import SessionStarted
from voicepilot.lifecycle.session import Session, Wish, info
from voicepilot.ports import EphemeralKey, KeyRequest
from voicepilot.telemetry import WatchedKeyService, instrument
from voicepilot.testing import FakeKeyService, Recorder

# --- the harness can fail ---------------------------------------------------------------------------------------------


def a_session(**wish: Any) -> Session:
    return Session(session_id="s", created_at=0, last_activity=0, config=SessionConfig(), wish=Wish(**wish))


def chained() -> Exception:
    """An error that is clean itself, with one that is not far behind it."""
    outer, middle = VoicePilotError("outer"), VoicePilotError("middle")
    outer.__cause__, middle.__context__ = middle, ValueError(KEY)
    return outer


def noted() -> Exception:
    error = ValueError("clean")
    error.add_note(f"with {KEY}")
    return error


def attributed() -> Exception:
    error = VoicePilotError("clean")
    error.headers = {"Authorization": CREDENTIAL}  # type: ignore[attr-defined]  # as sloppy code does
    return error


def a_span(**attributes: str) -> object:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s", attributes=attributes)
    span.end()
    return span


class Hidden:
    """Its repr shows nothing, its pickle does."""

    def __init__(self) -> None:
        self.value = KEY

    def __repr__(self) -> str:
        return "Hidden()"


PLANTED: dict[str, Callable[[], object]] = {
    "text": lambda: f"it is {KEY}.",
    "upper case": KEY.upper,
    "cut": lambda: CREDENTIAL[:16],
    "the end of it": lambda: KEY[-12:],
    "base64": lambda: base64.b64encode(f"x:{CREDENTIAL}".encode()),
    "hex": lambda: KEY.encode().hex(),
    "deep in data": lambda: {"a": [{"b": (CREDENTIAL,)}]},
    "a name": lambda: {KEY: 1},
    "event": lambda: SessionStarted(session=a_session(labels={"a": KEY}), at=0.0),
    "snapshot": lambda: info(a_session(model=KEY)),
    "diagnostics": lambda: (
        SessionStarted(
            session=msgspec.structs.replace(a_session(), last_error=VoicePilotError(KEY).fault), at=0.0
        ).diagnostics
    ),
    "exception": lambda: ValueError(KEY),
    "cause and context": chained,
    "note": noted,
    "attribute of an exception": attributed,
    "group": lambda: ExceptionGroup("several", [ValueError(KEY)]),
    "pickle": Hidden,
    "span": lambda: a_span(note=CREDENTIAL),
    "record": lambda: Refused(at=0.0, path=f"/v1?key={KEY}", status=401, credential=None),
    "session options": lambda: KeyRequest(session_id="s", session={"tools": [{"authorization": CREDENTIAL}]}),
}


@pytest.mark.parametrize("place", PLANTED)
def test_a_planted_secret_is_found(place: str, no_secret_shows: Watch) -> None:
    net = Net(KEY, CREDENTIAL)
    net.look(place, PLANTED[place]())
    assert [sighting.place for sighting in net.sightings][:1] == [place]
    with pytest.raises(AssertionError):
        net.check()


@pytest.mark.parametrize("how", ["message", "argument", "field", "traceback"])
def test_a_secret_planted_in_a_log_is_found(how: str) -> None:
    net, logger = Net(KEY), logging.getLogger("voicepilot.somewhere")
    with logs_into(net):
        match how:
            case "message":
                logger.debug(KEY)
            case "argument":
                logger.debug("%s", KEY)
            case "field":
                logger.debug("clean", extra={"held": [KEY]})
            case _:
                logger.debug("clean", exc_info=chained())
    assert net.sightings


async def test_a_secret_planted_in_a_metric_is_found() -> None:
    net = Net("team-canary-0123456789")
    async with a_watched_world(watch={"labels": ["team"]}) as world:
        await world.manager.start_session(labels={"team": "team-canary-0123456789"})
        net.look("metrics", world.figures())
    assert net.sightings


def test_a_clean_thing_is_clean_and_nothing_at_all_is_not() -> None:
    net = Net(KEY, CREDENTIAL)
    with pytest.raises(AssertionError):
        net.check()
    net.look("clean", {"a": ["sk-", "ek_", "canary"]}, ValueError("clean"), a_session(), None)
    net.check()


async def test_the_watch_around_every_test_sees_events_logs_errors_and_records(no_secret_shows: Watch) -> None:
    EphemeralKey(KEY, expires_in=60, issued_for="s")
    async with a_watched_world() as world:
        await world.manager.start_session(model=KEY)
    logging.getLogger("voicepilot.somewhere").warning("oh %s", KEY)
    KeyServiceError("clean", request_id=KEY)
    Record().add(Refused(at=0.0, path=KEY, status=None, credential=None))
    assert {sighting.place for sighting in no_secret_shows.sightings} == {"event", "log", "error", "emulator record"}
    no_secret_shows.begin()


# --- stories with a canary key ----------------------------------------------------------------------------------------


class CanaryKeys(FakeKeyService):
    """Every key is a canary."""

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        key = await super()._answer(request, renewal=renewal)
        return EphemeralKey(
            f"{KEY}{len(self.issued)}", expires_in=key.expires_in, issued_for=request.session_id, model=request.model
        )


async def look_around(net: Net, manager: SessionManager) -> None:
    """Everything that one can ask a manager."""
    for session in manager.get_all_sessions():
        net.look("snapshot", session)
        net.look("diagnostics", manager.get_session_diagnostics(session.session_id))
        net.look("health", await manager.test_session_health(session.session_id))
        net.look("config", manager.get_session_config(session.session_id))
        if session.expires_at is not None:
            credential = manager.credential(session.session_id)
            net.look("credential", credential, credential.key, {"it": credential}, f"{credential!s}")
    net.look("repr", manager, manager._performer.vault, [entry.session for entry in manager._performer.registry])


@asynccontextmanager
async def a_canary_world(**options: Any) -> AsyncIterator[tuple[Watched, Net]]:
    """A world with canary keys; at the end all that it told is looked at."""
    net = Net(KEY, CREDENTIAL)
    with logs_into(net):
        async with a_watched_world(keys=CanaryKeys(), inactivity_timeout_minutes=60, **options) as world:
            yield world, net
            await look_around(net, world.manager)
        net.look("event", *world.recorder.events)
        net.look("span", *world.spans())
        net.look("metrics", world.figures())
    assert world.spans()
    net.check()


async def test_a_long_life() -> None:
    async with a_canary_world() as (world, net):
        session = await world.manager.start_session(model="m", session={"voice": "marin"}, labels={"team": "a"})
        for _ in range(4):
            await asyncio.sleep(500)
            await look_around(net, world.manager)
        net.look("result", await world.manager.renew_session(session.session_id))
        assert KEY in world.manager.credential(session.session_id).reveal()
        await world.manager.end_session()


@pytest.mark.parametrize(
    "error", [RateLimitError("busy", status=429), AuthenticationError("no"), OSError("odd"), BaseException("worse")]
)
async def test_faults_at_the_start_and_at_renewals(error: BaseException) -> None:
    async with a_canary_world(max_retry_attempts=1) as (world, net):
        world.fake.fail(error, 9)
        with pytest.raises(VoicePilotError) as refused:
            await world.manager.start_session()
        net.look("exception", refused.value)
        world.fake.heal()
        session = await world.manager.start_session()
        world.fake.fail(error, 9)
        net.look("result", await world.manager.renew_session(session.session_id))
        await asyncio.sleep(700)
        await look_around(net, world.manager)
        world.fake.heal()


async def test_hooks_handlers_and_purges_that_fail() -> None:
    class Hooks(ConversationLifecycleHooks):
        async def on_session_ready(self, session: Any) -> None:
            held = world.manager.credential(session.session_id)
            raise RuntimeError(f"with {held} and {held.key!r} and {session}")

    def raising(event: SessionStarted) -> None:
        raise RuntimeError(f"with {event} and {event.session_info} and {event.diagnostics}")

    async with a_canary_world() as (world, _):
        world.manager.register_conversation_hooks(Hooks())
        world.manager.on_session_started(raising)
        world.purger.error = RuntimeError("disk")
        await world.manager.start_session()
        await world.manager.end_session()


async def test_a_manager_that_is_disposed_in_the_middle() -> None:
    async with a_canary_world() as (world, net):
        session = await world.manager.start_session()
        world.fake.hang()
        renewing = asyncio.ensure_future(world.manager.renew_session(session.session_id))
        await asyncio.sleep(1)
        await world.manager.dispose()
        net.look("result", await renewing)
        await world.manager.end_session()
        world.manager.get_all_sessions = tuple  # type: ignore[method-assign]  # a disposed manager answers nothing


# --- the real key service, against the emulator -----------------------------------------------------------------------

ECHO = f"you sent {CREDENTIAL} and would get {KEY}"
ELSEWHERE = {"Location": f"https://{KEY}.example/"}
MISHAPS: dict[str, Fault | None] = {
    "none": None,
    **{str(status): Fault(place="mint", kind="status", status=status, message=ECHO, code=CREDENTIAL, count=99)
       for status in (400, 401, 403, 404, 429, 500)},
    "redirect": Fault(place="mint", kind="status", status=302, headers=ELSEWHERE, count=99),
    "malformed": Fault(place="mint", kind="malformed", count=99),
    "a body that echoes": Fault(place="mint", kind="status", status=500, body=ECHO, count=99),
    "truncated": Fault(place="mint", kind="truncated", count=99),
    "reset": Fault(place="mint", kind="reset", count=99),
    "hang": Fault(place="mint", kind="hang", count=99),
}  # fmt: skip


@pytest.mark.sockets
@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.parametrize("provider", ["openai", "azure"])
async def test_the_real_key_service(mishap: str, provider: str) -> None:
    net, fault = Net(KEY, CREDENTIAL), MISHAPS[mishap]
    with logs_into(net):
        async with RealtimeEmulator() as emulator:
            profile = (
                OpenAIProfile(base_url=emulator.base_url)
                if provider == "openai"
                else AzureProfile(endpoint=emulator.azure_endpoint)
            )
            if fault:
                emulator.faults.add(fault)
            await a_session_with(
                net, EphemeralKeyService(profile, credential=CREDENTIAL, limits=Limits(total_seconds=0.2))
            )
            found = await examine(lambda: profile, credential=CREDENTIAL, timeout=0.5)
            net.look("doctor", found)
            net.look("emulator record", emulator.record.entries())
            assert emulator.record.entries()
    net.check()


async def a_session_with(net: Net, service: EphemeralKeyService) -> None:
    """Start, renew and end with a real key service, and look at everything."""
    news: list[object] = []
    keys = WatchedKeyService(service)
    config = {"retry_backoff_ms": 1, "max_retry_attempts": 1, "start_timeout_seconds": 1}
    async with service, SessionManager(keys) as manager:
        for on in (service.on_key_renewed, service.on_key_expired, service.on_authentication_error):
            on(news.append)
        recorder = Recorder(manager)
        with instrument(manager, keys):
            try:
                session = await manager.start_session(config)
                net.watch_for(manager.credential(session.session_id).reveal())
                net.look("result", await manager.renew_session(session.session_id))
                net.watch_for(manager.credential(session.session_id).reveal())
            except VoicePilotError as error:
                net.look("exception", error)
            await look_around(net, manager)
            net.look("authentication", await service.test_authentication())
            await manager.end_session()
    net.look("event", *recorder.events)
    net.look("news", news)
    net.look("repr", service, vars(service), service.profile, vars(service._credential))


@pytest.mark.sockets
async def test_a_credential_that_looks_like_nothing_and_is_sent_back() -> None:
    net, plain = Net("hunter-of-whales"), "hunter-of-whales"
    with logs_into(net):
        async with RealtimeEmulator() as emulator:
            emulator.faults.add(Fault(place="mint", kind="status", status=403, message=f"not {plain}", code=plain))
            profile = OpenAIProfile(base_url=emulator.base_url)
            await a_session_with(net, EphemeralKeyService(profile, credential=plain))
    net.check()


@pytest.mark.sockets
async def test_a_doctor_with_a_credential_that_is_refused() -> None:
    net = Net(CREDENTIAL)
    async with RealtimeEmulator(api_keys=frozenset({"sk-another-one-0000"})) as emulator:
        net.look("doctor", await examine(lambda: OpenAIProfile(base_url=emulator.base_url), credential=CREDENTIAL))
        net.look("emulator record", emulator.record.entries())
    net.check()


# --- configuration and the command line -------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG: dict[str, Callable[[], object]] = {
    "another setting": lambda: Settings.load(api_key=CREDENTIAL, max_concurrent_sessions=0),
    "a key where a number belongs": lambda: Settings.load(max_concurrent_sessions=CREDENTIAL),
    "a key as the address": lambda: Settings.load(base_url=f"https://user:{CREDENTIAL}@x.example/v1"),
    "a list of keys": lambda: Settings.load(api_key=[CREDENTIAL]),
    "none": lambda: Settings.load(api_key=CREDENTIAL),
}


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("wrong", WRONG)
def test_settings_and_what_is_said_of_wrong_ones(wrong: str) -> None:
    net = Net(CREDENTIAL)
    try:
        settings = WRONG[wrong]()
        net.look("settings", repr(settings), str(settings))
    except VoicePilotError as error:
        net.look("exception", error)
    net.check()


@pytest.mark.parametrize(
    "text", [f'[provider]\napi_key = "{CREDENTIAL}"\nbogus = 1\n', f'[provider]\napi_key = "{CREDENTIAL}\n',
             f'[provider.api_key]\nvalue = "{CREDENTIAL}"\n'],
)  # fmt: skip
def test_a_file_that_is_wrong(elsewhere: Path, text: str) -> None:
    (elsewhere / "voicepilot.toml").write_text(text)
    with pytest.raises(VoicePilotError) as refused:
        Settings.load()
    net = Net(CREDENTIAL)
    net.look("exception", refused.value)
    net.check()


@pytest.fixture
def a_provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An emulator in a thread of its own, and an environment that leads to it with the canary credential."""
    with running_emulator() as emulator:
        monkeypatch.setenv("OPENAI_API_KEY", CREDENTIAL)
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
        yield emulator.base_url


@pytest.mark.sockets
@pytest.mark.usefixtures("elsewhere", "a_provider")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["doctor"],
        ["doctor", "--json"],
        ["doctor", "--model", CREDENTIAL[:0] + "none"],
        ["emulate", "--port", "-1"],
        ["config", "show"],
        ["config", "show", "--json"],
        ["config", "check"],
    ],
)
def test_the_command_line(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    net = Net(CREDENTIAL)
    with logs_into(net):
        run_app(arguments)
    shown = capfd.readouterr()
    assert shown.out + shown.err
    net.look("output", shown.out, shown.err)
    net.check()
