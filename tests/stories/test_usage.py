"""The requirement's two usage examples in Python, its table of options, and the rest of its advice."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from pathlib import Path
from typing import Never

import pytest
from tests.stories.cast import FakeExecutor, Stamps
from tests.support import a_world

from voicepilot import (
    ConfigurationError,
    ConfigurationManager,
    EphemeralKeyService,
    Phase,
    ProviderUnavailableError,
    SessionConfig,
    SessionErrorEvent,
    SessionInfo,
    SessionLimitError,
    SessionManager,
    SessionTimerManager,
    StateChanged,
)
from voicepilot.emulator import running_emulator
from voicepilot.runtime.registry import Registry
from voicepilot.testing import FakeKeyService, FakePurger, VirtualClock

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.sockets
@pytest.mark.seed("EXA-basic", "OVR-003", "ARC-002", "USE-001")
async def test_the_basic_example_with_the_real_collaborators() -> None:
    with running_emulator() as provider:
        configuration = ConfigurationManager(base_url=provider.base_url, api_key="sk-test", model="gpt-realtime")
        key_service = EphemeralKeyService(configuration.provider)
        timer_manager = SessionTimerManager()
        session_manager = SessionManager(key_service, timer_manager, configuration)

        await key_service.initialize()
        await configuration.initialize()
        await session_manager.initialize()

        shown: list[tuple[str, Phase, Phase]] = []

        def update_presence(event: StateChanged) -> None:
            shown.append((event.session_id, event.new_state, event.diagnostics.state))

        session_manager.on_session_state_changed(update_presence)

        session = await session_manager.start_session()
        assert session_manager.credential(session.session_id).reveal().startswith("ek_")
        await session_manager.end_session(session.session_id)

        states = (Phase.STARTING, Phase.ACTIVE, Phase.ENDING, Phase.ENDED)
        assert shown == [(session.session_id, state, state) for state in states]
        await session_manager.dispose()
        await key_service.dispose()


@pytest.mark.seed("EXA-advanced", "USE-003", "HOOK-onSessionSuspending", "HOOK-onSessionResumed", "QUA-005")
async def test_the_advanced_example() -> None:
    world: list[str] = []

    class Conversation:
        async def on_session_ready(self, session: SessionInfo) -> None:
            world.append("audio starts")

        async def on_session_suspending(self, session: SessionInfo, reason: str) -> None:
            world.append(f"audio pauses; renewing ({reason})")

        async def on_session_resumed(self, session: SessionInfo) -> None:
            world.append("audio resumes")

        async def on_session_ending(self, session: SessionInfo) -> None:
            world.append("audio stops, transcript flushed")

    async def present(event: SessionErrorEvent) -> None:
        world.append(f"{event.error.message}: {event.error.remediation}")

    keys = FakeKeyService(latency=0.2)
    async with SessionManager(keys, clock=VirtualClock()) as session_manager:
        session_manager.set_recovery_executor(FakeExecutor(), "default plan")
        session_manager.set_privacy_controller(FakePurger())
        hooks = session_manager.register_conversation_hooks(Conversation())
        errors = session_manager.on_session_error(present)
        custom_config = {
            "enable_heartbeat": True,
            "heartbeat_interval_seconds": 15,
            "enable_inactivity_timeout": True,
            "inactivity_timeout_minutes": 10,
            "renewal_margin_seconds": 20,
            "max_retry_attempts": 5,
            "retry_backoff_ms": 1500,
        }
        session = await session_manager.start_session(custom_config)
        renewal = await session_manager.renew_session(session.session_id)
        assert renewal.success
        assert renewal.latency_ms == pytest.approx(200)
        keys.fail(ProviderUnavailableError("down"), count=6)
        renewal = await session_manager.renew_session(session.session_id)
        assert renewal.error is not None
        assert (renewal.success, renewal.attempts, renewal.error.code) == (False, 6, "RENEWAL_FAILED")
        await session_manager.end_session()
        hooks.dispose()
        errors.dispose()
    assert world == [
        "audio starts",
        "audio pauses; renewing (manual-renewal)",
        "audio resumes",
        f"Failed to renew session credentials: down: {ProviderUnavailableError.remediation}",
        "audio stops, transcript flushed",
    ]


@pytest.mark.seed(
    *("OPT-renewalMarginSeconds", "OPT-inactivityTimeoutMinutes", "OPT-heartbeatIntervalSeconds"),
    *("OPT-maxRetryAttempts", "OPT-retryBackoffMs", "OPT-enableHeartbeat", "OPT-enableInactivityTimeout", "QUA-004"),
)
@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("renewal_margin_seconds", 10),
        ("inactivity_timeout_minutes", 5),
        ("heartbeat_interval_seconds", 30),
        ("max_retry_attempts", 3),
        ("retry_backoff_ms", 1000),
        ("enable_heartbeat", True),
        ("enable_inactivity_timeout", True),
    ],
)
async def test_every_option_has_the_requirements_default_from_wherever_it_comes(option: str, default: object) -> None:
    async with a_world() as world:
        session = await world.manager.start_session()
        assert getattr(session.config, option) == default
    assert getattr(SessionConfig(), option) == default
    assert getattr(ConfigurationManager(api_key="sk-test").session_config(), option) == default


@pytest.mark.seed("ARC-002", "QUA-002")
async def test_the_configuration_gives_the_limit_and_the_defaults_of_new_sessions() -> None:
    configuration = ConfigurationManager(api_key="sk-test", max_concurrent_sessions=1, heartbeat_interval_seconds=7)
    await configuration.initialize()
    async with SessionManager(FakeKeyService(), configuration=configuration, clock=VirtualClock()) as manager:
        session = await manager.start_session({"retry_backoff_ms": 2})
        assert session.config == SessionConfig(heartbeat_interval_seconds=7, retry_backoff_ms=2)
        with pytest.raises(Exception, match="1 sessions are live already"):
            await manager.start_session()


@pytest.mark.seed("QUA-004")
def test_a_misspelt_option_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match="did you mean max_retry_attempts"):
        SessionConfig().changed({"max_retry_attempt": 1})


@pytest.mark.seed("USE-002", "ARC-001")
async def test_what_was_subscribed_and_disposed_is_not_kept_alive() -> None:
    class Heavy:
        def heard(self, event: object) -> None: ...

        def on_session_ready(self, session: SessionInfo) -> None: ...

    async with a_world() as world:
        heavy = Heavy()
        gone = weakref.ref(heavy)
        handles = [
            world.manager.on_session_started(heavy.heard),
            world.manager.on_session_ended(heavy.heard),
            world.manager.on_session_renewed(heavy.heard),
            world.manager.on_session_error(heavy.heard),
            world.manager.on_session_state_changed(heavy.heard),
            world.manager.register_conversation_hooks(heavy),
        ]
        for handle in handles:
            handle.dispose()
        del heavy
        gc.collect()
        assert gone() is None


@pytest.mark.seed("QUA-002", "IMP-002")
async def test_an_idle_session_owns_no_task_and_one_timer_serves_all() -> None:
    async with a_world(enable_inactivity_timeout=False) as world:
        before = len(asyncio.all_tasks())
        for _ in range(50):
            await world.manager.start_session()
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) == before
        stamps = Stamps(world)
        await asyncio.sleep(600)
        assert len(stamps.of("renewal-completed")) == 50


@pytest.mark.seed("ARC-004")
@pytest.mark.parametrize("flow", ["renewal", "recovery", "end"])
def test_the_guide_has_a_sequence_diagram_of_each_flow(flow: str) -> None:
    guide = (DOCS / "sessions.md").read_text()
    titles = re.findall(r"### (?:A|An) (\w+)[^\n]*\n\n```mermaid\nsequenceDiagram\n", guide)
    assert flow in titles


@pytest.mark.seed("ARC-005", "ARC-002")
def test_the_guide_draws_every_collaborator() -> None:
    guide = (DOCS / "sessions.md").read_text()
    (graph,) = re.findall(r"```mermaid\ngraph TD\n(.*?)```", guide, re.DOTALL)
    for part in ("SessionManager", "SessionTimerManager", "ConversationLifecycleHooks", "EphemeralKeyService"):
        assert part in graph
    for part in ("ConfigurationManager", "PrivacyController", "RecoveryExecutor", "Host", "logger", "Realtime API"):
        assert part in graph


@pytest.mark.seed("OVR-002")
def test_the_core_knows_no_audio_and_no_user_interface() -> None:
    source = Path(__file__).parents[2] / "src" / "voicepilot"
    for package in ("lifecycle", "runtime"):
        for module in (source / package).glob("*.py"):
            imports = re.findall(r"^(?:from|import) ([\w.]+)", module.read_text(), re.MULTILINE)
            assert not [
                name for name in imports if name.split(".")[0] in {"wave", "audioop", "tkinter", "vscode", "rich"}
            ]


@pytest.mark.seed("QUA-002", "API-getCurrentSession", "Start-1")
async def test_neither_the_current_session_nor_the_limit_is_found_by_looking_at_every_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scanned(_: Registry) -> Never:
        raise AssertionError("every session was looked at")

    async with a_world(limit=1_000) as world:
        for _ in range(999):
            await world.manager.start_session()
        with monkeypatch.context() as patched:
            patched.setattr(Registry, "__iter__", scanned)
            patched.setattr(Registry, "live", scanned)
            last = await world.manager.start_session()
            assert world.manager.get_current_session() == last
            assert world.manager.is_session_active()
            with pytest.raises(SessionLimitError):
                await world.manager.start_session()
            await world.manager.end_session()
