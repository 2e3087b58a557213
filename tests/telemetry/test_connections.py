"""What telemetry makes of a managed connection: figures, records, and events on spans."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.telemetry.watching import Watched, a_watched_world

from voicepilot import ConnectionPhase, ConnectionStatus, Fault, FaultDomain
from voicepilot.runtime.managed import SessionLink
from voicepilot.telemetry.metrics import MOST_CODES
from voicepilot.telemetry.traces import END, RENEWAL
from voicepilot.testing import FakeKeyService

CONNECTING, LIVE, MOVING = ConnectionPhase.CONNECTING, ConnectionPhase.LIVE, ConnectionPhase.MOVING
WAITING, CLOSED = ConnectionPhase.WAITING, ConnectionPhase.CLOSED
UNKNOWN, HEALTHY, DEGRADED, FAILED = ConnectionStatus
WORDS = "the user said something"
CUT = Fault(
    code="CONNECTION_LOST",
    message=WORDS,
    remediation="Nothing to do.",
    retryable=True,
    domain=FaultDomain.TRANSPORT,
)
BUSY = Fault(code="DIAL_FAILED", cause="RATE_LIMITED", message="429", remediation="Wait.", retryable=True, status=429)


async def a_call(world: Watched, **options: object) -> SessionLink:
    """A session whose managed connection is live."""
    session = await world.manager.start_session(**options)  # type: ignore[arg-type]  # what start_session takes
    link = world.link(session.session_id)
    link.report(CONNECTING, UNKNOWN)
    link.report(LIVE, HEALTHY)
    return link


def hand_over(link: SessionLink) -> None:
    link.report(MOVING, HEALTHY)
    link.report(LIVE, HEALTHY)


async def fall(link: SessionLink, seconds: float, fault: Fault = CUT) -> None:
    link.report(CONNECTING, FAILED, fault)
    await asyncio.sleep(seconds)


def connected(world: Watched) -> list[float]:
    return list(world.points("voicepilot.connections").values())


def handovers(world: Watched) -> dict[str, float]:
    points = world.points("voicepilot.connection.handovers")
    return {str(dict(attributes)["outcome"]): value for attributes, value in points.items()}


def reconnects(world: Watched) -> dict[str, float]:
    points = world.points("voicepilot.connection.reconnects")
    return {str(dict(attributes)["code"]): value for attributes, value in points.items()}


def outages(world: Watched) -> dict[str, float]:
    points = world.points("voicepilot.connection.outage")
    return {str(dict(attributes)["outcome"]): value for attributes, value in points.items()}


class TestFigures:
    async def test_connections_are_counted_while_they_are_open(self) -> None:
        async with a_watched_world() as world:
            first, second = await a_call(world), await a_call(world)
            assert connected(world) == [2]
            first.report(MOVING, HEALTHY)
            assert connected(world) == [2]
            await fall(second, 1)
            assert connected(world) == [1]
            second.report(LIVE, HEALTHY)
            assert connected(world) == [2]
            second.report(CLOSED, UNKNOWN)
            assert connected(world) == [1]
            await world.manager.end_session(first.session_id)
            assert connected(world) == [0]

    async def test_a_transport_of_the_applications_own_is_none(self) -> None:
        async with a_watched_world() as world:
            session = await world.manager.start_session()
            world.manager.report_connection(session.session_id, HEALTHY)
            world.manager.report_connection(session.session_id, FAILED)
            assert connected(world) == []

    async def test_dispose_takes_them_off_and_who_comes_later_never_goes_below_zero(self) -> None:
        async with a_watched_world() as world:
            link = await a_call(world)
            world.telemetry.dispose()
            assert connected(world) == [0]
            again = world.instrumented()
            await fall(link, 1)
            assert connected(world) == [0]
            link.report(LIVE, HEALTHY)
            assert connected(world) == [1]
            again.dispose()
            assert connected(world) == [0]

    async def test_an_outage_that_dispose_cut_short_is_forgotten(self) -> None:
        async with a_watched_world() as world:
            link = await a_call(world)
            await fall(link, 1)
            world.telemetry.dispose()
            link.report(LIVE, HEALTHY)
            assert outages(world) == {}
            assert world.telemetry._metrics._outages == {}

    async def test_a_handover_is_one_and_one_that_is_put_off_is_a_failure(self) -> None:
        async with a_watched_world() as world:
            link = await a_call(world)
            hand_over(link)
            hand_over(link)
            link.report(MOVING, HEALTHY)
            link.report(LIVE, DEGRADED, CUT)
            assert handovers(world) == {"success": 2, "failure": 1}
            assert (reconnects(world), outages(world)) == ({}, {})

    async def test_an_outage_lasts_from_the_fall_until_it_is_live_again(self) -> None:
        async with a_watched_world() as world:
            link = await a_call(world)
            await fall(link, 2)
            link.report(WAITING, FAILED, BUSY)
            await asyncio.sleep(5)
            assert outages(world) == {}
            link.report(LIVE, HEALTHY)
            assert outages(world) == {"success": 7}
            assert reconnects(world) == {"CONNECTION_LOST": 1}
            await fall(link, 1, BUSY)
            link.report(LIVE, HEALTHY)
            assert outages(world) == {"success": 8}
            assert reconnects(world) == {"CONNECTION_LOST": 1, "RATE_LIMITED": 1}
            assert handovers(world) == {}

    async def test_a_fall_while_the_next_is_prepared_is_an_outage_and_no_handover(self) -> None:
        async with a_watched_world() as world:
            link = await a_call(world)
            link.report(MOVING, HEALTHY)
            await fall(link, 0.5)
            link.report(LIVE, HEALTHY)
            assert (handovers(world), outages(world)) == ({}, {"success": 0.5})

    async def test_an_outage_that_is_given_up_has_failed_and_one_that_is_ended_has_not(self) -> None:
        async with a_watched_world() as world:
            lost, ended = await a_call(world), await a_call(world)
            await fall(lost, 30)
            lost.report(CLOSED, FAILED, CUT)
            await fall(ended, 3)
            await world.manager.end_session(ended.session_id)
            assert outages(world) == {"failure": 30, "cancelled": 3}
            assert reconnects(world) == {}

    async def test_the_first_connection_however_late_is_no_outage(self) -> None:
        async with a_watched_world() as world:
            link = world.link((await world.manager.start_session()).session_id)
            link.report(CONNECTING, UNKNOWN)
            link.report(WAITING, FAILED, CUT)
            await asyncio.sleep(9)
            link.report(LIVE, HEALTHY)
            await world.manager.end_session()
            assert (reconnects(world), outages(world), connected(world)) == ({}, {}, [0])

    async def test_something_is_kept_only_while_there_is_an_outage(self) -> None:
        async with a_watched_world() as world:
            links = [await a_call(world) for _ in range(5)]
            kept = world.telemetry._metrics._outages
            assert kept == {}
            for link in links:
                await fall(link, 0)
            assert len(kept) == 5
            links[0].report(LIVE, HEALTHY)
            links[1].report(CLOSED, FAILED, CUT)
            for link in links[2:]:
                await world.manager.end_session(link.session_id)
            assert kept == {}

    async def test_codes_and_labels_are_bounded_and_no_session_is_named(self) -> None:
        async with a_watched_world(watch={"labels": ["team"]}) as world:
            link = await a_call(world, labels={"team": "a", "user": "u-1"})
            hand_over(link)
            for number in range(MOST_CODES + 9):
                await fall(link, 0.1, Fault(code=f"C_{number}", message="m", remediation="r", retryable=True))
                link.report(LIVE, HEALTHY)
            assert len(reconnects(world)) == MOST_CODES + 1
            for name in ("connections", "connection.handovers", "connection.reconnects", "connection.outage"):
                points = world.points(f"voicepilot.{name}")
                assert points
                assert {dict(attributes)["label.team"] for attributes in points} == {"a"}
            shown = repr(world.figures())
            assert link.session_id not in shown
            assert "u-1" not in shown


class TestRecords:
    async def test_each_change_has_its_level(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "voicepilot.events")
        async with a_watched_world() as world:
            link = await a_call(world)
            hand_over(link)
            link.report(MOVING, HEALTHY)
            link.report(LIVE, DEGRADED, CUT)
            await fall(link, 1)
            link.report(WAITING, FAILED, CUT)
            link.report(LIVE, HEALTHY)
            await world.manager.end_session(link.session_id)
        told = [vars(record) for record in caplog.records if vars(record).get("kind") == "connection-changed"]
        assert [(line["previous"], line["connection"], line["levelname"]) for line in told] == [
            ("none", "connecting", "DEBUG"),
            ("connecting", "live", "INFO"),
            ("live", "moving", "DEBUG"),
            ("moving", "live", "INFO"),
            ("live", "moving", "DEBUG"),
            ("moving", "live", "WARNING"),
            ("live", "connecting", "WARNING"),
            ("connecting", "waiting", "WARNING"),
            ("waiting", "live", "INFO"),
            ("live", "closed", "INFO"),
        ]

    async def test_a_fall_says_what_failed_and_what_to_do_and_nothing_that_was_said(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with a_watched_world() as world:
            link = await a_call(world)
            await fall(link, 1)
        (line,) = [
            vars(record)
            for record in caplog.records
            if vars(record).get("connection") == "connecting" and record.levelno == logging.WARNING
        ]
        assert (line["code"], line["remedy"], line["connection_status"]) == (
            "CONNECTION_LOST",
            "Nothing to do.",
            "failed",
        )
        assert caplog.messages[0].startswith(f"connection-changed {link.session_id} active connecting")
        assert WORDS not in repr([vars(record) for record in caplog.records])


class TestSpans:
    async def test_changes_are_events_on_the_spans_that_are_open(self) -> None:
        async with a_watched_world(keys=FakeKeyService(latency=2)) as world:
            link = await a_call(world)
            await fall(link, 1)  # nothing is open
            renewal = asyncio.ensure_future(world.manager.renew_session(link.session_id))
            await asyncio.sleep(1)
            link.report(WAITING, FAILED, BUSY)
            await renewal
            link.report(LIVE, HEALTHY)
            await world.manager.end_session(link.session_id)
        (renewed,), (ended,) = world.spans(RENEWAL), world.spans(END)
        assert [(event.name, dict(event.attributes or {})) for event in renewed.events][:1] == [
            (
                "connection-changed",
                {
                    "voicepilot.connection.previous": "connecting",
                    "voicepilot.connection.phase": "waiting",
                    "voicepilot.error.code": "DIAL_FAILED",
                    "error.type": "RATE_LIMITED",
                    "http.response.status_code": 429,
                },
            )
        ]
        assert [(event.name, dict(event.attributes or {})) for event in ended.events] == [
            (
                "connection-changed",
                {"voicepilot.connection.previous": "live", "voicepilot.connection.phase": "closed"},
            )
        ]
