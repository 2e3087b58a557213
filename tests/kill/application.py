"""An application as docs/reliability.md says to write one; the kill tests end it. It tells what happens, a line each.

Three conversations are kept alive while it runs, on keys and connections that live for seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from typing import Any

from voicepilot import ConversationLifecycleHooks, SessionEnded, SessionManager
from voicepilot.conversation.options import ConversationConfig

WORDS = "the quartz xylophone weighs"
"""What the user says; it must not be found on any disk."""

CALLERS = 3
CONFIG = ConversationConfig(handover_margin_seconds=2, handover_deadline_seconds=1)


def tell(**fields: Any) -> None:
    """A line for whoever started us."""
    print(json.dumps(fields), flush=True)


def tell_writes(event: str, arguments: tuple[Any, ...]) -> None:
    """Tell of each file that is opened to be written."""
    if event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        os.write(1, json.dumps({"wrote": os.fsdecode(arguments[0])}).encode() + b"\n")


class Hooks(ConversationLifecycleHooks):
    """What an application does at the end of a session."""

    async def on_session_ending(self, session: Any) -> None:  # Any: whatever the hook gets
        """A last look at what was said."""
        await asyncio.sleep(0)
        tell(hook="ending", session=session.session_id, turns=len(session.transcript))


def on_ended(event: SessionEnded) -> None:
    """The purge is done by now."""
    receipt = event.receipt
    tell(ended=event.session_id, reason=event.reason, complete=receipt.complete, cleared=receipt.cleared)


async def converse(manager: SessionManager) -> None:
    """Say something again and again."""
    session = await manager.start_session()
    tell(started=session.session_id)
    async with manager.connect(session.session_id, config=CONFIG) as conversation:
        for number in itertools.count():
            await conversation.say(f"{WORDS} {number} grams")
            async for event in conversation:
                if event.type == "response.done":
                    tell(answered=session.session_id, number=number)
                    break
            await asyncio.sleep(0.05)


async def main() -> None:
    """Run until somebody says stop."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with SessionManager.from_settings() as manager, asyncio.TaskGroup() as callers:
        manager.register_conversation_hooks(Hooks())
        manager.on_session_ended(on_ended)
        for _ in range(CALLERS):
            callers.create_task(converse(manager))


if __name__ == "__main__":
    sys.addaudithook(tell_writes)
    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
