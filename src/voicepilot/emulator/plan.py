"""The faults still to come: commanded by tests, asked for by the emulator."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable

import msgspec

from voicepilot.emulator.faults import LASTING, LONGEST, Fault, parse_fault
from voicepilot.errors import ConfigurationError

MOST_FAULTS = 10_000


class _Pending(msgspec.Struct):
    fault: Fault
    left: int | None
    until: float | None = None  # outages end by themselves


class Faults:
    """The faults still to come. Its methods may be called from any thread, before and while the emulator runs."""

    def __init__(self, seed: int = 0, time_scale: float = 1.0) -> None:
        self._time_scale = time_scale
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._pending: list[_Pending] = []
        self.on_live: Callable[[Fault], None] = lambda _: None  # set by the server: does it to all open sessions

    def add(self, fault: Fault | str) -> None:
        """Let a fault happen; text is read by `parse_fault`."""
        if isinstance(fault, str):
            fault = parse_fault(fault)
        if fault.place == "live":
            self.on_live(fault)
            return
        count = None if fault.place in LASTING else fault.count
        with self._lock:
            if len(self._pending) >= MOST_FAULTS:
                raise ConfigurationError(f"{MOST_FAULTS} faults are waiting already: use count", field="fault")
            self._pending.append(_Pending(fault, count))

    def clear(self) -> None:
        """No more faults; what already happened to open sessions stays."""
        with self._lock:
            self._pending.clear()

    def pending(self) -> list[Fault]:
        """The faults still to come."""
        with self._lock:
            return [pending.fault for pending in self._pending]

    def fail_mints(
        self,
        status: int = 503,
        count: int | None = 1,
        *,
        code: str | None = None,
        message: str | None = None,
        retry_after: float | None = None,
        retry_after_ms: float | None = None,
        headers: dict[str, str] | None = None,
        body: str | None = None,
    ) -> None:
        """The next mints are answered with this status; `body` replaces the error envelope."""
        self.add(
            Fault(
                place="mint",
                kind="status",
                count=count,
                status=status,
                code=code,
                message=message,
                retry_after=retry_after,
                retry_after_ms=retry_after_ms,
                headers=headers or {},
                body=body,
            )
        )

    def hang_mints(self, count: int | None = 1) -> None:
        """The next mints get no answer until the client gives up or the emulator stops."""
        self.add(Fault(place="mint", kind="hang", count=count))

    def reset_mints(self, count: int | None = 1) -> None:
        """The connection of the next mints is cut without an answer."""
        self.add(Fault(place="mint", kind="reset", count=count))

    def garble_mints(self, count: int | None = 1) -> None:
        """The next mints are answered 200 with broken JSON."""
        self.add(Fault(place="mint", kind="malformed", count=count))

    def truncate_mints(self, count: int | None = 1) -> None:
        """The answer to the next mints ends in the middle and the connection with it."""
        self.add(Fault(place="mint", kind="truncated", count=count))

    def slow_mints(self, seconds: float, count: int | None = 1) -> None:
        """The next mints succeed, so many seconds late."""
        self.add(Fault(place="mint", kind="slow", count=count, seconds=seconds))

    def outage(self, status: int = 503, *, hang: bool = False, seconds: float | None = None) -> None:
        """Refuse every request with `status`, or leave it unanswered, for `seconds` or until `clear()`."""
        self.add(Fault(place="outage", kind="hang" if hang else "status", status=status, seconds=seconds, count=None))

    def refuse_connections(
        self, status: int = 401, count: int | None = 1, *, code: str | None = None, after_upgrade: bool = False
    ) -> None:
        """The next sockets are refused: at the upgrade, or by an `error` event and close code `status` after it."""
        kind = "close" if after_upgrade else "status"
        self.add(Fault(place="connect", kind=kind, count=count, status=status, code=code))

    def drop_sessions(self, *, after_events: int | None = None) -> None:
        """Cut every open session without a close frame, or each once it has sent so many more events: 1006."""
        self.add(Fault(place="live", kind="drop", after_events=after_events))

    def expire_sessions(self, *, with_event: bool = True) -> None:
        """End every open session as its maximum duration does, with or without the `session_expired` event."""
        self.add(Fault(place="live", kind="expire" if with_event else "expire-silent"))

    def freeze_sessions(self) -> None:
        """Every open session stays open and silent from now on."""
        self.add(Fault(place="live", kind="freeze"))

    def fail_responses(self, count: int | None = 1, *, message: str | None = None) -> None:
        """The next responses end with status `failed`."""
        self.add(Fault(place="response", kind="failed", count=count, message=message))

    # -- asked by the emulator ------------------------------------------------------------------------------------

    def take(self, place: str, *kinds: str) -> Fault | None:
        """The fault due at this place now, counted as having happened."""
        with self._lock:
            for pending in self._pending:
                if pending.fault.place == place and (not kinds or pending.fault.kind in kinds):
                    self._count(pending)
                    return pending.fault
        return None

    def take_each(self, place: str) -> list[Fault]:
        """Every fault due at this place now, once each."""
        with self._lock:
            due = [pending for pending in self._pending if pending.fault.place == place]
            for pending in due:
                self._count(pending)
        return [pending.fault for pending in due]

    def active_outage(self, now: float) -> Fault | None:
        """The outage in force; one with `seconds` lasts so long from the first time it is asked for."""
        with self._lock:
            for pending in [each for each in self._pending if each.fault.place == "outage"]:
                if pending.until is None:
                    pending.until = now + (
                        math.inf if pending.fault.seconds is None else pending.fault.seconds / self._time_scale
                    )
                if now < pending.until:
                    return pending.fault
                self._pending.remove(pending)
        return None

    @property
    def single_use_keys(self) -> bool:
        """Whether a key opens one session only."""
        with self._lock:
            return any(pending.fault.place == "key" for pending in self._pending)

    def delay(self, what: str) -> float:
        """Seconds of latency drawn for a mint, a connect or a response."""
        with self._lock:
            drawn = [
                self._draw(pending.fault)
                for pending in self._pending
                if pending.fault.place == "latency" and pending.fault.kind == what
            ]
        return min(sum(drawn), LONGEST)

    def _count(self, pending: _Pending) -> None:
        if pending.left is None:
            return
        pending.left -= 1
        if not pending.left:
            self._pending.remove(pending)

    def _draw(self, fault: Fault) -> float:
        if fault.median is not None:
            # 2.326 standard deviations are the 99th percentile of the normal distribution under the logarithm.
            spread = math.log((fault.p99 or fault.median) / fault.median) / 2.326
            return self._random.lognormvariate(math.log(fault.median), max(0.0, spread))
        if fault.low is not None or fault.high is not None:
            return self._random.uniform(fault.low or 0.0, fault.high or fault.low or 0.0)
        return fault.seconds or 0.0
