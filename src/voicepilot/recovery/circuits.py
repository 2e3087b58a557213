"""One breaker for each endpoint, and what counts as an endpoint's failure."""

from __future__ import annotations

from collections.abc import Callable

from voicepilot.errors import AttemptRefusedError, Fault, RateLimitError, fault_of
from voicepilot.recovery.breaker import step
from voicepilot.recovery.breaker_options import BreakerOptions
from voicepilot.recovery.breaker_state import Asked, Breaker, Broke, Given, Left, Permit, Verdict, Worked
from voicepilot.recovery.news import CircuitMoved

TOO_MANY = 429
"""The HTTP status of an endpoint that is asked too much."""


class Circuits:
    """The breakers of one executor."""

    def __init__(self, options: BreakerOptions, tell: Callable[[CircuitMoved], None]) -> None:
        self._new = Breaker(options=options)
        self._tell = tell
        self._breakers: dict[str, Breaker] = {}

    def ask(self, endpoint: str, asked: Asked, now: float) -> Verdict:
        """Whether an attempt may be made at `endpoint`."""
        return self._step(endpoint, asked, now)

    def note(self, endpoint: str, given: Given, now: float) -> None:
        """Bring back the result of an attempt."""
        self._step(endpoint, given, now)

    def states(self) -> dict[str, Breaker]:
        """Every breaker as it is; changing the dict changes nothing."""
        return dict(self._breakers)

    def _step(self, endpoint: str, given: Given, now: float) -> Verdict:
        before = self._breakers.get(endpoint, self._new)
        after, verdict = step(before, given, now)
        self._breakers[endpoint] = after
        if after.circuit is not before.circuit:
            open_for = max(0.0, after.open_until - now)
            self._tell(
                CircuitMoved(
                    endpoint=endpoint,
                    was=before.circuit,
                    now=after.circuit,
                    cause=after.cause or before.cause,
                    open_for=open_for,
                )
            )
        return verdict


def seen(permit: Permit, error: Exception) -> Given:
    """What `error` says about the endpoint.

    A fault that trying again can cure is the endpoint's. Another one that came with an HTTP status is an answer, so
    the endpoint is well and the session's request is wrong; without one (no credentials, say) nobody was asked.
    """
    if isinstance(error, AttemptRefusedError):
        return Left(permit)
    fault = fault_of(error)
    if fault.retryable:
        return Broke(permit, fault.code, crowded=_wants_rest(error, fault))
    return Left(permit) if fault.status is None else Worked(permit)


def _wants_rest(error: Exception, fault: Fault) -> bool:
    """Whether the endpoint is asked too much, or asks not to be asked for a while."""
    return isinstance(error, RateLimitError) or fault.status == TOO_MANY or fault.retry_after is not None
