"""A model of the manager: whatever happens in whatever order, its promises hold.

Each example runs in virtual time: the machine drives one event loop step by step, and checks after every step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.runtime.test_cancellation import CountingVault
from tests.support import World

from voicepilot import (
    AuthenticationError,
    ConnectionStatus,
    ConversationLifecycleHooks,
    EphemeralKey,
    Event,
    KeyRequest,
    LimitApproaching,
    NetworkError,
    NotInitializedError,
    Phase,
    ProviderUnavailableError,
    RateLimitError,
    SessionError,
    SessionErrorEvent,
    SessionStarted,
    StateChanged,
    Usage,
)
from voicepilot.lifecycle.phases import RUNNING
from voicepilot.runtime.managed import SessionLink
from voicepilot.testing import FakeKeyService, VirtualTimeLoop

LIMIT = 4
END_LIMIT = 2.0
OVER = {Phase.ENDED, Phase.FAILED}


class Moody(FakeKeyService):
    """Answers late, swallows cancellation, or raises, as it was told last."""

    mood = "good"

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        mood = self.mood
        if mood == "slow":
            await asyncio.sleep(3)
        if mood == "deaf":  # late, and whoever cancels it
            end = asyncio.get_running_loop().time() + 15
            while (left := end - asyncio.get_running_loop().time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)
        if mood in ERRORS:
            raise ERRORS[mood]
        return await super()._answer(request, renewal=renewal)


ERRORS: dict[str, BaseException] = {
    "network": NetworkError("down"),
    "unavailable": ProviderUnavailableError("503"),
    "limited": RateLimitError("429", retry_after=7),
    "refused": AuthenticationError("401"),
    "buggy": RuntimeError("bug"),
    "cancelled": asyncio.CancelledError("their own"),
}
MOODS = ["good", "good", "slow", "deaf", *ERRORS]
HOOKS = ["on_session_ready", "on_session_suspending", "on_session_resumed", "on_session_ending"]


class Life(RuleBasedStateMachine):
    """Random calls, faults, waits and suspensions; the invariants are the promises."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.keys = Moody()
        self.world = World(keys=self.keys, limit=LIMIT, key_life_seconds=60, inactivity_timeout_minutes=1)
        self.manager = self.world.manager
        self.vault = self.world.performer.vault = CountingVault()
        self.calls: list[asyncio.Task[Any]] = []
        self.ids: list[str] = []
        self.ending: dict[str, float] = {}  # when a session was asked to end, on the loop's clock
        self.spoken: dict[str, list[float]] = {}  # the activity we caused
        self.attached: Counter[str] = Counter()  # connections that were not closed yet
        self.dialled: set[str] = set()  # the keys that dials were given
        self.disposed = False
        self.run(self.manager.initialize())
        self.manager.on_session_state_changed(self._note)
        self.manager.on_session_started(self._fail)
        self.manager.on_session_renewed(self._fail_late)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def _note(self, event: StateChanged) -> None:
        if event.session_id not in self.ids:
            self.ids.append(event.session_id)
        if event.new_state is Phase.ENDING:
            self.ending[event.session_id] = asyncio.get_running_loop().time()
        if event.new_state in OVER and event.session_id in self.ending:
            took = asyncio.get_running_loop().time() - self.ending.pop(event.session_id)
            assert took <= END_LIMIT, f"an end took {took} s"

    def _fail(self, _: Event) -> None:
        raise ValueError("a handler's bug")

    async def _fail_late(self, _: Event) -> None:
        await asyncio.sleep(0.5)
        raise ValueError("a handler's bug")

    async def _call(self, work: Coroutine[Any, Any, Any]) -> None:
        async def caught() -> None:
            with contextlib.suppress(SessionError, NotInitializedError):
                await work

        self.calls.append(asyncio.create_task(caught()))
        await asyncio.sleep(0)

    def pick(self, n: int) -> str:
        return self.ids[n % len(self.ids)] if self.ids else "session-unknown"

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(mood=st.sampled_from(MOODS))
    def mood(self, mood: str) -> None:
        self.keys.mood = mood

    @rule(name=st.sampled_from(HOOKS), kind=st.sampled_from(["quick", "slow", "hangs", "deaf", "raises", "none"]))
    def hooks(self, name: str, kind: str) -> None:
        async def hook(*_: object) -> None:
            if kind == "raises":
                raise ValueError("a hook's bug")
            end = asyncio.get_running_loop().time() + {"quick": 0.0, "slow": 0.6, "deaf": 9.0}.get(kind, 1_000.0)
            while (left := end - asyncio.get_running_loop().time()) > 0:
                try:
                    await asyncio.sleep(left)
                except asyncio.CancelledError:
                    if kind != "deaf":
                        raise

        hooks: dict[str, Any] = {} if kind == "none" else {name: hook}
        self.manager.register_conversation_hooks(ConversationLifecycleHooks(**hooks))

    @rule(purge=st.sampled_from([0.0, 0.2, 30.0]))
    def purger(self, purge: float) -> None:
        self.world.purger.delay = purge

    @rule()
    def start(self) -> None:
        self.run(self._call(self.manager.start_session()))

    @rule(n=st.integers(0, 50))
    def end(self, n: int) -> None:
        self.run(self._call(self.manager.end_session(self.pick(n))))

    @rule()
    def end_current(self) -> None:
        self.run(self._call(self.manager.end_session()))

    @rule(n=st.integers(0, 50))
    def renew(self, n: int) -> None:
        self.run(self._call(self.manager.renew_session(self.pick(n))))

    @rule(n=st.integers(0, 50), resume=st.booleans())
    def pause(self, n: int, resume: bool) -> None:
        call = self.manager.resume_session if resume else self.manager.pause_session
        self.run(self._call(call(self.pick(n))))

    @rule(n=st.integers(0, 50), margin=st.integers(0, 100), beat=st.booleans(), life=st.sampled_from([10, 60, 600]))
    def update(self, n: int, margin: int, beat: bool, life: int) -> None:
        changes = {"renewal_margin_seconds": margin, "enable_heartbeat": beat, "key_life_seconds": life}
        self.run(self._call(self.manager.update_session_config(self.pick(n), changes)))

    @rule(n=st.integers(0, 50))
    def speak(self, n: int) -> None:
        async def speak() -> None:
            self.manager.reset_inactivity_timer(self.pick(n))
            self.spoken.setdefault(self.pick(n), [0.0]).append(self.world.clock.now())

        self.run(speak())

    @rule(n=st.integers(0, 50), status=st.sampled_from(ConnectionStatus))
    def report(self, n: int, status: ConnectionStatus) -> None:
        async def report() -> None:
            with contextlib.suppress(SessionError, NotInitializedError):
                self.manager.report_connection(self.pick(n), status)

        self.run(report())

    @rule(
        n=st.integers(0, 50),
        duration=st.sampled_from([None, 1, 30, 100]),
        tokens=st.sampled_from([None, 100, 10_000]),
        fraction=st.sampled_from([0.5, 1]),
    )
    def leash(self, n: int, duration: float | None, tokens: int | None, fraction: float) -> None:
        changes = {"max_duration_seconds": duration, "max_total_tokens": tokens, "limit_warning_fraction": fraction}
        self.run(self._call(self.manager.update_session_config(self.pick(n), changes)))

    @rule(n=st.integers(0, 50), tokens=st.sampled_from([1, 60, 20_000]))
    def use(self, n: int, tokens: int) -> None:
        async def use() -> None:
            with contextlib.suppress(SessionError, NotInitializedError):
                self.manager.report_usage(self.pick(n), Usage(input_tokens=tokens))

        self.run(use())

    @rule(n=st.integers(0, 50), kind=st.sampled_from(["quick", "hangs", "deaf", "raises"]))
    def connect(self, n: int, kind: str) -> None:
        """Attach what a conversation attaches, and count that it is closed once and never after."""
        entry = self.world.performer.registry.get(self.pick(n))
        if entry is None or entry.attached is not None or entry.session.phase not in RUNNING:
            return
        session_id = entry.session.session_id

        async def close(_: str) -> None:
            self.attached[session_id] -= 1
            end = asyncio.get_running_loop().time() + {"quick": 0.0, "raises": 0.0}.get(kind, 9.0)
            while (left := end - asyncio.get_running_loop().time()) > 0:
                try:
                    await asyncio.sleep(left)
                except asyncio.CancelledError:
                    if kind != "deaf":
                        raise
            if kind == "raises":
                raise OSError("a connection's bug")

        self.attached[session_id] += 1
        self.world.link(session_id).attach(close)

    @rule(n=st.integers(0, 50))
    def dial(self, n: int) -> None:
        if self.world.performer.registry.get(self.pick(n)) is not None:
            self.run(self._call(self._dial(self.world.link(self.pick(n)))))

    async def _dial(self, link: SessionLink) -> None:
        key = await link.fresh_credential()
        assert key.reveal() not in self.dialled
        assert key.expires_at > link.now()
        self.dialled.add(key.reveal())

    @rule(n=st.integers(0, 50))
    def cancel(self, n: int) -> None:
        async def cancel() -> None:
            if pending := [call for call in self.calls if not call.done()]:
                pending[n % len(pending)].cancel()
            await asyncio.sleep(0)

        self.run(cancel())

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.7, 2.0, 11.0, 29.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(seconds=st.sampled_from([1.0, 40.0, 4_000.0]), wall=st.booleans())
    def sleep(self, seconds: float, wall: bool) -> None:
        if wall:
            self.world.clock.set_wall(seconds)
        else:
            self.world.clock.suspend(seconds)
        self.run(asyncio.sleep(0))

    @precondition(lambda self: len(self.calls) > 5)
    @rule()
    def dispose(self) -> None:
        self.disposed = True
        self.run(self._call(self.manager.dispose()))

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def slots_are_the_live_sessions(self) -> None:
        registry = self.world.performer.registry
        assert registry.slots == len(registry.live()) <= LIMIT

    @invariant()
    def keys_are_held_by_live_sessions_only(self) -> None:
        held = {
            (entry.session.session_id, lease.ticket)
            for entry in self.world.performer.registry.live()
            for lease in (entry.session.key, entry.session.round and entry.session.round.incoming)
            if lease
        }
        assert {key for key, count in (self.vault.taken - self.vault.released).items() if count} == held
        assert max(self.vault.taken.values(), default=1) == 1
        assert self.vault.released - self.vault.taken == Counter()

    @invariant()
    def every_session_tells_its_life_in_order(self) -> None:
        lives: dict[str, list[Event]] = {}
        for event in self.world.recorder.events:
            lives.setdefault(event.session_id, []).append(event)
        for events in lives.values():
            phase = Phase.IDLE
            told = Counter(event.type for event in events)
            for event in events:
                if isinstance(event, StateChanged):
                    assert event.previous_state is phase is not event.new_state
                    phase = event.new_state
                    assert event.session.phase is phase
            assert told["session-started"] <= 1
            assert told["session-ended"] == (told["session-started"] if phase in OVER else 0)
            assert "session-ended" not in [event.type for event in events[:-1]]

    @invariant()
    def inactivity_is_never_early(self) -> None:
        began = {e.session_id: e.at for e in self.world.recorder.events if isinstance(e, SessionStarted)}
        for event in self.world.recorder.events:
            if not isinstance(event, SessionErrorEvent) or event.error.code != "INACTIVITY_TIMEOUT":
                continue
            spoken = [at for at in self.spoken.get(event.session_id, [0.0]) if at <= event.at]
            last = max(began[event.session_id], *spoken)
            assert event.at - last >= 60 - 1e-3

    @invariant()
    def no_session_outlives_its_duration(self) -> None:
        for entry in self.world.performer.registry.live():
            session = entry.session
            most = session.config.max_duration_seconds
            if session.phase in RUNNING and session.started_at is not None and most is not None:
                assert session.limit_at is not None
                assert session.limit_at <= session.started_at + most
                assert entry.wake is not None
                assert entry.wake <= session.limit_at

    @invariant()
    def a_limit_that_was_reached_was_told_before(self) -> None:
        told: set[str] = set()
        for event in self.world.recorder.events:
            if isinstance(event, LimitApproaching):
                told.add(event.session_id)
                assert event.used >= event.allowed / 2 - 1e-6
            elif isinstance(event, SessionErrorEvent) and event.error.code == "LIMIT_REACHED":
                assert event.session_id in told

    @invariant()
    def a_connection_is_closed_once_with_its_session(self) -> None:
        live = {entry.session.session_id for entry in self.world.performer.registry.live()}
        for session_id, count in self.attached.items():
            assert 0 <= count <= (1 if session_id in live else 0)

    def teardown(self) -> None:
        async def finish() -> None:
            self.keys.mood = "good"
            began = asyncio.get_running_loop().time()
            await self.manager.dispose()
            assert asyncio.get_running_loop().time() - began <= 6
            await asyncio.sleep(60)  # what swallowed its cancellation comes to its end
            await asyncio.wait({asyncio.ensure_future(asyncio.sleep(0)), *self.calls})

        try:
            self.run(finish())
            self.every_session_tells_its_life_in_order()
            assert self.vault.taken == self.vault.released
            assert not +self.attached
            assert len(self.vault) == 0

            async def leftovers() -> list[str]:
                return self.world.leftovers()

            assert self.run(leftovers()) == []
        finally:
            self.runner.close()


TestLife = pytest.mark.slow(Life.TestCase)
TestLife.settings = settings(
    max_examples=int(os.environ.get("VOICEPILOT_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
