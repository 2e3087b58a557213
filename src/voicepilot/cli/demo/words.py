"""What happened, in words for people."""

from __future__ import annotations

from voicepilot.cli.screen import Line, sentence
from voicepilot.events import (
    DegradedChanged,
    Event,
    RenewalCompleted,
    RenewalFailed,
    RenewalStarted,
    SessionEnded,
    SessionErrorEvent,
    SessionStarted,
)
from voicepilot.lifecycle.health import CheckStatus, SessionHealth
from voicepilot.lifecycle.session import Trigger
from voicepilot.recovery import CircuitMoved, Recovery

BEGUN = {
    Trigger.TIMER: "its key has {left:.0f} s left: fetching the next",
    Trigger.MANUAL: "asked for by hand: fetching the next key",
    Trigger.CONNECTION: "a connection is to be opened: fetching a key for it",
    Trigger.REJECTED: "the provider refused its key: fetching another",
    Trigger.RECOVERY: "its key lapsed: fetching another",
}


WORSE = Line("degraded from now on: it lives on the key it has", "bad")
WELL = Line("no longer degraded", "good")


def line_of(event: Event) -> Line | None:
    """The event as a line; None for one that says nothing new."""
    left = event.diagnostics.key_seconds_left or 0.0
    match event:
        case SessionStarted():
            return Line(f"started, with a key for {left:.0f} s", "good")
        case RenewalStarted(trigger=trigger):
            return Line(BEGUN.get(trigger, "fetching the next key").format(left=left), "dim")
        case RenewalCompleted(result=result):
            tries = f" at attempt {result.attempts}" if result.attempts > 1 else ""
            return Line(f"renewed in {result.latency_ms / 1000:.1f} s{tries}; the key lasts {left:.0f} s", "good")
        case RenewalFailed(result=result):
            return Line(
                f"gave up this round after {result.attempts} attempts; the old key has {left:.0f} s left, "
                "so the next round comes soon",
                "bad",
            )
        case DegradedChanged(degraded=degraded):
            return WORSE if degraded else WELL
        case SessionErrorEvent(kind=kind, error=error):
            return Line(f"{kind.value}: {sentence(error.message)} {error.remediation}", "bad")
        case SessionEnded(reason=reason, receipt=receipt, statistics=statistics):
            return Line(
                f"ended ({reason}) after {statistics.total_duration_ms / 1000:.0f} s and "
                f"{statistics.renewal_count} renewals; receipt: {receipt.cleared} lines purged, "
                f"{receipt.failed} left",
                "good" if receipt.complete else "bad",
            )
    return None


def plan_line(recovery: Recovery) -> Line:
    """What a recovery plan did."""
    tried = f"step {', '.join(recovery.tried) or 'none'}"
    if recovery.worked:
        return Line(f"recovery plan: {tried} worked, so the next round is made at once", "good")
    fallback = f"fallback {recovery.fallback} is entered" if recovery.fallback else "there is no fallback"
    return Line(f"recovery plan: {tried} did not help; {fallback}", "bad")


def circuit_line(moved: CircuitMoved) -> Line:
    """What the breaker of the provider does."""
    rest = f" for {moved.open_for:.0f} s" if moved.open_for else ""
    return Line(f"circuit breaker: {moved.was.value} -> {moved.now.value}{rest}", "dim")


def health_lines(health: SessionHealth) -> list[Line]:
    """Every check, and the advice of those that did not pass."""
    tones = {CheckStatus.PASS: "plain", CheckStatus.WARN: "bad", CheckStatus.FAIL: "bad"}
    lines = []
    for check in health.checks:
        lines.append(Line(f"{check.status.value:<4}  {check.name}: {check.detail}", tones[check.status]))
        if check.advice:
            lines.append(Line(f"      advice: {check.advice}", "bad"))
    return lines
