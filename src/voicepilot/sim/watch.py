"""Listens to everything a manager and its executor tell, keeps the accounts, and judges each event as it comes."""

from __future__ import annotations

from collections.abc import Callable

from voicepilot.events import (
    DegradedChanged,
    ErrorType,
    Event,
    LimitApproaching,
    RenewalCompleted,
    RenewalFailed,
    RenewalStarted,
    SessionEnded,
    SessionErrorEvent,
    SessionStarted,
    StateChanged,
)
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.deadlines import MINT_LIMIT_FLOOR
from voicepilot.lifecycle.phases import OVER, Phase
from voicepilot.lifecycle.session import Session, Trigger
from voicepilot.recovery import AttemptFailed, AttemptRefused, OperationOver, Result
from voicepilot.sim.accounts import Account
from voicepilot.sim.excuses import ANSWER, Disturbances, harmless
from voicepilot.sim.history import History
from voicepilot.sim.invariants import Judge
from voicepilot.sim.provider import Asked, SimulatedProvider
from voicepilot.sim.setup import Setup
from voicepilot.testing.virtual import EPOCH

END_LIMIT = 2.0
"""Seconds that an end may take, whatever hangs."""

EPSILON = 1e-3

OUT_OF_TURN = frozenset({Trigger.REJECTED})
"""Without a good key nothing can be opened, so that no backoff and no Retry-After stands before these."""

OVERRATED = 1.5
"""Seconds: a part of the longest answer's way, and the second that the provider's clock rounds off."""


class Watch:
    """The accounts of every session that is not over, and the judgement of each event."""

    def __init__(
        self, setup: Setup, history: History, judge: Judge, provider: SimulatedProvider, wrong: Disturbances
    ) -> None:
        self.accounts: dict[str, Account] = {}
        self.admitted = 0  # attempts that the executor let through and that are over
        self._setup = setup
        self._history = history
        self._judge = judge
        self._must = judge.must
        self._provider = provider
        self._wrong = wrong
        self.reveal: Callable[[str], str] = lambda _: ""  # the key a session hands out; set by the world

    def opened(self, session_id: str, config: SessionConfig) -> Account:
        """A session is about to be started."""
        account = self.accounts[session_id] = Account(session_id, config)
        return account

    def closed(self, session_id: str) -> None:
        """The session is over and nobody will speak of it again."""
        self.accounts.pop(session_id, None)
        self._provider.forget(session_id)

    # --- events -----------------------------------------------------------------------------------------------------

    def heard(self, event: Event) -> None:
        """Note an event of whatever kind, and judge it."""
        self._history.told(event)
        account, now = self.accounts.get(event.session_id), event.at - EPOCH
        self._must("life-in-order", account is not None, event.session_id, f"{event.type} of a session that is over")
        if account is None:
            return
        self._must("phases-in-order", now >= account.told_at, event.session_id, "an event is older than the last")
        account.told_at = now
        match event:
            case StateChanged():
                self._moved(account, event, now)
            case SessionStarted():
                self._started(account, event, now)
            case SessionEnded():
                self._ended(account, event)
            case SessionErrorEvent():
                self._erred(account, event, now)
            case LimitApproaching():
                account.warned = True
            case DegradedChanged():
                self._must("degraded-told", event.degraded is not account.degraded, account.caller, "told twice")
                account.degraded = event.degraded
            case _:
                self._renewal(account, event, now)

    def _renewal(self, account: Account, event: Event, now: float) -> None:
        match event:
            case RenewalStarted():
                self._renewing(account, event, now)
            case RenewalCompleted():
                self._renewed(account, event, now)
            case RenewalFailed():
                self._failed(account, event)

    def _moved(self, account: Account, event: StateChanged, now: float) -> None:
        fits = event.previous_state is account.phase is not event.new_state is event.session.phase
        self._must(
            "phases-in-order",
            fits,
            account.caller,
            lambda: f"{event.previous_state} to {event.new_state}, from {account.phase}, in {event.session.phase}",
        )
        account.phase = event.new_state
        if event.new_state is Phase.ENDING:
            account.leaving_at = now
            if account.started_at is not None:
                self._leaving(account, event.session, now)
        if event.new_state in OVER and account.leaving_at is not None:
            took = now - account.leaving_at - self._wrong.asleep_for(account.leaving_at, now)
            self._must("end-in-time", took <= END_LIMIT + EPSILON, account.caller, lambda: f"it took {took:.3f} s")

    def _started(self, account: Account, event: SessionStarted, now: float) -> None:
        self._must("life-in-order", account.started_at is None, account.caller, "started twice")
        active = account.phase is Phase.ACTIVE
        self._must("life-in-order", active, account.caller, "session-started came before its change of phase")
        account.started_at = now
        account.speaks(now)
        self._adopt(account, event.session, now)

    def _leaving(self, account: Account, session: Session, now: float) -> None:
        if session.key is not None and session.key.ticket != account.ticket:
            account.completed += 1  # swapped, but the application had not resumed
            self._adopt(account, session, session.key.issued_at - EPOCH)
        self._gap(account, now, recovered=False)

    def _ended(self, account: Account, event: SessionEnded) -> None:
        caller, counts = account.caller, event.statistics
        self._must("life-in-order", account.started_at is not None, caller, "ended without having started")
        self._must("life-in-order", not account.ended, caller, "ended twice")
        self._must("life-in-order", account.phase in OVER, caller, "session-ended came before its change of phase")
        account.ended = True
        told = (account.completed, account.failed_rounds)
        kept = (counts.renewal_count, counts.failed_renewal_count)
        self._must("counts-are-right", told == kept, caller, lambda: f"renewed and failed {told}, it says {kept}")
        if account.steady and account.started_at is not None and account.leaving_at is not None:
            lived, config = account.leaving_at - account.started_at, account.config
            beats = lived / config.heartbeat_interval_seconds if config.enable_heartbeat else 0.0
            fits = beats - 1.1 <= counts.heartbeat_count <= beats + EPSILON
            self._must("counts-are-right", fits, caller, lambda: f"{counts.heartbeat_count} beats in {beats:.2f} times")

    # --- keys -------------------------------------------------------------------------------------------------------

    def _adopt(self, account: Account, session: Session, now: float) -> None:
        """The session hands out a key from now on."""
        if account.value is not None and account.value != self.reveal(account.caller):
            self._provider.keys.pop(account.value, None)
        account.value = self.reveal(account.caller)
        issued = account.issued = self._provider.keys.get(account.value)
        account.by_hand, account.asked, account.asked_at, account.not_before = False, 0, None, 0.0
        account.margin = account.config.renewal_margin_seconds
        if issued is None or session.key is None:
            self._must("key-of-its-own", False, account.caller, "it hands out a key that nobody issued")
            return
        self._must("key-of-its-own", issued.caller == account.caller, account.caller, f"it is of {issued.caller}")
        over = session.key.expires_at - EPOCH - issued.valid_until
        self._must("key-not-overrated", over <= OVERRATED, account.caller, lambda: f"by {over:.1f} s")
        account.ticket = session.key.ticket
        account.lease = (session.key.issued_at - EPOCH, session.key.expires_at - EPOCH)
        account.due = account.latest_renewal()

    def reconfigured(self, session_id: str, config: SessionConfig, now: float) -> None:
        """The session behaves by another config from now on."""
        account = self.accounts.get(session_id)
        if account is not None:
            account.config, account.steady = config, False
            account.margin = min(account.margin, config.renewal_margin_seconds)
            account.due = max(account.latest_renewal(), now)

    def slept_since(self, at: float) -> bool:
        """Whether the machine was suspended since."""
        return self._wrong.slept_between(at, self._judge.now())

    def _gap(self, account: Account, now: float, *, recovered: bool) -> None:
        """Note, and judge, the time without a valid key that ends now."""
        if account.issued is None or now <= account.issued.valid_until + EPSILON:
            return
        began = account.issued.valid_until
        seconds = now - began - self._wrong.asleep_for(began, now)
        if seconds > EPSILON:
            self._history.lapsed(began, now, seconds, recovered=recovered)
        if seconds > OVERRATED:
            self._must(
                "no-needless-gap",
                self._is_excused(account, began, now),
                account.caller,
                lambda: f"{seconds:.1f} s from {began:.1f}, margin {account.margin:g} s",
            )

    def _is_excused(self, account: Account, began: float, now: float) -> bool:
        life = began - (account.issued.issued_at if account.issued else began)
        margin = min(account.margin, life / 2)
        if margin < ANSWER or self._wrong.slept_between(began - margin - 5.0, now):
            return True  # no time even for a slow answer; or none was there to ask
        runs = self._wrong.between(began - margin, now)
        if runs and account.slow_at >= began - margin:
            return True  # what was left when the disturbance was over was too little for so slow an answer
        return any(
            run.ends - run.begins
            >= harmless(margin, self._setup.breaker, self._setup.cool_down, hidden=run.hidden, crowded=run.crowded)
            for run in runs
        )

    # --- renewals ---------------------------------------------------------------------------------------------------

    def _renewing(self, account: Account, event: RenewalStarted, now: float) -> None:
        account.began_round, account.asked = now, 0
        account.by_hand = event.trigger in OUT_OF_TURN
        if event.trigger is not Trigger.TIMER or account.rounds_failed_now or account.due is None:
            return
        latest, key = self._wrong.latest(account.due), event.session.key
        self._must("renewal-not-late", now <= latest, account.caller, lambda: f"by {now - latest + 1:.1f} s")
        if key is not None:
            half = (key.issued_at + key.expires_at) / 2 - EPOCH
            early = half - now
            self._must("renewal-not-early", early <= EPSILON, account.caller, lambda: f"{early:.1f} s before its half")

    def _renewed(self, account: Account, event: RenewalCompleted, now: float) -> None:
        account.completed += 1
        swapped = min(now, account.began_round + event.result.latency_ms / 1000)
        self._history.counts["attempts of renewals"] += event.result.attempts
        self._gap(account, swapped, recovered=True)
        account.rounds_failed_now = 0
        self._adopt(account, event.session, swapped)
        account.due = max(account.latest_renewal(), now)  # hooks may have taken their time

    def _failed(self, account: Account, event: RenewalFailed) -> None:
        account.failed_rounds += 1
        account.rounds_failed_now += 1
        most = account.config.max_retry_attempts + 1
        attempts = event.result.attempts
        self._must("patient-retries", attempts <= most, account.caller, lambda: f"{attempts} attempts in a round")

    def _erred(self, account: Account, event: SessionErrorEvent, now: float) -> None:
        if event.kind is not ErrorType.TIMEOUT:
            return
        if event.error.code == "INACTIVITY_TIMEOUT":
            at = account.idle_at(now)
            early = at is None or now < at - EPSILON
            self._must("idle-never-early", not early, account.caller, lambda: f"at {now:.1f}, due {at}")
            if at is not None:
                late = now - self._wrong.latest(at)
                self._must("limit-never-late", late <= 0, account.caller, lambda: f"inactivity, by {late + 1:.1f} s")
        elif account.started_at is not None:
            at = account.started_at + (account.config.max_duration_seconds or 0.0)
            late = now - self._wrong.latest(at)
            self._must("duration-never-early", now >= at - EPSILON, account.caller, lambda: f"at {now:.1f}, due {at}")
            self._must("limit-never-late", late <= 0, account.caller, lambda: f"duration, by {late + 1:.1f} s")
            self._must("limit-announced", account.warned, account.caller, "it ended at its limit without a warning")

    # --- requests ---------------------------------------------------------------------------------------------------

    def asked(self, asked: Asked) -> None:
        """A request met the provider."""
        account = self.accounts.get(asked.caller)
        if account is None:
            return
        if asked.latency > MINT_LIMIT_FLOOR and account.issued and asked.at < account.issued.valid_until:
            account.slow_at = asked.at
        if not account.by_hand:
            early = account.not_before - asked.at
            self._must("retry-after-obeyed", early <= EPSILON, asked.caller, lambda: f"{early:.1f} s too early")
            if account.asked_at is not None:
                apart, least = asked.at - account.asked_at, account.config.retry_backoff_ms / 2_000
                fits = apart >= least - EPSILON
                self._must("patient-retries", fits, asked.caller, lambda: f"two requests {apart:.2f} s apart")
        account.asked_at = asked.at
        account.asked += 1
        most = account.config.max_retry_attempts + 1
        fits = account.asked <= most
        self._must("patient-retries", fits, asked.caller, lambda: f"{account.asked} requests in a round")

    def attempt_failed(self, news: AttemptFailed) -> None:
        """The executor says that an attempt failed."""
        if not news.context.attempts_scheduled_by_caller:
            return
        self.admitted += 1
        self._history.causes[news.fault.code] += 1
        account = self.accounts.get(news.context.session_id or "")
        if account is not None and news.fault.retry_after:
            account.not_before = self._judge.now() + news.fault.retry_after

    def operation_over(self, news: OperationOver) -> None:
        """The executor says that an operation ended."""
        if news.context.attempts_scheduled_by_caller and news.result in {Result.SUCCEEDED, Result.CANCELLED}:
            self.admitted += 1

    def attempt_refused(self, news: AttemptRefused) -> None:
        """The breaker did not let an attempt through."""
        self._history.counts["refused by the breaker"] += 1
