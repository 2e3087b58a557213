"""Handovers that are disturbed at every step, with somebody speaking or answering; and a minute of numbered audio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from tests.conversation.numbered import FRAME, frame, frames, silence
from tests.conversation.world import BY_HAND, TEXT, VAD_UNWRITTEN, Talk, a_talk, said_as, some

from voicepilot.conversation.happenings import Handover
from voicepilot.conversation.ports import Closed
from voicepilot.emulator.answers import Reply, Say, Turn, Wait
from voicepilot.testing import run_virtual

Json = dict[str, Any]
LIFE = 40.0  # the next connection is dialled after 20 s, and moved to after 30 s whoever speaks
PREPARED = 20.0


def slow(turn: Turn) -> Reply:
    """Answers that last three seconds, or a minute for those who ask for it."""
    seconds = 60.0 if turn.text == "long" and len(turn.items) < 4 else 3.0
    return [Wait(seconds), Say(said_as(turn.text))]


async def idle(talk: Talk) -> None:
    """Nobody speaks."""
    await asyncio.sleep(25)


async def answering(talk: Talk) -> None:
    """An answer is under way."""
    await asyncio.sleep(PREPARED - 1)
    await talk.conversation.say("two")
    await asyncio.sleep(5)


async def speaking(talk: Talk) -> None:
    """The user speaks all the time, and commits by hand afterwards."""
    await asyncio.sleep(PREPARED - 1)
    await talk.speak(frames(0, 100))
    await talk.conversation.commit()
    await talk.conversation.create_response()


async def heard(talk: Talk) -> None:
    """The user speaks, and the server hears it."""
    await asyncio.sleep(PREPARED - 1)
    await talk.speak([*frames(0, 60), *silence(0.4), *frames(60, 40), *silence(0.4)])


Scene = Callable[[Talk], Any]
SCENES: dict[Scene, Json] = {idle: TEXT, answering: TEXT, speaking: BY_HAND, heard: VAD_UNWRITTEN}
SPOKEN = {speaking, heard}


def play(scene: Scene, fault: Callable[[Talk], None], **options: Any) -> Talk:
    async def acted() -> Talk:
        options.setdefault("session_life", LIFE)
        async with a_talk(SCENES[scene], answers=slow, **options) as talk:
            await talk.conversation.say("one")
            await asyncio.sleep(5)
            fault(talk)
            await scene(talk)
            await asyncio.sleep(20)
            await talk.conversation.say("three")
            await asyncio.sleep(6)
            await talk.until(lambda: talk.conversation.phase.value == "live")
        return talk

    return run_virtual(acted())


def check(scene: Scene, talk: Talk) -> None:
    texts = [word for word in talk.user_words() if word != "speech"]
    assert texts == (["one", "two", "three"] if scene is answering else ["one", "three"])
    assert [error for error in talk.errors() if error["code"] != "session_expired"] == []
    if scene in SPOKEN:
        assert talk.committed_frames() == list(range(100))
        assert talk.spoken_frames() == list(range(100))
    ids = [event["event_id"] for _, event in talk.stream if isinstance(event, dict)]
    assert len(ids) == len(set(ids))
    assistant = [words for words in talk.said() if words.startswith("assistant")]
    assert len(assistant) == len(texts) + (scene in SPOKEN) or scene is heard


def _name(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("latency", [0.0, 0.01, 0.3])
def test_an_undisturbed_handover(scene: Scene, latency: float) -> None:
    talk = play(scene, lambda _: None, latency=latency)
    check(scene, talk)
    kinds = [happening.type for happening in talk.happenings()]
    assert set(kinds) == {"voicepilot.handover", "voicepilot.ended"}
    first = talk.of("voicepilot.handover")[0]
    assert isinstance(first, Handover)
    assert not first.forced
    assert PREPARED <= first.at - talk.stream[0][0] <= PREPARED + 6


@pytest.mark.parametrize(("scene", "steps"), some(product(SCENES, range(10)), 3), ids=_name)
def test_the_next_connection_falls_at_any_step(scene: Scene, steps: int) -> None:
    talk = play(scene, lambda talk: talk.line.cut(after_events=steps, of=2))
    check(scene, talk)


@pytest.mark.parametrize(("scene", "steps"), some(product(SCENES, range(12)), 3), ids=_name)
def test_the_old_one_falls_when_the_next_has_said_so_much(scene: Scene, steps: int) -> None:
    """Both at once is worse than each: the next connection is on its way, and becomes the only one."""
    left = iter(range(steps, -1, -1))

    def cut_the_oldest(talk: Talk) -> None:
        for wire in talk.line._open()[:1]:
            wire.end(Closed())

    def struck(talk: Talk) -> None:
        def strike(_: Any) -> bool:
            if next(left, -1) == 0:
                asyncio.get_running_loop().call_soon(cut_the_oldest, talk)
            return False

        talk.line.cut_on(strike, of=2)

    check(scene, play(scene, struck))


@pytest.mark.parametrize(("scene", "steps"), some(product(SCENES, range(8)), 3), ids=_name)
def test_the_next_connection_freezes_at_any_step(scene: Scene, steps: int) -> None:
    def froze(talk: Talk) -> None:
        talk.line.faults.add(f"session:freeze:after_events={steps}")

    talk = play(scene, froze)
    check(scene, talk)


def test_an_answer_that_would_outlive_its_connection_is_cut_and_given_again() -> None:
    async def acted() -> Talk:
        async with a_talk(answers=slow, session_life=LIFE) as talk:
            await asyncio.sleep(PREPARED - 1)
            await talk.conversation.say("long")
            await asyncio.sleep(60)
        return talk

    talk = run_virtual(acted())
    assert talk.errors() == []
    assert talk.of("voicepilot.handover")[0].forced
    assert talk.of("voicepilot.reconnecting") == []
    assert talk.user_words() == ["long"]


@pytest.mark.slow
async def test_a_minute_of_numbered_audio_through_everything() -> None:
    """The story of issue 6: every frame is in a committed item once, in order, on whatever connection."""
    async with a_talk(VAD_UNWRITTEN, session_life=25.0, latency=0.02, spread=0.01) as talk:
        loop, line = asyncio.get_running_loop(), talk.line
        loop.call_later(7.3, line.cut)
        loop.call_later(31.0, line.outage, 6)
        loop.call_later(48.1, line.cut)
        loop.call_later(55.5, line.freeze)
        number = 0
        while number < 1_500:
            length = 20 + number % 37
            for each in range(number, min(1_500, number + length)):
                await talk.conversation.append_audio(frame(each))
                await asyncio.sleep(FRAME)
            number = min(1_500, number + length)
            await talk.speak(silence(0.4))
        await talk.hear_out()
        await talk.until(lambda: talk.conversation.phase.value == "live")
        assert talk.committed_frames() == list(range(1_500))
        assert talk.spoken_frames() == list(range(1_500))
        assert talk.errors() == []
        kinds = talk.types()
        assert kinds.count("voicepilot.handover") >= 2
        assert kinds.count("voicepilot.restored") == kinds.count("voicepilot.reconnecting") == 4
        assert "voicepilot.input-dropped" not in kinds


async def test_beyond_the_bounds_exactly_what_was_said_is_missing() -> None:
    config = {"max_queued_audio_seconds": 5}
    async with a_talk(BY_HAND, config=config) as talk:
        await talk.speak(frames(0, 50))
        await talk.conversation.commit()
        await asyncio.sleep(1)
        talk.line.outage(30)
        await talk.speak(frames(50, 500))
        await talk.until(lambda: bool(talk.of("voicepilot.restored")))
        await talk.conversation.commit()
        await talk.hear_out()
        gone: set[int] = set()
        for lost in talk.of("voicepilot.input-dropped"):
            gone |= set(range(round(lost.start / FRAME), round(lost.end / FRAME)))
        assert len(gone) == 500 - 125
        assert talk.committed_frames() == [number for number in range(550) if number not in gone]
        assert talk.errors() == []
