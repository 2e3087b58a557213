"""Every session the manager knows, the slots they hold, and which one is current. All questions cost the same."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator

from voicepilot.errors import Fault
from voicepilot.lifecycle.effects import AnswerStart
from voicepilot.lifecycle.inputs import Input
from voicepilot.lifecycle.machine import note_activity, wake_at
from voicepilot.lifecycle.phases import LIVE
from voicepilot.lifecycle.session import RenewalResult, Session

Close = Callable[[str], Awaitable[None]]
"""Closes a managed connection, told the reason."""

Warn = Callable[[str, float, float], None]
"""Tells a managed connection which limit comes near, what is used and what is allowed."""

FAILED_LIMIT = 1_000
"""Records of failed sessions kept at most; a storm of failures must not fill the memory."""


class Job:
    """Something that waits its turn in a session's lane."""

    __slots__ = ("answer", "limit", "name", "otherwise", "start")

    def __init__(
        self, name: str, start: Callable[[], object], limit: float, answer: Callable[[object], Input], otherwise: object
    ) -> None:
        self.name = name
        self.start = start  # gives an awaitable
        self.limit = limit
        self.answer = answer  # makes the input that tells the core
        self.otherwise = otherwise  # what to answer with when it fails or runs out of time


class Lane:
    """What a session waits for in order: one job running, others behind it."""

    __slots__ = ("job", "queue", "task", "timer")

    def __init__(self) -> None:
        self.job: Job | None = None  # that runs
        self.queue: deque[Job] = deque()
        self.task: asyncio.Task[None] | None = None  # that does the jobs
        self.timer: asyncio.TimerHandle | None = None  # the limit of the job that runs

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self.job is None and not self.queue

    def let_go(self) -> None:
        """Cancel the job that runs; whoever takes what waits is another task."""
        if self.job is not None and self.task is not None and self.timer is not None:
            self.timer.cancel()
            self.task.cancel()
        self.job = self.task = self.timer = None


class Mint:
    """A key that is being fetched."""

    __slots__ = ("give_back", "task", "timer")

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.timer: asyncio.TimerHandle | None = None  # the limit of the attempt, once it is made
        self.give_back: Callable[[], None] | None = None  # the key service's turn, once it has come


class Entry:
    """A session and what the runtime keeps beside it. An idle one owns no task."""

    __slots__ = (
        "active_at",
        "attached",
        "cause",
        "dialled",
        "dials",
        "forget_at",
        "lane",
        "mint",
        "renewal",
        "resets",
        "session",
        "start",
        "waiting",
        "wake",
        "warn",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.active_at: float | None = None  # activity since the last step
        self.resets = 0
        self.start: asyncio.Future[AnswerStart] | None = None
        self.renewal: asyncio.Future[RenewalResult] | None = None
        self.dials: asyncio.Future[Fault | None] | None = None  # of whoever dials and waits for a key
        self.attached: Close | None = None  # of the managed connection, if there is one
        self.warn: Warn | None = None
        self.dialled = 0  # the last ticket whose key was given to a dial of ours
        self.mint: Mint | None = None
        self.lane: Lane | None = None
        self.waiting: list[asyncio.Future[None]] | None = None  # until it is over
        self.cause: Exception | None = None  # what the key service raised last
        self.wake: float | None = None  # when the timer manager looks at it next
        self.forget_at: float | None = None

    def fold(self) -> Session:
        """The session with the activity noted since the last step."""
        if self.active_at is not None:
            self.session = note_activity(self.session, self.active_at, self.resets)
            self.active_at, self.resets = None, 0
        return self.session

    def due_at(self) -> float | None:
        """When something must happen next."""
        return self.forget_at if self.forget_at is not None else wake_at(self.session)

    def until_over(self) -> asyncio.Future[None]:
        """The caller's own future, done when the session is over."""
        over = asyncio.get_running_loop().create_future()
        if self.session.phase not in LIVE:
            over.set_result(None)
        elif self.waiting is None:
            self.waiting = [over]
        else:
            self.waiting.append(over)
        return over


class Registry:
    """The sessions of one manager."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.get = self._entries.get  # the entry of an id, or None
        self._recent: OrderedDict[str, None] = OrderedDict()  # the live ones, most recently active last
        self._failed: OrderedDict[str, None] = OrderedDict()  # the records that only stay for diagnostics
        self.slots = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def add(self, entry: Entry) -> None:
        """Know a new session; it is the most recently active one."""
        self._entries[entry.session.session_id] = entry
        self._recent[entry.session.session_id] = None

    def touch(self, session_id: str) -> None:
        """Make a live session the most recently active one."""
        if session_id in self._recent:
            self._recent.move_to_end(session_id)

    def current(self) -> Entry | None:
        """The most recently active live session, in whatever phase."""
        return self._entries[next(reversed(self._recent))] if self._recent else None

    def live(self) -> tuple[Entry, ...]:
        """Every session that is not over."""
        return tuple(self._entries[session_id] for session_id in self._recent)

    def retire(self, session_id: str) -> None:
        """The session is over: it is no longer current, and its record stays only so long and so many."""
        self._recent.pop(session_id, None)
        self._failed[session_id] = None
        if len(self._failed) > FAILED_LIMIT:
            self.remove(next(iter(self._failed)))

    def remove(self, session_id: str) -> None:
        """Forget a session."""
        self._recent.pop(session_id, None)
        self._failed.pop(session_id, None)
        self._entries.pop(session_id, None)

    def clear(self) -> None:
        """Forget every session."""
        self._recent.clear()
        self._failed.clear()
        self._entries.clear()
