"""Faults as data: how they are written, counted, and drawn."""

from __future__ import annotations

import pytest

from voicepilot.emulator import Fault, Faults, parse_fault
from voicepilot.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mint:429:count=2", Fault(place="mint", kind="status", status=429, count=2)),
        ("mint:429:count=2,retry_after=3", Fault(place="mint", kind="status", status=429, count=2, retry_after=3)),
        ("mint:hang", Fault(place="mint", kind="hang")),
        ("mint:503:count=all", Fault(place="mint", kind="status", status=503, count=None)),
        ("connect:close:status=3000:code=x", Fault(place="connect", kind="close", status=3000, code="x")),
        ("session:drop:after=5", Fault(place="session", kind="drop", after=5)),
        ("outage:503:seconds=30", Fault(place="outage", kind="status", status=503, seconds=30, count=None)),
        (
            "latency:mint:median=0.2,p99=2",
            Fault(place="latency", kind="mint", median=0.2, p99=2, count=None),
        ),
    ],
)
def test_faults_are_written_in_one_line(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("mint", "mint has no fault ''"),
        ("moon:eclipse", "no fault can be placed at 'moon'"),
        ("mint:explode", "mint has no fault 'explode'"),
        ("mint:429:count", "'count' should be name=value"),
        ("mint:429:cuont=2", "no option 'cuont'"),
        ("mint:429:count=many", "count"),
        ("mint:429:count=0", "at least once"),
        ("mint:200", "200 is no HTTP status of a refusal"),
        ("mint:slow:seconds=-1", "seconds"),
        ("latency:mint:median=0", "median"),
        ("mint:slow:seconds=inf", "seconds"),
        ("latency:mint:low=0,high=1e300", "high"),
    ],
)
def test_a_fault_that_cannot_be_says_why(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        parse_fault(text)


@pytest.mark.parametrize(("name", "value"), [("X", "a\r\nEvil: b"), ("X Y", "a"), ("", "a"), ("X", "\u00e9")])
def test_a_header_that_cannot_be_sent_is_no_fault(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="no HTTP header"):
        Fault(place="mint", kind="status", headers={name: value})


def test_a_fault_happens_as_often_as_it_says() -> None:
    faults = Faults()
    faults.fail_mints(429, count=2)
    faults.hang_mints()
    happened = [fault and fault.kind for fault in (faults.take("mint") for _ in range(4))]
    assert happened == ["status", "status", "hang", None]
    assert faults.pending() == []


def test_every_session_fault_strikes_once() -> None:
    faults = Faults()
    faults.add("session:malformed")
    faults.add("session:drop:after=1,count=2")
    assert [fault.kind for fault in faults.take_each("session")] == ["malformed", "drop"]
    assert [fault.kind for fault in faults.take_each("session")] == ["drop"]
    assert faults.take_each("session") == []


def test_an_outage_ends_by_itself() -> None:
    faults = Faults()
    faults.outage(seconds=5)
    assert faults.active_outage(100.0)
    assert faults.active_outage(104.9)
    assert faults.active_outage(105.0) is None
    assert faults.pending() == []


def test_an_outage_is_shorter_where_time_is_scaled() -> None:
    faults = Faults(time_scale=10)
    faults.outage(seconds=5)
    assert faults.active_outage(100.0)
    assert faults.active_outage(100.5) is None


def test_latencies_are_the_same_for_the_same_seed() -> None:
    drawn = []
    for _ in range(2):
        faults = Faults(seed=7)
        faults.add("latency:mint:median=0.2,p99=2")
        drawn.append([faults.delay("mint") for _ in range(1_000)])
    assert drawn[0] == drawn[1]
    ordered = sorted(drawn[0])
    assert ordered[500] == pytest.approx(0.2, rel=0.2)
    assert ordered[990] == pytest.approx(2.0, rel=0.4)
    assert faults.delay("connect") == 0.0


def test_so_many_faults_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicepilot.emulator.plan.MOST_FAULTS", 1)
    faults = Faults()
    faults.hang_mints()
    with pytest.raises(ConfigurationError, match="waiting already"):
        faults.hang_mints()


def test_a_latency_drawn_has_an_end() -> None:
    faults = Faults()
    faults.add("latency:mint:median=1e-6,p99=1e9")
    assert max(faults.delay("mint") for _ in range(10_000)) <= 1e9


def test_latency_may_be_even_or_constant() -> None:
    faults = Faults()
    faults.add("latency:connect:low=0.1,high=0.3")
    assert all(0.1 <= faults.delay("connect") <= 0.3 for _ in range(100))
    faults.clear()
    faults.add("latency:connect:seconds=0.5")
    assert faults.delay("connect") == 0.5
