"""A world: the real manager, key service and recovery executor in virtual time, with everything around them simulated.

    outcome = simulate(Plan(scenario=scenario_named("calm-day"), sessions=20, hours=1, seed=7))

The same plan gives the same outcome, to the last event, on every run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from voicepilot.credentials import ApiKey, EphemeralKeyService, Limits, OpenAIProfile
from voicepilot.errors import VoicePilotError
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.phases import Phase
from voicepilot.recovery import (
    AttemptFailed,
    AttemptRefused,
    CircuitMoved,
    OperationOver,
    RecoveryExecutor,
    RecoveryRegistrar,
)
from voicepilot.runtime.manager import SessionManager
from voicepilot.sim.application import Application, Hooks, SimulatedBug, SimulatedPurger, handler
from voicepilot.sim.crowd import Crowd
from voicepilot.sim.excuses import Disturbances
from voicepilot.sim.faults import Manners, Spell, drawn
from voicepilot.sim.history import History
from voicepilot.sim.invariants import Broken, Judge
from voicepilot.sim.look import Inspector
from voicepilot.sim.machine import Machine
from voicepilot.sim.provider import Asked, SimulatedProvider
from voicepilot.sim.scenarios import Scenario
from voicepilot.sim.setup import Setup
from voicepilot.sim.storms import CROWD, Storms, highest
from voicepilot.sim.surprises import logger_for
from voicepilot.sim.watch import Watch
from voicepilot.testing.virtual import EPOCH, VirtualClock, VirtualTimeLoop

LOOK = 120.0
"""Seconds between two looks at everything."""

STEPS = 200
"""Reports of progress."""

DISPOSE_LIMIT = 6.0
AFTERMATH = 120.0
"""Seconds after dispose in which what ignores its cancellation comes to its end."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate."""

    scenario: Scenario
    sessions: int = 50
    hours: float = 2.0
    seed: int = 1
    setup: Setup = Setup()
    most_broken: int = 10  # the world stops when so many invariants were found broken

    @property
    def seconds(self) -> float:
        """How long the world lasts."""
        return self.hours * 3_600


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    plan: Plan
    history: History
    spells: tuple[Spell, ...]
    broken: tuple[Broken, ...]

    @property
    def digest(self) -> str:
        """Stands for every event and request, in order."""
        return self.history.digest


Progress = Callable[[float], None]
"""Hears which part of the world's time has passed, from 0 to 1."""


def simulate(plan: Plan, progress: Progress = lambda _: None) -> Outcome:
    """Run a world to its end."""
    plan = _with_story(plan)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(World(plan, progress).run())


def _with_story(plan: Plan) -> Plan:
    """The plan with what belongs to the scenario: options, and how many keys are asked for at once."""
    setup, story = plan.setup, plan.scenario
    default = SessionConfig()
    changes = {  # what the user has set himself stays
        name: value for name, value in story.config.items() if getattr(setup.config, name) == getattr(default, name)
    }
    setup = msgspec.structs.replace(
        setup,
        config=setup.config.changed(changes),
        concurrent_mints=max(setup.concurrent_mints, story.concurrent_mints or 0),
    )
    return msgspec.structs.replace(plan, setup=setup)


class _Slots:
    """The configuration of the simulated manager."""

    def __init__(self, limit: int, config: SessionConfig) -> None:
        self.max_concurrent_sessions = limit
        self._config = config

    def session_config(self) -> SessionConfig:
        """The options of the plan."""
        return self._config


class World:
    """One run. Make it inside a running loop of virtual time."""

    def __init__(self, plan: Plan, progress: Progress = lambda _: None) -> None:
        self.plan = plan
        self._progress = progress
        self.clock = VirtualClock()
        self.spells = drawn(plan.scenario.troubles, plan.seconds, plan.seed)
        self.wrong = Disturbances(self.spells)
        self.history = History(plan.seconds)
        self.judge = Judge(self.now, plan.most_broken)
        self.provider = SimulatedProvider(self.spells, plan.scenario.latency, plan.seed, self.clock)
        self.watch = Watch(plan.setup, self.history, self.judge, self.provider, self.wrong)
        self.logger = logger_for(self.judge)
        self.storms = Storms(self.wrong.runs)
        self.provider.heard = self._asked

    def now(self) -> float:
        """Seconds since the world began, those included in which the machine slept."""
        return self.clock.now() - EPOCH

    # --- putting it together ----------------------------------------------------------------------------------------

    def _build(self) -> None:
        plan, story = self.plan, self.plan.scenario
        setup = plan.setup
        self.application = Application(plan.seed, self._call_back)
        self.purger = SimulatedPurger(self.application, story.purger)
        self.executor = RecoveryExecutor(
            policies=setup.policies, breaker=setup.breaker, clock=self.clock, logger=self.logger
        )
        self.service = EphemeralKeyService(
            OpenAIProfile(base_url="https://simulated.example/v1"),
            credential=ApiKey("sk-simulated"),
            clock=self.clock,
            logger=self.logger,
            limits=Limits(concurrent_mints=setup.concurrent_mints),
            transport=lambda: self.provider,
        )
        self.manager = SessionManager(
            self.service,
            configuration=_Slots(plan.sessions * 2 + 10, setup.config),
            logger=self.logger,
            privacy_controller=self.purger,
            recovery_executor=self.executor,
            clock=self.clock,
            owned=(self.service, self.executor),
            new_session_id=lambda: self.crowd.naming,
        )
        self.inspector = Inspector(self.manager, self.service, self.judge, self.wrong)
        self._listen()
        self._plan_recovery()

    def _listen(self) -> None:
        manager, watch, story = self.manager, self.watch, self.plan.scenario
        watch.reveal = self._reveal
        listening: tuple[Callable[[Callable[[Any], Any]], object], ...] = (
            manager.on_session_started,
            manager.on_session_ended,
            manager.on_session_renewed,
            manager.on_session_error,
            manager.on_session_state_changed,
            manager.on_session_degraded,
            manager.on_limit_approaching,
        )
        for listen in listening:
            listen(self._heard)
            if story.handlers is not None:
                listen(handler(self.application, story.handlers))
        self.executor.subscribe(AttemptFailed, watch.attempt_failed)
        self.executor.subscribe(AttemptRefused, watch.attempt_refused)
        self.executor.subscribe(OperationOver, watch.operation_over)
        self.executor.subscribe(CircuitMoved, self._moved)
        if story.hooks is not None:
            manager.register_conversation_hooks(Hooks(self.application, story.hooks))

    def _plan_recovery(self) -> None:
        registrar = RecoveryRegistrar(self.logger)
        self.manager.register_recovery_actions(registrar)
        steps: tuple[str, ...] = ()
        if self.plan.scenario.plan is not None:
            registrar.add_step("SIMULATED", self._step, limit=3.0)
            steps = ("SIMULATED",)
        self.manager.set_recovery_executor(self.executor, registrar.plan(*steps, fallback="degraded-features"))

    async def _step(self, session_id: str) -> bool:
        """A recovery step; while it runs the session's inactivity stands still."""
        account = self.watch.accounts.get(session_id)
        if account is not None:
            account.hold(self.now())
        try:
            await self.application.behave("plan", session_id, self.plan.scenario.plan or Manners())
            return True
        finally:
            if account is not None:
                account.let_go(self.now())

    def _moved(self, news: CircuitMoved) -> None:
        self.history.counts[f"circuit {news.now.value}"] += 1
        self.storms.moved(self.now(), news)

    def _asked(self, asked: Asked) -> None:
        self.history.asked(asked)
        self.storms.asked(asked)
        self.watch.asked(asked)

    async def _call_back(self, session_id: str, chance: float) -> None:
        await self.crowd.call_back(session_id, chance)

    def _reveal(self, session_id: str) -> str:
        with suppress(VoicePilotError):
            return self.manager.credential(session_id).reveal()
        return ""

    def _heard(self, event: Any) -> None:  # Any: every kind of event
        self.watch.heard(event)
        if event.type == "session-started":
            self.purger.held.add(event.session_id)
        elif event.type == "session-ended":
            self.history.ends[event.reason] += 1
            self._purged(event.session_id, event.receipt.complete)
        if event.type == "state-changed" and event.new_state in {Phase.ENDED, Phase.FAILED}:
            asyncio.get_running_loop().call_soon(self._over, event.session_id)

    def _purged(self, session_id: str, complete: bool) -> None:
        spoiled, asked = session_id in self.purger.spoiled, self.purger.asked[session_id]
        gone = session_id not in self.purger.held
        fits = asked >= 1 and (spoiled or (gone and complete))
        self.judge.must(
            "purge-complete", fits, session_id, f"purged {asked} times, data {'gone' if gone else 'left'}: {complete}"
        )

    def _over(self, session_id: str) -> None:
        account = self.watch.accounts.get(session_id)
        if account is not None and account.started_at is not None:
            self.judge.must("life-in-order", account.ended, session_id, "it is over, and session-ended was not told")
            self.history.live_seconds += self._awake(account.started_at, account.leaving_at or self.now())
        self.watch.closed(session_id)
        self.purger.forget(session_id)
        self.application.forget(session_id)
        if (caller := self.crowd.calling.get(session_id)) is not None and account and account.started_at is not None:
            caller.over(session_id)

    def _awake(self, begins: float, ends: float) -> float:
        return ends - begins - self.wrong.asleep_for(begins, ends)

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Live it, and judge it."""
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        async with asyncio.TaskGroup() as group:
            self._build()
            self.crowd = Crowd(
                self.manager,
                self.clock,
                self.watch,
                self.history,
                self.judge,
                self.plan.scenario.habits,
                self.plan.setup,
                self.plan.seed,
                group,
            )
            await self.manager.initialize()
            Machine(self.clock, self.wrong, self.watch.accounts).begin(self.spells)
            self.crowd.begin(self.plan.sessions)
            await self._pass_time()
            self.crowd.closing = True
            await self._dispose()
        self._judge_the_whole()
        return Outcome(plan=self.plan, history=self.history, spells=self.spells, broken=tuple(self.judge.broken))

    async def _pass_time(self) -> None:
        step, next_look = self.plan.seconds / STEPS, LOOK
        while (left := self.plan.seconds - self.now()) > 0 and not self.judge.has_enough:
            await asyncio.sleep(min(step, left, max(0.0, next_look - self.now())))
            if self.now() >= next_look:
                next_look = self.now() + LOOK
                self._look()
            self._progress(min(1.0, self.now() / self.plan.seconds))

    def _look(self) -> None:
        phases = self.inspector.look(self.watch.accounts)
        self.history.column(self.now()).live = sum(phases.values())

    async def _dispose(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.manager.dispose()
        took = loop.time() - began
        self.judge.must("dispose-in-time", took <= DISPOSE_LIMIT, "", f"it took {took:.1f} s")
        await asyncio.sleep(AFTERMATH)
        left = self.inspector.leftovers()
        self.judge.must("nothing-left", not left, "", ", ".join(left))
        vault = self.inspector.vault
        self.judge.must("keys-are-held-once", vault.taken == vault.released, "", "a key was not released")

    def _judge_the_whole(self) -> None:
        self._judge_storms()
        self._judge_herd()
        made, admitted = self.history.counts["mints"], self.watch.admitted
        self.judge.must("one-layer-tries", made <= admitted, "", f"{made} requests for {admitted} attempts")

    def _judge_storms(self) -> None:
        setup = self.plan.setup
        if setup.breaker.failures_in_a_row is None:
            return  # a ratio says nothing of the few requests that a few sessions make
        for storm in self.storms.storms:
            fits = not storm.was_one or storm.asked <= storm.allowed(setup.breaker, setup.concurrent_mints)
            said = f"{storm.asked} requests for {storm.keys} keys and {storm.probes} probes"
            self.judge.must("storm-is-calm", fits, "", f"{said}, from {storm.run.begins:.0f} s")

    def _judge_herd(self) -> None:
        plan, arrive = self.plan, self.plan.scenario.habits.arrive
        spread = plan.setup.config.renewal_spread_seconds
        if arrive[1] - arrive[0] > spread / 10 or not spread or plan.sessions / spread < CROWD:
            return
        first = plan.setup.config.key_life_seconds / 2
        second, most = highest(self.history.per_second, first, plan.seconds)
        fits = most <= 3 * plan.sessions / spread
        self.judge.must("herd-is-spread", fits, "", f"{most} requests in second {second}")

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, SimulatedBug):
            self.judge.must("no-surprise", False, "", f"{context.get('message')}: {error!r}")
