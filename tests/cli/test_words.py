from __future__ import annotations

import asyncio

from tests.support import a_world

from voicepilot import ProviderUnavailableError
from voicepilot.cli.demo.words import circuit_line, health_lines, line_of, plan_line
from voicepilot.cli.screen import Line, sentence
from voicepilot.lifecycle.health import CheckStatus, HealthCheck, SessionHealth
from voicepilot.recovery import Circuit, CircuitMoved, Recovery


async def test_a_life_reads_as_a_story() -> None:
    async with a_world(key_life_seconds=20, max_retry_attempts=1, inactivity_timeout_minutes=0.5) as world:
        session = await world.manager.start_session()
        await asyncio.sleep(10.5)
        world.keys.fail(ProviderUnavailableError("the provider answered 503"), count=2)
        await world.manager.renew_session(session.session_id)
        await asyncio.sleep(20)
    lines = [line.text for event in world.recorder.events if (line := line_of(event)) is not None]
    assert lines[:6] == [
        "started, with a key for 20 s",
        "its key has 10 s left: fetching the next",
        "renewed in 0.0 s; the key lasts 20 s",
        "asked for by hand: fetching the next key",
        lines[4],
        lines[5],
    ]
    failed = "renewal-error: Failed to renew session credentials: the provider answered 503."
    assert lines[5] == f"{failed} Usually passes by itself; check the provider's status page if it lasts."
    assert lines[4].startswith("gave up this round after 2 attempts; the old key has ")
    assert lines[-2].startswith("timeout-error: no activity for 0.5 minutes. Start a new session")
    assert lines[-1] == "ended (inactivity-timeout) after 30 s and 3 renewals; receipt: 1 lines purged, 0 left"


def test_health_is_told_with_advice_where_there_is_any() -> None:
    checks = (
        HealthCheck("credential-validity", CheckStatus.PASS, "the key is valid"),
        HealthCheck("renewal", CheckStatus.WARN, "1 round failed", "Wait."),
    )
    assert health_lines(SessionHealth("id", 0.0, checks)) == [
        Line("pass  credential-validity: the key is valid", "plain"),
        Line("warn  renewal: 1 round failed", "bad"),
        Line("      advice: Wait.", "bad"),
    ]


def test_what_a_plan_did_is_told() -> None:
    assert plan_line(Recovery(worked=True, step="ASK", tried=("WAIT", "ASK"))) == Line(
        "recovery plan: step WAIT, ASK worked, so the next round is made at once", "good"
    )
    assert plan_line(Recovery(tried=("ASK",), fallback="degraded-features")) == Line(
        "recovery plan: step ASK did not help; fallback degraded-features is entered", "bad"
    )
    assert plan_line(Recovery()).text == "recovery plan: step none did not help; there is no fallback"


def test_what_the_breaker_does_is_told() -> None:
    opened = CircuitMoved(endpoint="e", was=Circuit.CLOSED, now=Circuit.OPEN, cause="X", open_for=5.0)
    closed = CircuitMoved(endpoint="e", was=Circuit.HALF_OPEN, now=Circuit.CLOSED, cause=None)
    assert circuit_line(opened).text == "circuit breaker: closed -> open for 5 s"
    assert circuit_line(closed).text == "circuit breaker: half-open -> closed"


def test_a_sentence_ends_once() -> None:
    assert [sentence(text) for text in ("it broke", "it broke.", "why?")] == ["it broke.", "it broke.", "why?"]
