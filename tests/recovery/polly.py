"""What Polly v8 does, as programs to compare ours with. Written from its documentation and observable behaviour.

https://www.pollydocs.org/strategies/circuit-breaker and https://www.pollydocs.org/strategies/retry
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence


class PollyBreaker:
    """Closed, open, half-open with one probe; opens on the failure ratio over a window, given a minimum throughput.

    A handled outcome is a failure; anything else, a cancellation included, is a success. The window moves in tenths.
    """

    def __init__(self, *, ratio: float, throughput: int, sampling: float, break_for: float) -> None:
        self.state = "closed"
        self.blocked_until = 0.0
        self._ratio, self._throughput, self._sampling, self._break = ratio, throughput, sampling, break_for
        self._window: deque[list[float]] = deque()  # [began, good, bad]

    def ask(self, now: float) -> bool:
        """Whether the action is executed; otherwise Polly throws a BrokenCircuitException."""
        if self.state == "open" and now >= self.blocked_until:
            self.state, self.blocked_until = "half-open", now + self._break
            return True
        return self.state == "closed"

    def unhandled(self, now: float) -> None:
        """The action succeeded, or failed in a way that ShouldHandle does not name."""
        self._slice(now)[1] += 1
        if self.state == "half-open":
            self.state = "closed"
            self._window.clear()

    def handled(self, now: float) -> None:
        """The action failed."""
        if self.state == "half-open":
            self._open(now)
            return
        self._slice(now)[2] += 1
        good, bad = (sum(part[which] for part in self._window) for which in (1, 2))
        enough = good + bad >= self._throughput and bad / (good + bad) >= self._ratio
        if self.state == "closed" and enough:
            self._open(now)

    def _open(self, now: float) -> None:
        self.state, self.blocked_until = "open", now + self._break

    def _slice(self, now: float) -> list[float]:
        if not self._window or now - self._window[-1][0] >= self._sampling / 10:
            self._window.append([now, 0, 0])
        while now - self._window[0][0] >= self._sampling:
            self._window.popleft()
        return self._window[-1]


Outcome = str  # "success", "handled", "unhandled"


class PollyRetry:
    """Up to `attempts` retries after the original call, with constant, linear or exponential (x2) delays."""

    def __init__(self, kind: str, *, delay: float, attempts: int, max_delay: float | None) -> None:
        self._kind, self._delay, self._attempts, self._max = kind, delay, attempts, max_delay

    def run(
        self, outcomes: Sequence[Outcome], generated: Callable[[int], float | None] = lambda _: None
    ) -> tuple[Outcome, int, list[float]]:
        """The outcome that is returned or thrown, how many calls were made, and the delays between them.

        `generated` is the DelayGenerator: what it gives for a retry (from 0) replaces the delay, uncapped.
        """
        delays: list[float] = []
        for attempt, outcome in enumerate(outcomes):
            if outcome != "handled" or attempt >= self._attempts:
                return outcome, attempt + 1, delays
            given = generated(attempt)
            delays.append(self._computed(attempt) if given is None or given < 0 else given)
        raise AssertionError("too few outcomes were scripted")

    def _computed(self, attempt: int) -> float:
        grown = {
            "constant": self._delay,
            "linear": self._delay * (attempt + 1),
            "exponential": self._delay * 2.0**attempt,
        }[self._kind]
        return grown if self._max is None else min(grown, self._max)
