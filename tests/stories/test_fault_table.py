"""docs/events.md says which fault makes which event. Every row is brought about here, and compared."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.stories.cast import Application, FakeExecutor
from tests.support import World, a_world

from voicepilot import (
    AuthenticationError,
    ConnectionChanged,
    ConnectionPhase,
    ConnectionStatus,
    DegradedChanged,
    EphemeralKey,
    ErrorType,
    Event,
    Fault,
    KeyRequest,
    LimitApproaching,
    MissingCredentialsError,
    ProviderUnavailableError,
    RenewalCompleted,
    RenewalFailed,
    RenewalStarted,
    SessionEnded,
    SessionErrorEvent,
    SessionStarted,
    StateChanged,
    Usage,
    UsageCounted,
    VoicePilotError,
)
from voicepilot.errors import AttemptRefusedError
from voicepilot.testing import FakeKeyService, FakePurger

TEXT = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
DOWN = ProviderUnavailableError("down")
REFUSED = Fault(code="INVALID_KEY", message="the key is refused", remediation="Check the account.", retryable=True)


def documented() -> dict[str, tuple[list[str], list[str]]]:
    """Of each fault: the phases, and the events."""
    table = TEXT.partition("| fault |")[2]
    rows = re.findall(r"^\| (\w+: [^|]+?) \|([^|]*)\|([^|]*)\| [^|]+ \|$", table, re.MULTILINE)
    return {fault: (_listed(phases), _listed(events)) for fault, phases, events in rows}


def _listed(cell: str) -> list[str]:
    return [word.strip() for word in cell.split(",") if word.strip()]


Scene = Callable[[World], Awaitable[None]]


class Tale:
    """How a fault is brought about. `before` is not looked at; `fault` is."""

    def __init__(self, fault: Scene, *, before: Scene | None = None, keys: FakeKeyService | None = None, **config: Any):
        self.before = before
        self.fault = fault
        self.keys = keys
        self.config = config


async def start(world: World) -> None:
    with contextlib.suppress(VoicePilotError):
        await world.manager.start_session()


def current(world: World) -> str:
    session = world.manager.get_current_session()
    assert session is not None
    return session.session_id


async def renew(world: World) -> None:
    await world.manager.renew_session(current(world))


def failing(error: Exception, then: Scene, count: int = 1, after: float = 0) -> Scene:
    async def scene(world: World) -> None:
        world.keys.fail(error, count)
        await then(world)
        await asyncio.sleep(after)

    return scene


def hanging(then: Scene) -> Scene:
    async def scene(world: World) -> None:
        world.keys.hang(100)
        await then(world)

    return scene


def ended_during(then: Scene) -> Scene:
    async def scene(world: World) -> None:
        world.keys.hang()
        running = asyncio.ensure_future(then(world))
        await asyncio.sleep(1)
        await world.manager.end_session()
        await running

    return scene


def waiting(seconds: float) -> Scene:
    async def scene(world: World) -> None:
        await asyncio.sleep(seconds)

    return scene


async def use_tokens(world: World) -> None:
    world.manager.report_usage(current(world), Usage(input_tokens=60, output_tokens=40))
    await asyncio.sleep(0.1)


async def start_and_fall_into_recovery(world: World) -> None:
    await start(world)
    world.keys.fail(DOWN, count=10_000)
    await asyncio.sleep(61)


async def recover(world: World) -> None:
    await asyncio.sleep(30)  # the round under way fails before
    world.keys.heal()
    world.recorder.events.clear()
    await asyncio.sleep(31)


async def lapse(world: World) -> None:
    world.keys.fail(DOWN, count=10_000)
    await asyncio.sleep(70)


async def report_failure(world: World) -> None:
    world.manager.report_connection(current(world), ConnectionStatus.FAILED)


async def report_degraded(world: World) -> None:
    world.manager.report_connection(current(world), ConnectionStatus.DEGRADED)


async def report_refusal(world: World) -> None:
    world.manager.report_key_rejected(current(world), REFUSED)
    await asyncio.sleep(1)


async def refused_by_executor(world: World) -> None:
    executor = FakeExecutor()
    executor.refusal = AttemptRefusedError("open", retry_in=10)
    world.manager.set_recovery_executor(executor)
    renewal = asyncio.ensure_future(renew(world))
    await asyncio.sleep(35)
    executor.refusal = None
    await renewal


async def sleep_past_expiry(world: World) -> None:
    world.clock.suspend(1_000)
    await asyncio.sleep(5.1)


async def jump(world: World) -> None:
    world.clock.set_wall(1e6)
    await asyncio.sleep(20)


class BadHooks(Application):
    async def on_session_suspending(self, session: object, reason: str) -> None:
        raise ValueError("mine")

    async def on_session_resumed(self, session: object) -> None:
        await asyncio.sleep(1e6)


async def renew_with_bad_hooks(world: World) -> None:
    world.manager.register_conversation_hooks(BadHooks())
    await renew(world)


async def renew_with_bad_handlers(world: World) -> None:
    def raises(event: Event) -> None:
        raise ValueError("mine")

    world.manager.on_session_renewed(raises)
    world.manager.on_session_renewed(lambda event: asyncio.sleep(1e6))
    await renew(world)


async def end_with_failing_purge(world: World) -> None:
    world.manager.set_privacy_controller(FakePurger(error=OSError("disk")))
    await world.manager.end_session()


async def end_with_everything_hanging(world: World) -> None:
    world.manager.register_conversation_hooks(Application(ending=1e6))
    world.manager.set_privacy_controller(FakePurger(delay=1e6))
    await world.manager.end_session()


class ConfusedKeys(FakeKeyService):
    async def renew_key(self, request: KeyRequest) -> EphemeralKey:
        key = await super().renew_key(request)
        key.issued_for = "session-of-somebody-else"
        return key


class SilentKeys(FakeKeyService):
    async def end_session(self, session_id: str) -> None:
        await asyncio.sleep(1e6)


Report = tuple[ConnectionPhase, ConnectionStatus, Fault | None]
LIVE: Report = (ConnectionPhase.LIVE, ConnectionStatus.HEALTHY, None)
MOVING: Report = (ConnectionPhase.MOVING, ConnectionStatus.HEALTHY, None)
PUT_OFF: Report = (ConnectionPhase.LIVE, ConnectionStatus.DEGRADED, DOWN.fault)
FALLEN: Report = (ConnectionPhase.CONNECTING, ConnectionStatus.FAILED, DOWN.fault)
LOST: Report = (ConnectionPhase.CLOSED, ConnectionStatus.FAILED, DOWN.fault)


def reporting(*reports: Report) -> Scene:
    """What a managed connection reports."""

    async def scene(world: World) -> None:
        for report in reports:
            world.link(current(world)).report(*report)

    return scene


async def start_and_connect(world: World) -> None:
    await start(world)
    await reporting(LIVE)(world)


async def end(world: World) -> None:
    await world.manager.end_session()


SHORT: dict[str, Any] = {"key_life_seconds": 60}
ALONE: dict[str, Any] = {"enable_inactivity_timeout": False}
TALES = {
    "start: no slot is free": Tale(start, limit=0),
    "start: an attempt fails, the next works": Tale(failing(DOWN, start)),
    "start: the credential is refused or missing": Tale(failing(MissingCredentialsError("none"), start)),
    "start: the provider is down for longer than a start may take": Tale(failing(DOWN, start, 100)),
    "start: the provider never answers": Tale(hanging(start)),
    "start: the session is ended meanwhile": Tale(ended_during(start)),
    "renewal: an attempt fails, the next works": Tale(failing(DOWN, renew), before=start),
    "renewal: a whole round fails": Tale(failing(DOWN, renew, 4), before=start),
    "renewal: the key service raises something unexpected": Tale(
        failing(ZeroDivisionError(), renew), before=start, max_retry_attempts=0
    ),
    "renewal: the recovery executor refuses attempts, then lets one through": Tale(refused_by_executor, before=start),
    "renewal: the key lapses without a next one": Tale(lapse, before=start, max_retry_attempts=100, **SHORT, **ALONE),
    "renewal: a recovering session gets a key": Tale(
        recover, before=start_and_fall_into_recovery, max_retry_attempts=0, **SHORT, **ALONE
    ),
    "renewal: the credential is refused or missing": Tale(
        failing(AuthenticationError("401"), renew, after=3), before=start
    ),
    "renewal: the credential is refused while a managed connection is open": Tale(
        failing(AuthenticationError("401"), renew), before=start_and_connect
    ),
    "renewal: the key is another session's": Tale(failing(DOWN, renew, after=3), before=start, keys=ConfusedKeys()),
    "renewal: the session is ended meanwhile": Tale(ended_during(renew), before=start),
    "transport: the connection failed": Tale(report_failure, before=start),
    "transport: the connection is degraded": Tale(report_degraded, before=start),
    "transport: the provider refused the key": Tale(report_refusal, before=start),
    "connection: it moves to the next in time": Tale(reporting(MOVING, LIVE), before=start_and_connect),
    "connection: the next one cannot be had in time": Tale(reporting(MOVING, PUT_OFF), before=start_and_connect),
    "connection: it falls and comes back": Tale(reporting(FALLEN, LIVE), before=start_and_connect),
    "connection: it falls and is given up": Tale(reporting(FALLEN, LOST), before=start_and_connect),
    "connection: the session is ended while it is open": Tale(end, before=start_and_connect),
    "time: nobody was active for too long": Tale(waiting(301), before=start),
    "time: nobody was active while recovering": Tale(
        waiting(20), before=start_and_fall_into_recovery, inactivity_timeout_minutes=1.1, max_retry_attempts=9, **SHORT
    ),
    "time: the machine slept past the key's expiry": Tale(sleep_past_expiry, before=start, **ALONE),
    "time: the wall clock jumps": Tale(jump, before=start),
    "limit: the session has lasted as long as it may": Tale(waiting(61), before=start, max_duration_seconds=60),
    "limit: tokens or audio are used up": Tale(use_tokens, before=start, max_total_tokens=100),
    "application: a hook raises or hangs": Tale(renew_with_bad_hooks, before=start),
    "application: a handler raises or hangs": Tale(renew_with_bad_handlers, before=start),
    "end: the purge fails": Tale(end_with_failing_purge, before=start),
    "end: hook, provider and purge hang": Tale(end_with_everything_hanging, before=start, keys=SilentKeys()),
}


def test_every_fault_of_the_table_is_brought_about_and_no_other() -> None:
    assert list(documented()) == list(TALES)


@pytest.mark.seed("ARC-003", "IMP-003", "TRB-renewal-failure", "Telling-9")
@pytest.mark.parametrize("fault", TALES)
async def test_a_fault_makes_the_phases_and_events_that_the_table_says(fault: str) -> None:
    tale = TALES[fault]
    async with a_world(keys=tale.keys, **tale.config) as world:
        if tale.before:
            await tale.before(world)
            world.recorder.events.clear()
        await tale.fault(world)
        phases: list[str] = []
        for event in world.recorder.events:
            if isinstance(event, StateChanged):
                phases += [event.new_state] if phases else [event.previous_state, event.new_state]
        left_out = {"state-changed", "degraded-changed"}
        events = [event.type for event in world.recorder.events if event.type not in left_out]
        assert (phases, events) == documented()[fault]
        for event in world.recorder.events:
            if isinstance(event, SessionErrorEvent):
                assert event.error.remediation
                assert event.error.at == event.at


def test_the_page_lists_every_event_and_its_fields() -> None:
    common = {"session_id", "session_info", "at", "timestamp", "diagnostics", "session", "type"}
    listed: dict[str, set[str]] = {}
    for _, types, fields in re.findall(r"^\| `(on_\w+)` \| ([^|]+) \|([^|]*)\|$", TEXT, re.MULTILINE):
        for kind in re.findall(r"`([\w-]+)`", types):
            listed[kind] = set(re.findall(r"`(\w+)`", fields))
    classes = (
        SessionStarted,
        SessionEnded,
        RenewalStarted,
        RenewalCompleted,
        RenewalFailed,
        StateChanged,
        DegradedChanged,
        ConnectionChanged,
        UsageCounted,
        LimitApproaching,
    )
    actual = {cls.type: {name for name in dir(cls) if not name.startswith("_")} - common for cls in classes}
    errors = {name for name in dir(SessionErrorEvent) if not name.startswith("_")} - common
    assert listed == actual | {kind.value: errors for kind in ErrorType}
