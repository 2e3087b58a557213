"""Traces: one span for each start, renewal, end, purge and mint, with links, status and codes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import StatusCode
from tests.telemetry.watching import Watched, a_watched_world, links, own_id, seconds

from voicepilot import ConnectionPhase, ConnectionStatus, SessionEndedError, SessionManager, SessionStartError, Usage
from voicepilot.errors import AuthenticationError, KeyServiceError, ProviderUnavailableError, RateLimitError
from voicepilot.ports import KeyRequest
from voicepilot.telemetry import WatchedKeyService, instrument
from voicepilot.telemetry.traces import ATTRIBUTES, END, MINT, PURGE, RENEWAL, SPANS, START
from voicepilot.testing import FakeKeyService

BUSY = RateLimitError("busy", status=429)
REFUSED = AuthenticationError("no", status=401)


def told(span: ReadableSpan) -> dict[str, object]:
    """The span's attributes without the session's id, its names short."""
    attributes = dict(span.attributes or {})
    assert str(attributes.pop("voicepilot.session.id")).startswith("session-")
    return {name.removeprefix("voicepilot."): value for name, value in attributes.items()}


def failed(span: ReadableSpan) -> bool:
    return span.status.status_code is StatusCode.ERROR


def parents(world: Watched) -> list[tuple[str, str | None]]:
    """Every span and the one it is inside of, in the order they ended."""
    names = {own_id(span): span.name for span in world.spans()}
    return [(span.name, names[span.parent.span_id] if span.parent else None) for span in world.spans()]


async def test_a_session_from_start_to_end() -> None:
    keys = FakeKeyService(latency=0.25)
    async with a_watched_world(keys=keys) as world:
        world.purger.delay = 0.1
        session = await world.manager.start_session(labels={"team": "a"})
        await world.manager.renew_session(session.session_id)
        await world.manager.end_session(reason="said goodbye")
    assert parents(world) == [
        (MINT, START), (START, None), (MINT, RENEWAL), (RENEWAL, None), (PURGE, END), (END, None),
    ]  # fmt: skip
    assert [seconds(span) for span in world.spans()] == [0.25, 0.25, 0.25, 0.25, 0.0, 0.1]
    assert not any(failed(span) for span in world.spans())
    start, renewal, end = (world.spans(name)[0] for name in (START, RENEWAL, END))
    assert told(start) == {"label.team": "a"}
    assert told(renewal) == {"label.team": "a", "trigger": "manual-renewal", "attempts": 1}
    assert told(end) == {"label.team": "a", "reason": "said goodbye"}
    assert told(world.spans(PURGE)[0]) == {
        "label.team": "a", "reason": "session-ended", "purge.cleared": 1, "purge.failed": 0,
    }  # fmt: skip
    assert [links(span) for span in (renewal, end)] == [{"session-start": own_id(start)}] * 2
    assert {span.name for span in world.spans()} == set(SPANS)


async def test_a_retry_is_linked_to_the_attempt_before_it() -> None:
    async with a_watched_world() as world:
        world.fake.fail(BUSY, 2)
        await world.manager.start_session()
        first, second, third = world.spans(MINT)
    assert [told(span)["attempt"] for span in (first, second, third)] == [1, 2, 3]
    assert [failed(span) for span in (first, second, third)] == [True, True, False]
    assert (links(first), links(second), links(third)) == (
        {}, {"previous-attempt": own_id(first)}, {"previous-attempt": own_id(second)},
    )  # fmt: skip
    assert told(first) == {
        "attempt": 1, "error.code": "RATE_LIMITED", "error.type": "RATE_LIMITED", "http.response.status_code": 429,
    }  # fmt: skip


async def test_a_round_is_linked_to_the_failed_round_before_it() -> None:
    async with a_watched_world(max_retry_attempts=1) as world:
        session = await world.manager.start_session()
        world.fake.fail(BUSY, 2)
        for _ in range(3):
            await world.manager.renew_session(session.session_id)
        lost, mended, calm = world.spans(RENEWAL)
    assert [failed(span) for span in (lost, mended, calm)] == [True, False, False]
    assert (links(mended)["previous-round"], "previous-round" in links(calm)) == (own_id(lost), False)
    assert told(lost)["error.code"] == "RENEWAL_FAILED"
    assert (lost.status.description, told(lost)["error.type"]) == ("RATE_LIMITED", "RATE_LIMITED")
    assert [event.name for event in lost.events] == []
    mints = world.spans(MINT)
    assert [bool(links(span)) for span in mints] == [False, False, True, False, False]  # none across rounds


async def test_a_start_that_gets_no_key_has_failed() -> None:
    async with a_watched_world() as world:
        world.fake.fail(REFUSED)
        with pytest.raises(SessionStartError):
            await world.manager.start_session()
    start = world.spans(START)[0]
    assert failed(start)
    assert told(start) == {
        "reason": "start-failed", "error.code": "SESSION_START_FAILED", "error.type": "INVALID_CREDENTIALS",
        "http.response.status_code": 401,
    }  # fmt: skip
    assert parents(world) == [(MINT, START), (START, None), (END, None)]
    assert failed(world.spans(END)[0])


async def test_a_start_that_is_ended_has_not_failed() -> None:
    async with a_watched_world(keys=FakeKeyService(latency=5)) as world:
        starting = asyncio.ensure_future(world.manager.start_session())
        await asyncio.sleep(1)
        await world.manager.end_session()
        with pytest.raises(SessionEndedError):
            await starting
        await asyncio.sleep(0)
    start, mint = world.spans(START)[0], world.spans(MINT)[0]
    assert (failed(start), seconds(start), told(start)) == (False, 1.0, {"reason": "user-requested"})
    assert (failed(mint), seconds(mint), told(mint)) == (False, 1.0, {"attempt": 1, "reason": "cancelled"})


async def test_a_renewal_that_is_hopeless_fails_its_round_and_the_session() -> None:
    async with a_watched_world() as world:
        session = await world.manager.start_session()
        world.fake.fail(REFUSED, 9)
        await world.manager.renew_session(session.session_id)
        await asyncio.sleep(5)
    renewal, end = world.spans(RENEWAL)[0], world.spans(END)[0]
    assert [told(span)["error.type"] for span in (renewal, end)] == ["INVALID_CREDENTIALS"] * 2
    assert told(renewal)["attempts"] == 1
    assert (PURGE, END) in parents(world)


async def test_a_renewal_cut_short_by_the_end_has_not_failed() -> None:
    async with a_watched_world() as world:
        session = await world.manager.start_session()
        world.fake.hang()
        renewing = asyncio.ensure_future(world.manager.renew_session(session.session_id))
        await asyncio.sleep(1)
        await world.manager.end_session()
        await renewing
    renewal = world.spans(RENEWAL)[0]
    assert (failed(renewal), told(renewal)) == (False, {"trigger": "manual-renewal", "reason": "user-requested"})


async def test_what_goes_wrong_meanwhile_is_an_event_on_the_span() -> None:
    async with a_watched_world(inactivity_timeout_minutes=60) as world:
        await world.manager.start_session()
        world.fake.fail(BUSY, 99)
        await asyncio.sleep(640)
        await world.manager.end_session()
    events = [event for span in world.spans(RENEWAL) for event in span.events]
    assert [(event.name, (event.attributes or {})["voicepilot.error.code"]) for event in events] == [
        ("authentication-error", "KEY_EXPIRED")
    ]


async def test_a_purge_that_leaves_something_behind_has_failed() -> None:
    async with a_watched_world() as world:
        world.purger.error = RuntimeError("disk")
        await world.manager.start_session()
        await world.manager.end_session()
    purge = world.spans(PURGE)[0]
    assert (failed(purge), told(purge)["purge.failed"], seconds(purge)) == (True, 1, 0.5)


async def test_a_start_belongs_to_the_request_that_asked_for_it() -> None:
    async with a_watched_world() as world:
        own = TracerProvider(shutdown_on_exit=False).get_tracer("application")
        with own.start_as_current_span("request") as request:
            await world.manager.start_session()
            await world.manager.end_session()
    start, end = world.spans(START)[0], world.spans(END)[0]
    assert start.parent is not None
    assert start.parent.span_id == request.get_span_context().span_id
    assert end.parent is None


async def test_the_mint_is_current_while_it_lasts() -> None:
    seen: list[str] = []

    class Curious(FakeKeyService):
        async def request_ephemeral_key(self, request):  # type: ignore[no-untyped-def]  # as its base
            seen.append(getattr(trace.get_current_span(), "name", ""))
            return await super().request_ephemeral_key(request)

    async with a_watched_world(keys=Curious()) as world:
        await world.manager.start_session()
        await world.keys.request_ephemeral_key(KeyRequest(session_id="of nobody's"))
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert seen == [MINT, MINT]


async def test_labels_and_reasons_show_no_secret() -> None:
    async with a_watched_world() as world:
        await world.manager.start_session(labels={"password": "hush", "note": "ek_0123456789", "long": "x y " * 100})
        await world.manager.end_session(reason="Bearer 0123456789")
    shown = told(world.spans(END)[0])
    assert (shown["label.password"], shown["label.note"], shown["reason"]) == (
        "<hidden>",
        "<hidden>",
        "Bearer <hidden>",
    )
    assert len(str(shown["label.long"])) == 100


async def test_dispose_ends_what_is_open_and_hears_nothing_more() -> None:
    async with a_watched_world() as world:
        session = await world.manager.start_session()
        world.fake.hang()
        renewing = asyncio.ensure_future(world.manager.renew_session(session.session_id))
        await asyncio.sleep(2)
        world.telemetry.dispose()
        world.telemetry.dispose()
        assert [span.name for span in world.spans()] == [MINT, START, RENEWAL]
        await world.manager.end_session()
        await renewing
        assert [span.name for span in world.spans(END)] == []
        assert world.telemetry._cancels == []


async def test_a_span_processor_that_raises_costs_nobody_his_key() -> None:
    class Broken(trace.NoOpTracer):
        def start_span(self, *_: object, **__: object) -> trace.Span:
            raise RuntimeError("no room")

    class Provider(trace.TracerProvider):
        def get_tracer(self, *_: object, **__: object) -> trace.Tracer:
            return Broken()

    keys = WatchedKeyService(FakeKeyService())
    async with SessionManager(keys) as manager:
        with instrument(manager, keys, tracer_provider=Provider()):
            session = await manager.start_session()
            assert (await manager.renew_session(session.session_id)).success


async def test_without_an_sdk_nothing_is_kept() -> None:
    keys = WatchedKeyService(FakeKeyService())
    async with SessionManager(keys) as manager:
        with instrument(manager, keys, tracer_provider=trace.NoOpTracerProvider()) as telemetry:
            await manager.start_session()
            traces = telemetry._traces
            assert traces._sessions == {}


async def test_nothing_is_kept_of_sessions_that_are_over() -> None:
    async with a_watched_world(max_retry_attempts=1) as world:
        errors: Sequence[KeyServiceError | None] = [None, REFUSED, None, ProviderUnavailableError("x")]
        for error in errors:
            if error:
                world.fake.fail(error, 9)
            with pytest.raises(SessionStartError) if error else _fine():
                await world.manager.start_session()
            world.fake.heal()
            await world.manager.end_session()
        assert world.telemetry._traces._sessions == {}
        assert world.telemetry._metrics._live == {}


class _fine:  # noqa: N801 - reads as a context manager
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


async def test_every_attribute_is_listed() -> None:
    async with a_watched_world(max_retry_attempts=1) as world:
        session = await world.manager.start_session(labels={"team": "a"})
        world.fake.fail(BUSY)
        world.fake.latency = 1
        renewal = asyncio.ensure_future(world.manager.renew_session(session.session_id))
        await asyncio.sleep(0.5)
        await world.manager.update_session_config(session.session_id, {"max_total_tokens": 100})
        world.manager.report_usage(session.session_id, Usage(input_tokens=90))
        world.link(session.session_id).report(ConnectionPhase.LIVE, ConnectionStatus.HEALTHY)
        await renewal
        await world.manager.end_session()
    used = {str(name) for span in world.spans() for name in (span.attributes or {})}
    used |= {str(name) for span in world.spans() for event in span.events for name in (event.attributes or {})}
    used |= {str(name) for span in world.spans() for link in span.links for name in (link.attributes or {})}
    assert {"voicepilot.label.<name>" if ".label." in name else name for name in used} == set(ATTRIBUTES)
