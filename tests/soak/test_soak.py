"""The soak's own parts, with lies planted that they must find; the soak itself takes real minutes: `make soak`."""

from __future__ import annotations

import asyncio
import ctypes
import random
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
from tests.soak.__main__ import Report
from tests.soak.plot import picture
from tests.soak.provider import EVERY, FAULTS, KEY_LIFE, OUTAGE, do_harm
from tests.soak.samples import MEASURED, Sample, growth, sample, trim
from tests.soak.validity import Validity

from voicepilot.emulator import Fault, RealtimeEmulator
from voicepilot.emulator.record import Mint


def mint(at: float, *, session: str = "voice-1", status: int | None = 200, life: float = 30.0) -> Mint:
    return Mint(
        at=at, status=status, credential="key-1", model=session, valid_until=at + life if status == 200 else None
    )


def samples(*memory: float) -> list[Sample]:
    return [
        Sample(at=number * 5.0, memory=held, blocks=1_000, tasks=100, sockets=10, descriptors=20)
        for number, held in enumerate(memory)
    ]


# --- seconds without a key --------------------------------------------------------------------------------------------


def test_a_key_that_comes_in_time_leaves_no_gap() -> None:
    seen = Validity()
    for at in (0.0, 20.0, 49.9, 70.0):
        seen.note(mint(at))
    assert (seen.gaps, seen.mints) == ({}, {"200": 4})


def test_a_key_that_comes_late_leaves_a_gap_of_its_session() -> None:
    seen = Validity()
    for entry in (mint(0), mint(10, session="voice-2"), mint(25, status=503), mint(32.5), mint(100)):
        seen.note(entry)
    assert seen.gaps == {"voice-1": pytest.approx(2.5 + 37.5)}
    assert seen.mints == {"200": 4, "503": 1}


def test_a_shorter_key_does_not_end_a_longer_one() -> None:
    seen = Validity()
    for entry in (mint(0, life=100), mint(10, life=5), mint(90)):
        seen.note(entry)
    assert seen.gaps == {}


# --- growth -----------------------------------------------------------------------------------------------------------


def test_what_is_flat_after_the_warm_up_did_not_grow() -> None:
    assert growth(samples(1, 50, *[100, 101] * 10), "memory", warm_up=10) == pytest.approx(0, abs=0.005)


def test_a_leak_is_seen() -> None:
    leaking = samples(*(100 + 0.2 * number for number in range(40)))
    assert growth(leaking, "memory", warm_up=50) > 0.01


def test_too_little_to_judge_is_not_called_flat() -> None:
    with pytest.raises(ValueError, match="too few"):
        growth(samples(1, 2, 3), "memory", warm_up=0)


async def test_a_sample_tells_of_this_process() -> None:
    now = sample(3.0)
    assert now.at == 3.0
    assert now.tasks == 1
    assert 10 < now.memory < 10_000
    assert now.sockets <= now.descriptors
    assert now.blocks > 10_000


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library than glibc")
async def test_memory_that_is_held_for_nobody_does_not_count() -> None:
    blocks = [bytes(2_000) for _ in range(20_000)]  # too large for Python's own pools, too small for pages of their own
    keep = blocks[-1]  # at the end of the heap, so that what is free before it stays with the process
    full = sample(0.0).memory
    blocks.clear()
    trim()
    assert sample(1.0).memory < full - 30
    assert keep


# --- faults -----------------------------------------------------------------------------------------------------------


async def test_harm_comes_in_turn_and_is_over_before_a_key_lapses() -> None:
    """In virtual time: an emulator that serves nobody."""
    emulator = RealtimeEmulator()
    met: list[str] = []
    add = emulator.faults.add

    def noted(fault: Fault | str) -> None:
        met.append(str(fault))
        add(fault)

    emulator.faults.add = noted  # type: ignore[method-assign]  # to see what is planted
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1_000):
            await do_harm(emulator, random.Random(7), 400)
    harm = [fault for fault in met if not fault.startswith("latency")]
    assert len(set(harm)) == len(FAULTS) + 1
    assert harm[EVERY - 1] == OUTAGE
    assert max(FAULTS.values()) < KEY_LIFE / 3


# --- the report -------------------------------------------------------------------------------------------------------


def a_report(**changes: object) -> Report:
    held = samples(*[100.0] * 40)
    given = {
        "at": datetime(2026, 11, 22, tzinfo=UTC),
        "minutes": 5.0,
        "sessions": 2,
        "conversations": 1,
        "warm_up": 50.0,
        "growth": {what: growth(held, what, 50) for what in MEASURED},
        "counted": {"said": 3, "answered": 3, "sessions": 3},
        "provider": Validity(),
        "left": [],
        "samples": held,
    }
    return Report(**given | changes)  # type: ignore[arg-type]  # fields by name


def test_a_good_soak_has_no_problem() -> None:
    assert a_report().problems() == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"growth": {"memory": 0.011}}, "memory grew by 1.10%"),
        ({"growth": {"sockets": 0.5}}, "sockets grew by 50.00%"),
        ({"provider": Validity(gaps={"voice-1": 0.5})}, "1 sessions were without a key"),
        ({"counted": {"failed: SESSION_START_FAILED (X)": 2}}, "failed: SESSION_START_FAILED (X): 2"),
        ({"counted": {"not active": 1}}, "not active: 1"),
        ({"counted": {"unanswered": 4}}, "4 turns unanswered"),
        ({"left": ["voicepilot-timer"]}, "left behind: voicepilot-timer"),
    ],
)
def test_what_should_not_be_is_said(changes: dict[str, object], problem: str) -> None:
    report = a_report(**changes)
    assert report.problems() == [problem]
    assert f"PROBLEM: {problem}" in report.text()


def test_the_picture_shows_every_figure_and_needs_nothing_else() -> None:
    text = picture(samples(*range(1, 30)), 50, "2 sessions & 1 conversation")
    root = ET.fromstring(text)  # noqa: S314 - our own text
    shown = " ".join(element.text or "" for element in root.iter())
    assert all(f"{what}:" in shown for what in MEASURED)
    lines = [element for element in root.iter() if element.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [29] * len(MEASURED)
    assert "href" not in text
