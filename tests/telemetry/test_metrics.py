"""Metrics: what they count, that gauges come back to zero, and that their number is bounded."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from tests.telemetry.watching import Watched, a_watched_world

from voicepilot import ConnectionPhase, ConnectionStatus, ConversationLifecycleHooks, SessionStartError, Usage
from voicepilot.errors import AuthenticationError, KeyServiceError, RateLimitError
from voicepilot.telemetry.metrics import METRICS, MOST_CODES, Metric
from voicepilot.testing import FakeKeyService
from voicepilot.testing.virtual import EPOCH

BUSY = RateLimitError("busy", status=429)


def phases(world: Watched) -> dict[str, float]:
    """How many sessions are in each phase that has any."""
    found = world.points("voicepilot.sessions")
    return {str(dict(attributes)["phase"]): value for attributes, value in found.items() if value}


async def test_sessions_are_counted_by_phase() -> None:
    async with a_watched_world() as world:
        first = await world.manager.start_session()
        await world.manager.start_session()
        await world.manager.pause_session(first.session_id)
        world.fake.hang()
        starting = asyncio.ensure_future(world.manager.start_session())
        await asyncio.sleep(1)
        assert phases(world) == {"paused": 1, "active": 1, "starting": 1}
        starting.cancel()
        await asyncio.sleep(1)
        assert phases(world) == {"paused": 1, "active": 1}
    assert phases(world) == {}


async def test_dispose_takes_live_sessions_off_the_gauge() -> None:
    async with a_watched_world() as world:
        await world.manager.start_session()
        world.telemetry.dispose()
        assert phases(world) == {}
        await world.manager.end_session()
        assert phases(world) == {}


async def test_sessions_that_were_there_before_never_make_the_gauge_negative() -> None:
    async with a_watched_world() as world:
        world.telemetry.dispose()
        session = await world.manager.start_session()
        again = world.instrumented()
        await world.manager.renew_session(session.session_id)
        assert phases(world) == {"active": 1}
        await world.manager.end_session()
        assert phases(world) == {}
        again.dispose()


async def test_renewals_and_how_long_they_took() -> None:
    async with a_watched_world(keys=FakeKeyService(latency=0.5), max_retry_attempts=1) as world:
        session = await world.manager.start_session()
        await world.manager.renew_session(session.session_id)
        world.fake.fail(BUSY, 2)
        lost = await world.manager.renew_session(session.session_id)
    assert world.points("voicepilot.renewals") == {(("outcome", "success"),): 1, (("outcome", "failure"),): 1}
    assert world.points("voicepilot.renewal.duration") == {
        (("outcome", "success"),): 0.5,
        (("outcome", "failure"),): round(lost.latency_ms / 1000, 6),
    }


async def test_failures_are_counted_by_the_code_of_their_cause() -> None:
    async with a_watched_world(max_retry_attempts=1) as world:
        await world.manager.start_session()
        world.fake.fail(AuthenticationError("no", status=401))
        with pytest.raises(SessionStartError):
            await world.manager.start_session()
        world.fake.heal()
        await asyncio.sleep(301)
    assert world.points("voicepilot.failures") == {
        (("code", "INVALID_CREDENTIALS"), ("type", "authentication-error")): 1,
        (("code", "INACTIVITY_TIMEOUT"), ("type", "timeout-error")): 1,
    }


async def test_each_mint_is_timed_with_its_outcome() -> None:
    async with a_watched_world(keys=FakeKeyService(latency=0.25)) as world:
        world.fake.fail(BUSY, 2)
        session = await world.manager.start_session()
        world.fake.hang()
        renewing = asyncio.ensure_future(world.manager.renew_session(session.session_id))
        await asyncio.sleep(2)
        await world.manager.end_session()
        await renewing
    assert world.points("voicepilot.key.mint.duration") == {
        (("outcome", "success"),): 0.25,
        (("code", "RATE_LIMITED"), ("outcome", "failure")): 0.5,
        (("outcome", "cancelled"),): 2.0,
    }


async def test_seconds_without_a_valid_key() -> None:
    async with a_watched_world(key_life_seconds=100, renewal_margin_seconds=20, inactivity_timeout_minutes=60) as world:
        session = await world.manager.start_session()
        born = world.clock.now()
        world.fake.fail(BUSY, 9_999)
        await asyncio.sleep(160)
        so_far = world.points("voicepilot.key.gap")[()]
        assert 0 < so_far <= 60  # it shows while it lasts
        world.fake.heal()
        await world.manager.renew_session(session.session_id)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert info.expires_at is not None
        gap = info.expires_at - 100 - (born + 100)
        await world.manager.end_session()
    assert world.points("voicepilot.key.gap") == {(): pytest.approx(gap, abs=1e-3)}


async def test_a_gap_ends_with_the_session() -> None:
    async with a_watched_world(key_life_seconds=100, renewal_margin_seconds=20, inactivity_timeout_minutes=60) as world:
        await world.manager.start_session()
        world.fake.fail(BUSY, 9_999)
        await asyncio.sleep(150)
        await world.manager.end_session()
        await asyncio.sleep(100)
    assert world.points("voicepilot.key.gap") == {(): 50.0}


async def test_a_gap_is_counted_from_the_lapse_also_when_the_machine_slept() -> None:
    async with a_watched_world(key_life_seconds=100, renewal_margin_seconds=20, inactivity_timeout_minutes=60) as world:
        await world.manager.start_session()
        await asyncio.sleep(50)
        world.clock.suspend(200)
        await asyncio.sleep(30)
        awake = world.recorder.of("renewal-completed")[0].at - EPOCH
    assert awake > 250
    assert world.points("voicepilot.key.gap") == {(): pytest.approx(awake - 100, abs=1e-3)}


async def test_a_gap_ends_when_the_key_comes_not_when_the_application_has_resumed() -> None:
    class Slow(ConversationLifecycleHooks):
        async def on_session_resumed(self, _: object) -> None:
            await asyncio.sleep(2)

    async with a_watched_world(key_life_seconds=100, renewal_margin_seconds=20, inactivity_timeout_minutes=60) as world:
        world.manager.register_conversation_hooks(Slow())
        await world.manager.start_session()
        world.fake.fail(BUSY, 9_999)
        await asyncio.sleep(130)
        world.fake.heal()
        await asyncio.sleep(60)
        key = world.recorder.of("renewal-completed")[-1].session.key
        assert key is not None
        lapsed = world.recorder.of("authentication-error")[-1].at
    assert world.points("voicepilot.key.gap") == {(): pytest.approx(key.issued_at - lapsed, abs=1e-3)}


async def test_a_key_that_was_refused_counts_as_none() -> None:
    async with a_watched_world(keys=FakeKeyService(latency=3)) as world:
        session = await world.manager.start_session()
        world.manager.report_key_rejected(session.session_id, BUSY.fault)
        await asyncio.sleep(10)
    assert world.points("voicepilot.key.gap") == {(): 3.0}


async def test_without_trouble_there_is_no_gap() -> None:
    async with a_watched_world(inactivity_timeout_minutes=60) as world:
        await world.manager.start_session()
        await asyncio.sleep(3_000)
        await world.manager.end_session()
    assert world.points("voicepilot.key.gap") == {}
    assert world.points("voicepilot.renewals")[(("outcome", "success"),)] >= 5


async def test_purges_are_timed() -> None:
    async with a_watched_world() as world:
        await world.manager.start_session()
        await world.manager.end_session()
        world.purger.delay = 9
        await world.manager.start_session()
        await world.manager.end_session()
    assert world.points("voicepilot.purge.duration") == {
        (("outcome", "complete"),): 0.0,
        (("outcome", "incomplete"),): 0.5,
    }


async def test_only_allowed_labels_are_on_metrics_and_each_with_few_values() -> None:
    async with a_watched_world(watch={"labels": ["team"], "label_values": 2}) as world:
        for team in ("a", "b", "c", "d", "a"):
            await world.manager.start_session(labels={"team": team, "user": f"user-{team}"})
        assert world.points("voicepilot.sessions") == {
            (("label.team", team), ("phase", phase)): count * (phase == "active")
            for team, count in (("a", 2), ("b", 1), ("other", 2))
            for phase in ("starting", "active")
        }


async def test_codes_of_others_are_bounded_too() -> None:
    async with a_watched_world() as world:
        for number in range(MOST_CODES + 40):
            world.fake.fail(KeyServiceError("x", code=f"CODE_{number}"))
            with pytest.raises(SessionStartError):
                await world.manager.start_session()
        codes = {dict(attributes)["code"] for attributes in world.points("voicepilot.failures")}
    assert len(codes) == MOST_CODES + 1
    assert "other" in codes


async def test_no_session_id_is_on_any_metric() -> None:
    async with a_watched_world() as world:
        session = await world.manager.start_session()
        await world.manager.renew_session(session.session_id)
        await world.manager.end_session()
        assert session.session_id not in repr(world.figures())


USED = Usage(
    input_tokens=100,
    input_text_tokens=20,
    input_audio_tokens=60,
    input_image_tokens=15,
    input_cached_tokens=40,
    output_tokens=50,
    output_text_tokens=10,
    output_audio_tokens=40,
    input_audio_seconds=2.5,
    output_audio_seconds=1.5,
)


async def test_every_token_is_counted_once_by_direction_and_kind() -> None:
    async with a_watched_world(watch={"labels": ["team"]}) as world:
        session = await world.manager.start_session(labels={"team": "a"})
        world.manager.report_usage(session.session_id, USED)
        world.manager.report_usage(session.session_id, USED)
        found = {
            (dict(attributes)["direction"], dict(attributes)["kind"]): tokens
            for attributes, tokens in world.points("voicepilot.tokens").items()
            if dict(attributes)["label.team"] == "a"
        }
        assert found == {
            ("input", "text"): 40,
            ("input", "audio"): 120,
            ("input", "image"): 30,
            ("input", "other"): 10,
            ("output", "text"): 20,
            ("output", "audio"): 80,
        }
        assert sum(found.values()) == 2 * USED.total_tokens
        assert list(world.points("voicepilot.tokens.cached").values()) == [80]
        audio = {dict(attributes)["direction"]: value for attributes, value in world.points("voicepilot.audio").items()}
        assert audio == {"input": 5, "output": 3}


async def test_usage_without_a_split_or_without_audio_is_counted_as_far_as_it_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_watched_world() as world:
        session = await world.manager.start_session()
        world.manager.report_usage(session.session_id, Usage(output_tokens=7, output_text_tokens=9))
        assert list(world.points("voicepilot.tokens").values()) == [9]
        assert world.points("voicepilot.audio") == world.points("voicepilot.tokens.cached") == {}
        assert caplog.records == []


async def test_degraded_sessions_are_counted_until_they_are_well_over_or_out_of_sight() -> None:
    async with a_watched_world() as world:
        ids = [(await world.manager.start_session()).session_id for _ in range(3)]
        for session_id in ids:
            world.manager.report_connection(session_id, ConnectionStatus.FAILED)
            world.manager.report_connection(session_id, ConnectionStatus.FAILED)
        assert list(world.points("voicepilot.sessions.degraded").values()) == [3]
        world.manager.report_connection(ids[0], ConnectionStatus.HEALTHY)
        assert list(world.points("voicepilot.sessions.degraded").values()) == [2]
        await world.manager.end_session(ids[1])
        assert list(world.points("voicepilot.sessions.degraded").values()) == [1]
        world.telemetry.dispose()
        assert list(world.points("voicepilot.sessions.degraded").values()) == [0]


async def test_a_limit_that_comes_near_is_counted_by_its_option() -> None:
    async with a_watched_world(max_duration_seconds=100, max_audio_seconds=2) as world:
        session = await world.manager.start_session()
        world.manager.report_usage(session.session_id, Usage(input_audio_seconds=1.9))
        await asyncio.sleep(91)
        found = {dict(attributes)["limit"]: value for attributes, value in world.points("voicepilot.limits").items()}
        assert found == {"max_audio_seconds": 1, "max_duration_seconds": 1}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
async def test_a_metric_is_as_its_row_says(metric: Metric) -> None:
    async with a_watched_world(max_retry_attempts=1, key_life_seconds=60, inactivity_timeout_minutes=60) as world:
        session = await world.manager.start_session()
        world.fake.fail(BUSY, 9)
        await asyncio.sleep(200)
        await world.manager.update_session_config(session.session_id, {"max_total_tokens": 1})
        world.manager.report_usage(session.session_id, USED)
        for phase in (ConnectionPhase.MOVING, ConnectionPhase.LIVE, ConnectionPhase.CONNECTING, ConnectionPhase.LIVE):
            world.link(session.session_id).report(phase, ConnectionStatus.HEALTHY)
        await world.manager.end_session(session.session_id)
        data = world.figures()
    assert data is not None
    found = next(
        found
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for found in scope.metrics
        if found.name == metric.name
    )
    assert (found.unit, found.description) == (metric.unit, metric.description)
    used = {name for point in found.data.data_points for name in (point.attributes or {})}
    assert used == set(metric.attributes)
    kind = type(found.data).__name__
    assert kind == ("Histogram" if metric.kind == "histogram" else "Sum")
    if metric.kind == "histogram":
        point = found.data.data_points[0]
        assert isinstance(point, HistogramDataPoint)
        assert tuple(point.explicit_bounds) == metric.buckets
    else:
        assert getattr(found.data, "is_monotonic", None) is (metric.kind == "counter")
