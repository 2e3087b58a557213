"""What the core orders and becomes, one life at a time."""

from __future__ import annotations

import pytest

from tests.lifecycle.driver import BEGIN, DOWN, RECEIPT, REFUSED, Driver
from voicepilot.errors import Fault, FaultDomain
from voicepilot.events import (
    ErrorType,
    RenewalCompleted,
    RenewalFailed,
    RenewalStarted,
    SessionEnded,
    SessionErrorEvent,
    SessionStarted,
    StateChanged,
)
from voicepilot.lifecycle.config import SessionConfig
from voicepilot.lifecycle.effects import (
    AnswerDials,
    AnswerEnd,
    AnswerRenewal,
    AnswerStart,
    CloseConnection,
    Forget,
    MintKey,
    Purge,
    ReleaseKey,
    ReleaseSlot,
    ReserveSlot,
    RunHook,
    StopWork,
)
from voicepilot.lifecycle.inputs import (
    ConfigUpdated,
    ConnectionClosed,
    ConnectionReported,
    EndRequested,
    HoldReleased,
    HoldTaken,
    Hook,
    HookFinished,
    KeyMinted,
    KeyRejected,
    MintFailed,
    PauseRequested,
    PlanWorked,
    Purged,
    RenewRequested,
    ResumeRequested,
    SlotRefused,
    StartRequested,
)
from voicepilot.lifecycle.machine import note_activity, wake_at
from voicepilot.lifecycle.phases import Phase
from voicepilot.lifecycle.session import ConnectionPhase, ConnectionStatus, Trigger


class TestStart:
    def test_a_slot_comes_before_a_key(self) -> None:
        driver = Driver()
        assert driver.tell(StartRequested()) == (ReserveSlot(),)
        assert driver.see().phase is Phase.IDLE

    def test_the_application_is_ready_before_the_start_is_answered(self) -> None:
        driver = Driver()
        driver.begin()
        driver.mint()
        assert driver.see().phase is Phase.ACTIVE
        assert driver.last(RunHook).hook is Hook.READY
        assert not driver.orders(AnswerStart)
        assert driver.finish_hook() == (AnswerStart(),)
        assert [event.new_state for event in driver.events(StateChanged)] == [Phase.STARTING, Phase.ACTIVE]
        assert len(driver.events(SessionStarted)) == 1

    def test_a_refused_slot_leaves_a_record_that_goes_by_itself(self) -> None:
        driver = Driver(failed_retention_seconds=120)
        driver.tell(StartRequested())
        driver.tell(SlotRefused(DOWN))
        assert driver.see().phase is Phase.FAILED
        assert driver.last(Forget) == Forget(120)
        assert driver.last(AnswerStart).fault is not None
        assert not driver.orders(ReleaseSlot)

    def test_a_start_given_up_before_its_slot_holds_nothing(self) -> None:
        driver = Driver()
        driver.tell(StartRequested())
        effects = driver.tell(EndRequested("user-requested"))
        assert driver.see().phase is Phase.ENDED
        assert effects[1:] == (AnswerStart(ended=True), AnswerEnd(), Forget())

    def test_retryable_faults_are_retried_and_each_attempt_is_counted(self) -> None:
        driver = Driver(max_retry_attempts=3)
        driver.begin()
        for attempt in (1, 2, 3):
            assert driver.last(MintKey).attempt == attempt
            driver.fail()
            driver.pass_time(5)
        assert driver.last(MintKey).attempt == 4
        assert driver.see().phase is Phase.STARTING
        driver.fail()
        assert driver.see().phase is Phase.ENDING

    def test_a_fault_that_cannot_be_retried_ends_it_at_once(self) -> None:
        driver = Driver()
        driver.begin()
        driver.fail(REFUSED)
        (told,) = driver.events(SessionErrorEvent)
        assert told.kind is ErrorType.AUTHENTICATION
        assert told.error.code == "SESSION_START_FAILED"
        assert told.error.cause == "INVALID_CREDENTIALS"
        assert told.error.message == "Failed to obtain session credentials: 401"
        driver.say_goodbye()
        assert driver.see().phase is Phase.FAILED
        assert driver.last(AnswerStart).fault == told.error
        assert not driver.events(SessionEnded)
        assert not driver.orders(RunHook)

    def test_no_attempt_is_made_that_would_be_too_late(self) -> None:
        driver = Driver(start_timeout_seconds=10)
        driver.begin()
        driver.fail(Fault(code="RATE_LIMITED", message="429", remediation="Wait.", retryable=True, retry_after=10))
        assert driver.see().phase is Phase.ENDING

    def test_a_start_that_hears_nothing_gives_up_in_time(self) -> None:
        driver = Driver(start_timeout_seconds=4)
        driver.begin()
        driver.pass_time(3.9)
        assert driver.see().phase is Phase.STARTING
        driver.pass_time(0.2)
        assert driver.see().phase is Phase.ENDING
        assert "no key within 4 s" in driver.fault().message

    def test_a_start_that_runs_out_of_time_tells_the_last_failure(self) -> None:
        driver = Driver(start_timeout_seconds=4)
        driver.begin()
        driver.fail()
        driver.pass_time(5)
        assert driver.fault().cause == DOWN.code

    def test_ending_a_session_that_starts_needs_no_goodbye_from_the_application(self) -> None:
        driver = Driver()
        driver.begin()
        driver.tell(EndRequested("user-requested"))
        assert isinstance(driver.ordered[-1], CloseConnection)
        driver.say_goodbye()
        assert driver.see().phase is Phase.ENDED
        assert driver.last(AnswerStart) == AnswerStart(ended=True)
        assert not driver.events(SessionEnded)
        assert not driver.events(SessionErrorEvent)


class TestRenewal:
    def test_it_goes_fetch_suspend_swap_resume(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.pass_time(590)
        assert driver.see().phase is Phase.RENEWING
        driver.ordered.clear()
        driver.mint()
        assert driver.ordered == [RunHook(Hook.SUSPENDING, "automatic-renewal", 5)]
        assert driver.key().ticket == 1
        driver.finish_hook()
        assert driver.key().ticket == 2
        assert driver.ordered[1:] == [ReleaseKey(1), AnswerDials(), RunHook(Hook.RESUMED, "automatic-renewal", 5)]
        driver.finish_hook()
        assert driver.see().phase is Phase.ACTIVE
        assert driver.said()[-2:] == ["state-changed", "renewal-completed"]
        assert driver.last(AnswerRenewal).result.success

    def test_by_hand_it_is_the_same_path_with_another_reason(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(RenewRequested())
        driver.renew()
        assert [order.reason for order in driver.orders(RunHook)][1:] == ["manual-renewal"] * 2
        assert driver.events(RenewalStarted)[0].trigger is Trigger.MANUAL
        assert driver.see().statistics.renewal_count == 1

    def test_a_second_request_joins_the_first(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(RenewRequested())
        assert driver.tell(RenewRequested()) == ()
        assert len(driver.orders(MintKey)) == 2

    def test_the_average_latency_is_from_start_to_swap_over_successes(self) -> None:
        driver = Driver()
        driver.go_live()
        for seconds in (1.0, 3.0):
            driver.tell(RenewRequested())
            driver.pass_time(seconds)
            driver.renew()
        assert driver.see().statistics.average_renewal_latency_ms == pytest.approx(2000)
        assert driver.events(RenewalCompleted)[-1].result.latency_ms == pytest.approx(3000)

    def test_a_failed_round_leaves_it_active_but_degraded_and_rounds_repeat(self) -> None:
        driver = Driver(max_retry_attempts=0)
        driver.go_live()
        driver.pass_time(590)
        driver.fail()
        assert driver.see().phase is Phase.ACTIVE
        assert driver.see().degraded
        assert driver.see().failed_rounds == 1
        assert driver.said()[-4:] == ["state-changed", "renewal-failed", "renewal-error", "degraded-changed"]
        assert driver.events(RenewalFailed)[0].result.error == driver.see().last_error
        driver.pass_time(3)
        assert driver.see().phase is Phase.RENEWING
        driver.renew()
        assert not driver.see().degraded
        assert driver.see().last_error is None
        assert driver.see().failures == driver.see().failed_rounds == 0

    def test_failures_add_up_over_rounds_so_that_waits_go_on_growing(self) -> None:
        driver = Driver(max_retry_attempts=1)
        driver.go_live()
        driver.tell(RenewRequested())
        driver.fail()
        driver.pass_time(5)
        driver.fail()
        assert (driver.see().failures, driver.see().failed_rounds) == (2, 1)
        assert driver.see().renew_at is not None

    def test_an_outage_shorter_than_the_margin_costs_no_second(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.pass_time(590)
        while driver.now < BEGIN + 590 + 8.9:
            if driver.in_flight():
                driver.fail()
            driver.pass_time(0.1)
        while not driver.in_flight():
            driver.pass_time(0.1)
        driver.renew()
        assert driver.see().phase is Phase.ACTIVE
        assert not [event for event in driver.events(SessionErrorEvent) if event.kind is ErrorType.AUTHENTICATION]

    def test_a_cause_that_cannot_be_retried_fails_the_session(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(RenewRequested())
        driver.fail(REFUSED)
        assert driver.see().phase is Phase.ENDING
        assert [event.kind for event in driver.events(SessionErrorEvent)] == [
            ErrorType.RENEWAL,
            ErrorType.AUTHENTICATION,
        ]
        driver.say_goodbye()
        assert driver.see().phase is Phase.FAILED
        assert driver.events(SessionEnded)[0].reason == "renewal-failed"
        assert driver.last(Forget).after == 300

    @pytest.mark.parametrize("phase", [ConnectionPhase.LIVE, ConnectionPhase.MOVING])
    def test_a_call_that_is_open_outlives_a_credential_that_is_refused(self, phase: ConnectionPhase) -> None:
        """A key only gates the opening of connections."""
        driver = Driver()
        driver.go_live()
        driver.tell(ConnectionReported(ConnectionStatus.HEALTHY, phase=phase))
        driver.tell(RenewRequested())
        driver.fail(REFUSED)
        assert (driver.see().phase, driver.session.degraded) == (Phase.ACTIVE, True)
        driver.pass_time(3_600)
        assert driver.see().phase is Phase.RECOVERING
        driver.tell(ConnectionReported(ConnectionStatus.FAILED, phase=ConnectionPhase.CONNECTING))
        driver.fail(REFUSED)
        assert driver.see().phase is Phase.ENDING

    def test_a_refused_attempt_costs_none_and_is_not_asked_again_at_once(self) -> None:
        driver = Driver(max_retry_attempts=0)
        driver.go_live()
        driver.tell(RenewRequested())
        driver.fail(retry_in=0.0, counts=False)
        assert driver.see().phase is Phase.RENEWING
        assert driver.see().retry_at == driver.now + 1
        assert driver.see().failures == 0

    def test_help_brings_the_next_round_forward_but_not_at_once(self) -> None:
        driver = Driver(max_retry_attempts=0, retry_backoff_ms=2_000)
        driver.go_live()
        assert driver.tell(PlanWorked()) == ()
        assert driver.see().renew_at == BEGIN + 590
        driver.tell(RenewRequested())
        driver.fail(retry_in=30.0)
        driver.tell(PlanWorked())
        assert driver.see().renew_at == driver.now + 2

    def test_help_never_overrules_what_the_provider_asked_for(self) -> None:
        driver = Driver(max_retry_attempts=0)
        driver.go_live()
        driver.tell(RenewRequested())
        driver.fail(Fault(code="RATE_LIMITED", message="429", remediation="Wait.", retryable=True, retry_after=40))
        driver.tell(PlanWorked())
        assert driver.see().renew_at == driver.now + 40

    def test_a_policy_that_says_when_is_obeyed(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(RenewRequested())
        driver.fail(retry_in=7.0)
        assert driver.see().retry_at == driver.now + 7

    def test_a_key_that_lapses_while_the_application_suspends_is_swapped_at_once(self) -> None:
        driver = Driver(key_life_seconds=10)
        driver.go_live()
        driver.pass_time(5)
        driver.pass_time(4)
        driver.mint()
        driver.pass_time(2)
        assert driver.see().phase is Phase.RENEWING
        assert driver.key().ticket == 2
        driver.finish_hook()
        driver.finish_hook()
        assert driver.see().phase is Phase.ACTIVE
        assert driver.see().statistics.renewal_count == 1

    @pytest.mark.parametrize("phase", [Phase.IDLE, Phase.STARTING, Phase.ENDING, Phase.ENDED])
    def test_where_it_makes_no_sense_it_is_answered_so(self, phase: Phase) -> None:
        driver = Driver()
        if phase is not Phase.IDLE:
            driver.begin()
        if phase in {Phase.ENDING, Phase.ENDED}:
            driver.tell(EndRequested("user-requested"))
        if phase is Phase.ENDED:
            driver.say_goodbye()
        assert driver.see().phase is phase
        driver.tell(RenewRequested())
        result = driver.last(AnswerRenewal).result
        assert not result.success
        assert result.error is not None
        assert result.error.message == f"cannot renew: the session is {phase}"


class TestRecovery:
    def lapsed(self, **config: object) -> Driver:
        driver = Driver(**config)
        driver.go_live()
        driver.pass_time(590)
        while driver.see().phase is not Phase.RECOVERING:
            if driver.in_flight():
                driver.fail()
            driver.pass_time(0.5)
        return driver

    def test_a_key_that_lapses_while_the_first_attempt_hangs_leaves_it_degraded(self) -> None:
        driver = Driver(enable_heartbeat=False)  # which would look, too
        driver.go_live()
        driver.pass_time(600)
        assert (driver.see().phase, driver.see().failed_rounds) == (Phase.RECOVERING, 0)
        assert driver.see().degraded

    def test_a_lapsed_key_makes_it_recover_and_says_so_once(self) -> None:
        driver = self.lapsed()
        (told,) = [event for event in driver.events(SessionErrorEvent) if event.kind is ErrorType.AUTHENTICATION]
        assert told.error.code == "KEY_EXPIRED"
        assert told.error.cause is not None
        assert driver.see().degraded

    def test_it_goes_on_at_a_capped_pace_and_each_round_is_told(self) -> None:
        driver = self.lapsed()
        for _ in range(40):
            if driver.in_flight():
                before = driver.now
                driver.fail()
                due = driver.see().retry_at or driver.see().renew_at
                assert due is not None
                assert due - before <= 30
            driver.pass_time(15)
        assert driver.see().phase is Phase.RECOVERING
        assert driver.see().failed_rounds > 3
        assert len(driver.events(RenewalFailed)) == driver.see().failed_rounds

    def test_a_key_makes_it_active_at_once_with_the_hooks_after(self) -> None:
        driver = self.lapsed()
        while not driver.in_flight():
            driver.pass_time(0.5)
        driver.ordered.clear()
        driver.mint()
        assert driver.see().has_good_key(driver.now)
        driver.finish_hook()
        assert driver.last(RunHook).hook is Hook.RESUMED
        driver.finish_hook()
        assert driver.see().phase is Phase.ACTIVE
        assert driver.said() == ["state-changed", "renewal-completed", "degraded-changed"]

    def test_by_hand_the_next_round_begins_now_and_a_running_one_is_joined(self) -> None:
        driver = self.lapsed(max_retry_attempts=0)
        if driver.in_flight():
            driver.fail()
        driver.pass_time(1)
        mints = len(driver.orders(MintKey))
        driver.tell(RenewRequested())
        driver.tell(RenewRequested())
        assert len(driver.orders(MintKey)) == mints + 1

    def test_a_failure_of_an_old_attempt_means_nothing(self) -> None:
        driver = self.lapsed()
        while not driver.in_flight():
            driver.pass_time(0.5)
        assert driver.tell(MintFailed(1, DOWN)) == ()
        assert driver.tell(MintFailed(1, REFUSED)) == ()
        assert driver.in_flight()

    def test_a_cause_that_cannot_be_retried_ends_it(self) -> None:
        driver = self.lapsed()
        while not driver.in_flight():
            driver.pass_time(0.5)
        driver.fail(REFUSED)
        assert driver.see().phase is Phase.ENDING

    def test_a_new_key_that_lapses_before_the_hooks_are_done_is_told_again(self) -> None:
        driver = self.lapsed()
        while not driver.in_flight():
            driver.pass_time(0.5)
        driver.mint(life=1)
        driver.pass_time(2)
        assert driver.see().phase is Phase.RECOVERING
        driver.finish_hook()
        driver.finish_hook()
        driver.pass_time(0.1)
        assert driver.see().phase is Phase.RECOVERING
        assert driver.in_flight()

    def test_a_machine_that_slept_past_the_expiry_recovers(self) -> None:
        driver = Driver(enable_inactivity_timeout=False)
        driver.go_live()
        driver.sleep_through(7200)
        assert driver.see().phase is Phase.RECOVERING
        assert len(driver.orders(MintKey)) == 2
        driver.renew()
        assert driver.see().phase is Phase.ACTIVE

    def test_a_rejected_key_is_invalid_and_replaced_at_once(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(KeyRejected(REFUSED))
        assert driver.see().phase is Phase.RENEWING
        assert driver.key().rejected
        assert driver.events(SessionErrorEvent)[0].kind is ErrorType.AUTHENTICATION
        driver.tell(KeyRejected(REFUSED))
        assert len(driver.orders(MintKey)) == 2
        driver.renew()
        assert not driver.key().rejected


class TestLateKeys:
    def test_a_key_nobody_waits_for_is_given_back_in_every_phase(self) -> None:
        driver = Driver()
        stray = KeyMinted(99, 600)
        assert driver.tell(stray) == (ReleaseKey(99),)
        driver.begin()
        assert driver.tell(stray) == (ReleaseKey(99),)
        driver.mint()
        assert driver.tell(stray) == (ReleaseKey(99),)
        driver.tell(RenewRequested())
        assert driver.tell(stray) == (ReleaseKey(99),)
        driver.tell(EndRequested("user-requested"))
        assert driver.tell(stray) == (ReleaseKey(99),)
        driver.say_goodbye()
        assert driver.tell(stray) == (ReleaseKey(99),)

    def test_a_duplicate_answer_is_given_back(self) -> None:
        driver = Driver()
        driver.begin()
        driver.mint()
        assert driver.mint() == (ReleaseKey(1),)

    def test_a_failure_of_an_old_attempt_means_nothing(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(RenewRequested())
        assert driver.tell(MintFailed(1, REFUSED)) == ()
        driver.tell(PauseRequested())
        assert driver.tell(MintFailed(1, REFUSED)) == ()
        assert driver.see().phase is Phase.RENEWING


class TestTime:
    def test_silence_ends_it_and_activity_does_not(self) -> None:
        driver = Driver(inactivity_timeout_minutes=5)
        driver.go_live()
        driver.pass_time(200)
        driver.session = note_activity(driver.session, driver.now, 7)
        assert driver.see().statistics.inactivity_resets == 7
        driver.pass_time(299)
        assert driver.see().phase is Phase.ACTIVE
        driver.pass_time(2)
        assert driver.see().phase is Phase.ENDING
        (told,) = driver.events(SessionErrorEvent)
        assert (told.kind, told.error.code) == (ErrorType.TIMEOUT, "INACTIVITY_TIMEOUT")
        driver.say_goodbye()
        assert driver.see().phase is Phase.ENDED
        assert driver.events(SessionEnded)[0].reason == "inactivity-timeout"

    def test_activity_counts_only_while_running(self) -> None:
        driver = Driver()
        driver.begin()
        assert note_activity(driver.session, BEGIN + 1, 1) == driver.session

    def test_activity_never_moves_backwards(self) -> None:
        driver = Driver()
        driver.go_live()
        assert note_activity(driver.session, BEGIN - 50, 1).last_activity == BEGIN

    def test_beats_are_counted_and_never_overlap_after_a_sleep(self) -> None:
        driver = Driver(enable_inactivity_timeout=False)
        driver.go_live()
        driver.pass_time(95)
        assert driver.see().statistics.heartbeat_count == 3
        driver.sleep_through(300)
        assert driver.see().statistics.heartbeat_count == 4
        assert driver.see().beat_at == BEGIN + 420

    def test_a_bad_beat_degrades_and_a_good_beat_heals(self) -> None:
        driver = Driver(enable_inactivity_timeout=False)
        driver.go_live()
        driver.tell(ConnectionReported(ConnectionStatus.FAILED))
        driver.pass_time(31)
        assert driver.see().degraded
        driver.tell(ConnectionReported(ConnectionStatus.DEGRADED))
        driver.pass_time(30)
        assert not driver.see().degraded

    def test_a_pause_freezes_both_without_drift_once(self) -> None:
        driver = Driver(enable_inactivity_timeout=True)
        driver.go_live()
        driver.pass_time(10)
        driver.tell(PauseRequested())
        driver.tell(PauseRequested())
        assert driver.see().phase is Phase.PAUSED
        driver.pass_time(500)
        driver.tell(ResumeRequested())
        assert driver.see().idle_at == driver.now + 290
        assert driver.see().beat_at == driver.now + 20
        assert driver.see().statistics.heartbeat_count == 0

    def test_the_key_is_renewed_during_a_pause_and_it_stays_paused(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(PauseRequested())
        driver.pass_time(591)
        assert driver.see().phase is Phase.RENEWING
        driver.renew()
        assert driver.see().phase is Phase.PAUSED
        driver.tell(RenewRequested())
        driver.fail(DOWN)
        driver.pass_time(60)
        assert driver.see().phase in {Phase.RENEWING, Phase.PAUSED}

    def test_a_round_that_fails_during_a_pause_returns_to_it(self) -> None:
        driver = Driver(max_retry_attempts=0)
        driver.go_live()
        driver.tell(RenewRequested())
        driver.tell(PauseRequested())
        driver.fail()
        assert driver.see().phase is Phase.PAUSED
        driver.pass_time(1)
        driver.tell(RenewRequested())
        driver.tell(ResumeRequested())
        driver.renew()
        assert driver.see().phase is Phase.ACTIVE

    def test_activity_during_a_pause_gives_the_full_time_after_it(self) -> None:
        driver = Driver(enable_inactivity_timeout=True)
        driver.go_live()
        driver.pass_time(100)
        driver.tell(PauseRequested())
        driver.session = note_activity(driver.session, driver.now, 1)
        driver.tell(ResumeRequested())
        assert driver.see().idle_at == driver.now + 300

    def test_activity_during_a_pause_arms_no_timeout_that_is_off(self) -> None:
        driver = Driver(enable_inactivity_timeout=False)
        driver.go_live()
        driver.tell(PauseRequested())
        driver.session = note_activity(driver.session, driver.now, 1)
        driver.tell(ResumeRequested())
        assert driver.see().idle_at is None

    def test_holds_add_up(self) -> None:
        driver = Driver(enable_inactivity_timeout=True)
        driver.go_live()
        driver.tell(HoldTaken("recovery"))
        driver.tell(PauseRequested())
        driver.pass_time(60)
        driver.tell(ResumeRequested())
        assert driver.see().phase is Phase.ACTIVE
        assert driver.see().idle_at is None
        driver.tell(HoldReleased("recovery"))
        assert driver.see().idle_at == driver.now + 300
        driver.tell(HoldReleased("recovery"))
        assert driver.see().idle_at == driver.now + 300

    def test_nothing_is_armed_once_it_ends(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(EndRequested("user-requested"))
        assert wake_at(driver.session) is None


class TestConfig:
    def updated(self, driver: Driver, **changes: object) -> None:
        driver.tell(ConfigUpdated(driver.see().config.changed(changes)))

    def test_every_option_moves_what_it_affects(self) -> None:
        driver = Driver(enable_inactivity_timeout=True)
        driver.go_live()
        driver.pass_time(100)
        self.updated(driver, renewal_margin_seconds=60)
        assert driver.see().renew_at == BEGIN + 540
        self.updated(driver, inactivity_timeout_minutes=10)
        assert driver.see().idle_at == BEGIN + 600
        self.updated(driver, heartbeat_interval_seconds=7)
        assert driver.see().beat_at == driver.now + 7
        self.updated(driver, enable_heartbeat=False, enable_inactivity_timeout=False)
        assert (driver.see().beat_at, driver.see().idle_at) == (None, None)
        self.updated(driver, enable_heartbeat=True, enable_inactivity_timeout=True)
        assert driver.see().beat_at == driver.now + 7
        assert driver.see().idle_at == driver.now + 600

    def test_a_margin_that_is_already_reached_renews_now(self) -> None:
        driver = Driver(enable_inactivity_timeout=False)
        driver.go_live()
        driver.pass_time(400)
        self.updated(driver, renewal_margin_seconds=250)
        driver.pass_time(0)
        assert driver.see().phase is Phase.RENEWING

    def test_while_paused_it_changes_what_is_left(self) -> None:
        driver = Driver(enable_inactivity_timeout=True)
        driver.go_live()
        driver.pass_time(60)
        driver.tell(PauseRequested())
        self.updated(driver, inactivity_timeout_minutes=2, enable_heartbeat=False)
        driver.tell(ResumeRequested())
        assert driver.see().idle_at == driver.now + 60
        assert driver.see().beat_at is None

    def test_while_starting_it_moves_the_time_limit(self) -> None:
        driver = Driver(start_timeout_seconds=10, enable_inactivity_timeout=True)
        driver.begin()
        self.updated(driver, start_timeout_seconds=20, inactivity_timeout_minutes=1)
        assert driver.see().start_by == BEGIN + 20
        assert driver.see().idle_at is None
        driver.mint()
        assert driver.see().idle_at == BEGIN + 60

    def test_the_pace_of_a_failing_renewal_is_kept(self) -> None:
        driver = Driver(max_retry_attempts=0)
        driver.go_live()
        driver.pass_time(590)
        driver.fail()
        due = driver.see().renew_at
        self.updated(driver, renewal_margin_seconds=100)
        assert driver.see().renew_at == due

    def test_more_attempts_count_for_the_round_under_way(self) -> None:
        driver = Driver(max_retry_attempts=0)
        driver.go_live()
        driver.tell(RenewRequested())
        driver.tell(ConfigUpdated(SessionConfig(max_retry_attempts=5)))
        driver.fail()
        assert driver.see().retry_at is not None


class TestConnection:
    def test_a_failure_is_told_with_what_to_do_and_a_success_clears_it(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(ConnectionReported(ConnectionStatus.FAILED))
        (told,) = driver.events(SessionErrorEvent)
        assert told.kind is ErrorType.CONNECTION
        assert told.error.remediation
        assert driver.see().last_error == told.error
        driver.tell(ConnectionReported(ConnectionStatus.HEALTHY))
        assert driver.see().last_error is None
        assert not driver.see().degraded
        assert driver.see().connection is ConnectionStatus.HEALTHY

    def test_the_transports_own_words_are_kept(self) -> None:
        driver = Driver()
        driver.go_live()
        fault = Fault(code="ICE_FAILED", message="ice", remediation="r", retryable=True, domain=FaultDomain.TRANSPORT)
        driver.tell(ConnectionReported(ConnectionStatus.FAILED, fault))
        assert driver.events(SessionErrorEvent)[0].error.code == "ICE_FAILED"

    def test_a_healthy_connection_does_not_hide_a_failing_renewal(self) -> None:
        driver = Driver(max_retry_attempts=0)
        driver.go_live()
        driver.tell(RenewRequested())
        driver.fail()
        driver.tell(ConnectionReported(ConnectionStatus.HEALTHY))
        assert driver.see().degraded
        assert driver.see().last_error is not None


class TestEnd:
    @pytest.mark.parametrize("before", ConnectionPhase)
    def test_a_managed_connection_is_closed_when_it_is_over(self, before: ConnectionPhase) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(ConnectionReported(ConnectionStatus.HEALTHY, phase=before))
        driver.tell(EndRequested("user-requested"))
        driver.say_goodbye()
        none = before is ConnectionPhase.NONE
        assert driver.session.connection_phase is (before if none else ConnectionPhase.CLOSED)

    def test_it_goes_hook_connection_key_purge(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.pass_time(42)
        driver.ordered.clear()
        driver.tell(EndRequested("user-requested"))
        assert [type(effect) for effect in driver.ordered[1:]] == [StopWork, AnswerRenewal, RunHook]
        driver.ordered.clear()
        driver.tell(HookFinished(Hook.ENDING))
        assert driver.ordered == [CloseConnection(0.4)]
        driver.tell(ConnectionClosed())
        assert driver.ordered[1:] == [ReleaseKey(1), Purge("user-requested", 0.5)]
        driver.tell(Purged(RECEIPT))
        assert driver.see().phase is Phase.ENDED
        (ended,) = driver.events(SessionEnded)
        assert (ended.reason, ended.receipt) == ("user-requested", RECEIPT)
        assert ended.statistics.total_duration_ms == pytest.approx(42_000)
        assert ReleaseSlot() in driver.ordered
        assert [type(effect) for effect in driver.ordered[-3:]] == [AnswerStart, AnswerEnd, Forget]

    def test_a_key_that_waits_for_its_swap_is_released(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(RenewRequested())
        driver.mint()
        driver.ordered.clear()
        driver.tell(EndRequested("user-requested"))
        driver.say_goodbye()
        assert [order.ticket for order in driver.orders(ReleaseKey)] == [2, 1]

    def test_a_second_end_joins_the_first(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(EndRequested("user-requested"))
        assert driver.tell(EndRequested("again")) == ()
        driver.say_goodbye()
        assert driver.tell(EndRequested("late")) == ()

    def test_it_is_possible_in_every_running_phase(self) -> None:
        for prepare in ([], [RenewRequested()], [PauseRequested()]):
            driver = Driver()
            driver.go_live()
            for given in prepare:
                driver.tell(given)
            driver.tell(EndRequested("user-requested"))
            assert driver.see().phase is Phase.ENDING

    def test_the_reason_is_on_every_change(self) -> None:
        driver = Driver()
        driver.go_live()
        driver.tell(EndRequested("user-requested"))
        driver.say_goodbye()
        assert [event.reason for event in driver.events(StateChanged)] == [
            "slot reserved",
            "first key fetched",
            "user-requested",
            "user-requested",
        ]
