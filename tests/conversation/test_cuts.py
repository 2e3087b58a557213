"""The connection is cut at every event of every kind of turn, and at every step of making the next one ready."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count, product
from typing import Any

import pytest
from tests.conversation.numbered import frames, silence
from tests.conversation.world import BY_HAND, TEXT, VAD, Talk, a_talk, some
from tests.conversation.world import answer as plain_answer

from voicepilot.emulator.answers import Call, Reply, Turn
from voicepilot.testing import run_virtual

Json = dict[str, Any]
Scene = Callable[[Talk], Awaitable[None]]

TOOLS = {"tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}], **TEXT}


def answer(turn: Turn) -> Reply:
    """Call a function when asked to look, and say something else to everything else."""
    return Call("look", {"at": "it"}) if turn.text == "look" else plain_answer(turn)


async def typed(talk: Talk) -> None:
    await talk.conversation.say("two")


async def spoken(talk: Talk) -> None:
    await talk.speak([*silence(0.2), *frames(0, 20), *silence(0.4)])


async def by_hand(talk: Talk) -> None:
    await talk.speak(frames(0, 20))
    await talk.conversation.commit()
    await talk.conversation.create_response()


async def called(talk: Talk) -> None:
    """The application answers a function call as applications do."""
    await talk.conversation.say("look")
    await talk.until(lambda: bool(_calls(talk)))
    output = {"type": "function_call_output", "call_id": _calls(talk)[0], "output": "cat"}
    await talk.conversation.send({"type": "conversation.item.create", "item": output})
    await talk.conversation.create_response()


def _calls(talk: Talk) -> list[str]:
    """The calls that are complete, with their answers or because the rest of the answer was lost."""
    done = [item for event in talk.of("response.done") for item in event.response["output"]]
    kept = {item_id for event in talk.of("voicepilot.turn-interrupted") for item_id in event.kept}
    cut = [event for event in talk.of("response.function_call_arguments.done") if event.item_id in kept]
    return [item["call_id"] for item in done if item["type"] == "function_call"] + [event.call_id for event in cut]


SCENES: dict[Scene, Json] = {typed: TEXT, spoken: VAD, by_hand: BY_HAND, called: TOOLS}
TURNS: dict[Scene, list[str]] = {
    typed: ["user: two", "assistant: re two"],
    spoken: ["user: speech", "assistant: re speech"],
    by_hand: ["user: speech", "assistant: re speech"],
    called: ["user: look", "call", "output", "assistant: re cat"],
}
EVENTS: dict[Scene, int] = {typed: 13, spoken: 21, by_hand: 14, called: 23}


def play(scene: Scene, fault: Callable[[Talk], None]) -> Talk:
    async def acted() -> Talk:
        async with a_talk(SCENES[scene], answers=answer) as talk:
            await talk.conversation.say("one")
            await asyncio.sleep(1)
            fault(talk)
            await scene(talk)
            await asyncio.sleep(10)
            await talk.conversation.say("three")
            await asyncio.sleep(10)
        return talk

    return run_virtual(acted())


def check(scene: Scene, talk: Talk) -> None:
    """Everything is there once, in order, and nothing was refused."""
    kinds = [words.split(" call_")[0] for words in talk.said()]
    whole = ["user: one", "assistant: re one", *TURNS[scene], "user: three", "assistant: re three"]
    assert kinds == whole
    assert talk.errors() == []
    ids = [event["event_id"] for _, event in talk.stream if isinstance(event, dict)]
    assert len(ids) == len(set(ids))
    done = Counter(event.response["id"] for event in talk.of("response.done"))
    complete = [event for event in talk.of("voicepilot.turn-interrupted") if event.action == "complete"]
    assert set(done.values()) == {1}
    assert len(done) + len(complete) == sum(word.startswith(("assistant", "call")) for word in whole)
    words = [line for line in whole if line.startswith(("user", "assistant"))]
    assert talk.written == [line for line in words if line != "user: speech" or line in talk.written]
    assert len(talk.of("voicepilot.reconnecting")) == len(talk.of("voicepilot.restored"))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_an_undisturbed_conversation(scene: Scene) -> None:
    talk = play(scene, lambda _: None)
    check(scene, talk)
    assert talk.happenings()[:-1] == []
    events = talk.line.record.frames(direction="out")
    assert len(events) - 2 * 13 - 2 == EVENTS[scene], "so many events are to be cut at"


def _name(value: object) -> str:
    return getattr(value, "__name__", str(value))


CUTS = [(scene, number) for scene, most in EVENTS.items() for number in range(most + 1)]


@pytest.mark.parametrize(("scene", "number"), CUTS, ids=_name)
def test_a_cut_after_any_event_loses_nothing(scene: Scene, number: int) -> None:
    talk = play(scene, lambda talk: talk.line.cut(after_events=number))
    check(scene, talk)


@pytest.mark.parametrize(("scene", "number"), some(CUTS, 3), ids=_name)
def test_a_cut_instead_of_any_event_loses_nothing(scene: Scene, number: int) -> None:
    """Unlike above, the client can still talk into a connection that is doomed."""
    events = count()
    talk = play(scene, lambda talk: talk.line.cut_on(lambda _: next(events) == number, deliver=False))
    check(scene, talk)


def fall_and_fall_again(talk: Talk, *, steps: int, last: int = 0) -> None:
    """The first connection falls, the second after so many events, and the third, too, if asked."""
    talk.line.cut(after_events=5)
    talk.line.cut(after_events=steps, of=2)
    if last:
        talk.line.cut(after_events=last, of=3)


@pytest.mark.parametrize(("scene", "steps"), some(product(SCENES, range(14)), 3), ids=_name)
def test_a_cut_at_any_step_of_restoring_loses_nothing(scene: Scene, steps: int) -> None:
    talk = play(scene, lambda talk: fall_and_fall_again(talk, steps=steps))
    check(scene, talk)
    assert len(talk.line.record.connections()) >= 3


@pytest.mark.parametrize(("scene", "steps"), some(product(SCENES, range(9)), 3), ids=_name)
def test_so_does_a_cut_at_any_step_of_the_third(scene: Scene, steps: int) -> None:
    talk = play(scene, lambda talk: fall_and_fall_again(talk, steps=steps, last=8 - steps))
    check(scene, talk)
    assert len(talk.line.record.connections()) >= 3
