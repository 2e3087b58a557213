"""The callers: each holds one session after another, talks, falls silent, pauses, and does what people do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from voicepilot.errors import Fault, SessionError, SessionNotFoundError, VoicePilotError
from voicepilot.lifecycle.session import ConnectionStatus
from voicepilot.runtime.manager import SessionManager
from voicepilot.sim.chance import Dice
from voicepilot.sim.history import History
from voicepilot.sim.invariants import Judge
from voicepilot.sim.scenarios import Habits
from voicepilot.sim.setup import Setup
from voicepilot.sim.watch import END_LIMIT, Watch
from voicepilot.testing.virtual import EPOCH, VirtualClock

MARGINS = (10.0, 30.0, 60.0)
BEATS = (15.0, 30.0, 60.0)
PATIENCE = (2.0, 5.0, 8.0)
"""What callers change options to: margin and heartbeat in seconds, inactivity in minutes."""

SAYS_NOTHING = 0.2
"""How likely it is that somebody who paused has gone, so that inactivity ends the session."""

REJECTED = Fault(code="KEY_REFUSED", message="the provider refused the key", remediation="Wait.", retryable=True)


class Crowd:
    """All callers, and the manager they call."""

    def __init__(
        self,
        manager: SessionManager,
        clock: VirtualClock,
        watch: Watch,
        history: History,
        judge: Judge,
        habits: Habits,
        setup: Setup,
        seed: int,
        group: asyncio.TaskGroup,
    ) -> None:
        self.manager = manager
        self.clock = clock
        self.watch = watch
        self.history = history
        self.judge = judge
        self.habits = habits
        self.setup = setup
        self.seed = seed
        self.group = group
        self.closing = False
        self.naming = ""  # the id of the session that is being started
        self.loop = asyncio.get_running_loop()
        self.calling: dict[str, Caller] = {}

    def now(self) -> float:
        """Seconds since the world began."""
        return self.clock.now() - EPOCH

    def begin(self, callers: int) -> None:
        """Let everybody come."""
        for number in range(1, callers + 1):
            Caller(self, number).come_later(self.habits.arrive)

    def do(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a call to the manager beside everything else; that it is refused is an answer."""
        self.group.create_task(_content(work))

    def later(self, bounds: tuple[float, float], dice: Dice, call: Callable[[], None]) -> None:
        """Call after a while, unless the world is closing."""
        self.loop.call_later(dice.between(bounds), self._unless_closing, call)

    def _unless_closing(self, call: Callable[[], None]) -> None:
        if not self.closing:
            call()

    async def call_back(self, session_id: str, chance: float) -> None:
        """What the application does from inside a hook or handler."""
        if chance < 0.5:
            self.speak(session_id)
        elif chance < 0.8:
            await self.manager.renew_session(session_id)
        else:
            await self.manager.end_session(session_id)

    def speak(self, session_id: str) -> None:
        """Somebody says something."""
        account = self.watch.accounts.get(session_id)
        self.manager.reset_inactivity_timer(session_id)
        if account is not None and account.started_at is not None:
            account.speaks(self.now())


class Caller:
    """One caller. It owns no task while it only talks."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._number = number
        self._calls = 0
        self._dice = Dice(crowd.seed, "caller", number)
        self._session_id = ""
        self._until = 0.0

    def come_later(self, bounds: tuple[float, float]) -> None:
        """Start a session after a while."""
        self._crowd.later(bounds, self._dice, self._come)

    def _come(self) -> None:
        self._crowd.group.create_task(self._call())

    async def _call(self) -> None:
        crowd, began = self._crowd, self._crowd.now()
        self._calls += 1
        session_id = self._session_id = crowd.naming = f"session-{self._number:05}-{self._calls:04}"
        config = crowd.setup.config
        crowd.watch.opened(session_id, config)
        crowd.calling[session_id] = self
        self._until = began + self._dice.between(crowd.habits.call)
        try:
            await crowd.manager.start_session(session={"instructions": session_id})
        except SessionError as error:
            crowd.history.counts[f"start {error.code}"] += 1
            self._answered(began)
            self.over(session_id)
        else:
            self._answered(began)
            self._go_on()

    def _answered(self, began: float) -> None:
        crowd = self._crowd
        took = crowd.now() - began
        config = crowd.setup.config
        limit = config.start_timeout_seconds + config.hook_timeout_seconds + END_LIMIT + 1.0
        if not crowd.watch.slept_since(began):
            crowd.judge.must("start-in-time", took <= limit, self._session_id, f"it took {took:.1f} s")

    def over(self, session_id: str) -> None:
        """The session is over; call again later."""
        if session_id == self._session_id:
            self._session_id = ""
            self._crowd.calling.pop(session_id, None)
            self.come_later(self._crowd.habits.away)

    def _go_on(self) -> None:
        if self._session_id:
            session_id = self._session_id
            self._crowd.later(self._crowd.habits.speak, self._dice, lambda: self._act(session_id))

    def _act(self, session_id: str) -> None:
        crowd, habits, dice = self._crowd, self._crowd.habits, self._dice
        if session_id != self._session_id or crowd.manager.get_session_config(session_id) is None:
            return
        if crowd.now() >= self._until:
            crowd.do(crowd.manager.end_session(session_id))
            return
        crowd.speak(session_id)
        if dice.happens(habits.silent):
            return  # inactivity ends it
        if dice.happens(habits.pause):
            self._pause(session_id)
            return  # goes on after it
        if dice.happens(habits.renew):
            crowd.do(crowd.manager.renew_session(session_id))
        if dice.happens(habits.reconfigure):
            crowd.do(self._reconfigure(session_id))
        if dice.happens(habits.report):
            self._report(session_id)
        if dice.happens(habits.reject):
            crowd.do(self._reject(session_id))
        self._go_on()

    def _pause(self, session_id: str) -> None:
        self._crowd.do(self._paused(session_id))
        self._crowd.later(self._crowd.habits.paused, self._dice, lambda: self._crowd.do(self._resumed(session_id)))

    async def _paused(self, session_id: str) -> None:
        await self._crowd.manager.pause_session(session_id)
        if (account := self._crowd.watch.accounts.get(session_id)) is not None:
            account.hold(self._crowd.now())

    async def _resumed(self, session_id: str) -> None:
        if session_id != self._session_id:
            return
        await self._crowd.manager.resume_session(session_id)
        if (account := self._crowd.watch.accounts.get(session_id)) is not None:
            account.let_go(self._crowd.now())
        if not self._dice.happens(SAYS_NOTHING):
            self._go_on()

    async def _reconfigure(self, session_id: str) -> None:
        crowd, dice = self._crowd, self._dice
        changes = {
            "renewal_margin_seconds": dice.pick(MARGINS),
            "heartbeat_interval_seconds": dice.pick(BEATS),
            "inactivity_timeout_minutes": dice.pick(PATIENCE),
        }
        config = await crowd.manager.update_session_config(session_id, changes)
        crowd.watch.reconfigured(session_id, config, crowd.now())

    async def _reject(self, session_id: str) -> None:
        self._crowd.manager.report_key_rejected(session_id, REJECTED)

    def _report(self, session_id: str) -> None:
        try:
            self._crowd.manager.report_connection(session_id, self._dice.pick(tuple(ConnectionStatus)))
        except SessionNotFoundError:
            return


async def _content(work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except VoicePilotError:
        return
