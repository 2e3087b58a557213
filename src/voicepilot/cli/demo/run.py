"""Puts the demo together: emulator, manager, story and screen in one process; then the checks and the summary."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from voicepilot.cli.codes import FAILED
from voicepilot.cli.demo.call import answer
from voicepilot.cli.demo.callers import openai_is_there, warm_up
from voicepilot.cli.demo.history import History, figures
from voicepilot.cli.demo.hurry import HurriedLoop, clock_of
from voicepilot.cli.demo.parts import API_KEY, make_parts
from voicepilot.cli.demo.promises import check
from voicepilot.cli.demo.story import KEY_LIFE, TERMS, Story
from voicepilot.cli.demo.summary import summary_lines
from voicepilot.cli.demo.transcripts import Transcripts
from voicepilot.cli.demo.watch import Complaints, Watch
from voicepilot.cli.running import Stopper, run
from voicepilot.cli.screen import Line, Screen, open_screen
from voicepilot.emulator import RealtimeEmulator
from voicepilot.privacy import PrivacyController, TranscriptStore

LIMIT = 90.0
"""Seconds the story may take; one that takes longer has broken a promise."""

SETTLING = 1.0
"""Seconds closed sockets and finished tasks are given to disappear."""

LATENCY = "latency:mint:low=0.1,high=0.4"
"""The emulated provider is about as quick as a real one."""


def demo(*, speed: float = 1.0, plain: bool = False) -> int:
    """Tell the story; 0 if every promise was kept, 1 if not. `speed` hurries the loop's time, for tests."""
    for name in ("NO_PROXY", "no_proxy"):  # it talks to itself only
        os.environ[name] = "127.0.0.1"
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None if speed == 1 else lambda: HurriedLoop(speed)

    async def command(stopper: Stopper) -> int:
        return await _demo(stopper, plain=plain)

    return run(command, loop_factory=factory)


async def _demo(stopper: Stopper, *, plain: bool) -> int:
    before = sockets()
    began = asyncio.get_running_loop().time()
    screen = open_screen(stopper.lost, plain=plain)
    with complaints() as complained:
        watch, finished = await play(screen)
        tasks_left, sockets_left = await _leftovers(before)
    history = watch.history(tasks_left=tasks_left, sockets_left=sockets_left, logged=tuple(complained.lines))
    return _conclude(screen, history, took=asyncio.get_running_loop().time() - began, finished=finished)


async def play(screen: Screen) -> tuple[Watch, bool]:
    """The story on the emulator; what was seen of it, and whether it came to its end in time."""
    openai = openai_is_there()
    clock = clock_of(asyncio.get_running_loop())
    emulator = RealtimeEmulator(key_life=KEY_LIFE, session_life=TERMS.connection_life, answers=answer)
    emulator.faults.add(LATENCY)
    controller = PrivacyController(clock=clock)
    transcripts = Transcripts(TranscriptStore(controller, clock=clock))
    watch = Watch(emulator, transcripts, screen, TERMS)
    async with emulator:
        watch.tell("--", f"an emulated provider listens at {emulator.base_url}; nothing leaves this machine", "chapter")
        if openai:
            await warm_up(API_KEY, emulator.base_url)
            emulator.record.clear()
        parts = make_parts(emulator, controller, transcripts, watch, clock)
        async with parts.manager as manager:
            watch.attach(*parts)
            story = Story(emulator, manager, watch, transcripts, controller, openai=openai)
            finished = await _within_limit(story, watch, screen)
    return watch, finished


async def _within_limit(story: Story, watch: Watch, screen: Screen) -> bool:
    async def tell() -> None:
        await story.play()
        for task in around:
            task.cancel()

    try:
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            around = [group.create_task(screen.follow(story.rows)), group.create_task(watch.follow_provider())]
            group.create_task(tell())
    except TimeoutError:
        return False
    return True


def _conclude(screen: Screen, history: History, *, took: float, finished: bool) -> int:
    promises = check(history)
    screen.write(Line(""))
    for line in summary_lines(figures(history), promises, took=took, finished=finished, limit=LIMIT):
        screen.write(line)
    return 0 if finished and all(promise.kept for promise in promises) else FAILED


# --- what is left -------------------------------------------------------------------------------------------------


def sockets() -> int | None:
    """How many sockets this process has open; None where the system does not tell."""
    found = 0
    try:
        descriptors = [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    except OSError:
        return None
    for descriptor in descriptors:
        try:
            found += stat.S_ISSOCK(os.fstat(descriptor).st_mode)
        except OSError:  # the one that listed the directory
            continue
    return found


async def _leftovers(before: int | None) -> tuple[tuple[str, ...], int | None]:
    until = asyncio.get_running_loop().time() + SETTLING
    while True:
        tasks = tuple(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
        now = sockets()
        left = None if now is None or before is None else max(0, now - before)
        if not (tasks or left) or asyncio.get_running_loop().time() > until:
            return tasks, left
        await asyncio.sleep(0.01)


@contextmanager
def complaints() -> Iterator[Complaints]:
    """Collect what is logged inside the `with`."""
    handler = Complaints()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
