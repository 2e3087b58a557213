"""The core of a conversation by itself, with connections made of words: for tests of single rows and guards."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, TypeVar

from voicepilot.conversation import effects as fx
from voicepilot.conversation import inputs as happen
from voicepilot.conversation.machine import step, wake, wake_at
from voicepilot.conversation.options import ConversationConfig
from voicepilot.conversation.state import Phase, State
from voicepilot.errors import Fault, FaultDomain

Json = dict[str, Any]
E = TypeVar("E")

LATER = Fault(code="X_LATER", message="busy", remediation="", retryable=True, domain=FaultDomain.TRANSPORT)
NEVER = Fault(code="X_NEVER", message="no", remediation="", retryable=False, domain=FaultDomain.TRANSPORT)
LISTENING: Json = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
BY_HAND: Json = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
SECOND = base64.b64encode(bytes(48_000)).decode()


class Core:
    """A machine and the time; what it ordered last is in `out`, and everything it ordered in `all`."""

    def __init__(self, options: Json | None = None, *, session: Json = BY_HAND, **config: Any) -> None:
        self.state = State(ConversationConfig(**config), options or {}, "t")
        self.session = session
        self.now = 1_000.0
        self.out: list[fx.Effect] = []
        self.all: list[fx.Effect] = []

    # --- what happens -----------------------------------------------------------------------------------------------

    def give(self, *given: happen.Input) -> Core:
        self.out = [effect for one in given for effect in step(self.state, one, self.now)]
        self.all += self.out
        return self

    def pass_time(self, seconds: float) -> Core:
        """Let time pass, waking whenever it is due; nothing is heard meanwhile."""
        end, self.out = self.now + seconds, []
        while (at := wake_at(self.state)) is not None and at <= end:
            self.now = max(self.now, at)
            self.out += wake(self.state, self.now)
            later = wake_at(self.state)
            assert later is None or later > self.now, "it wants to be woken for what it was woken for"
        self.now = end
        self.all += self.out
        return self

    def say(self, kind: str, **fields: Any) -> Core:
        return self.give(happen.Said({"type": kind, **fields}))

    def say_text(self, item_id: str) -> Core:
        return self.say("conversation.item.create", item=typed(item_id))

    def say_audio(self, seconds: int = 1) -> Core:
        return self.give(*[happen.Said({"type": "input_audio_buffer.append", "audio": SECOND})] * seconds)

    def hear(self, kind: str, link: int | None = None, **fields: Any) -> Core:
        number = link if link is not None else self.active
        return self.give(happen.Heard(number, {"type": kind, "event_id": "e", **fields}))

    def hear_item(self, item: Json, link: int | None = None) -> Core:
        self.hear("conversation.item.added", link, item=item, previous_item_id=None)
        return self.hear("conversation.item.done", link, item=item, previous_item_id=None)

    def hear_answer(self, response_id: str, words: str = "yes", *, to: str = "done") -> Core:
        """An answer up to `created`, `begun` (its item is there), `said` (all its words) or `done`."""
        steps = ["created", "begun", "said", "done"]
        for name in steps[: steps.index(to) + 1]:
            getattr(self, f"_{name}")(response_id, f"item_{response_id}", words)
        return self

    def _created(self, response_id: str, _: str, __: str) -> None:
        self.hear("response.created", response={"id": response_id, "conversation_id": "c"})

    def _begun(self, response_id: str, item_id: str, words: str) -> None:
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        self.hear("response.output_item.added", response_id=response_id, item=item)
        self.hear("conversation.item.added", item=item, previous_item_id=None)
        self.hear("response.content_part.added", response_id=response_id, item_id=item_id, part={"type": "text"})
        self.hear("response.output_text.delta", response_id=response_id, item_id=item_id, delta=words[:2])

    def _said(self, response_id: str, item_id: str, words: str) -> None:
        self.hear("response.output_text.done", response_id=response_id, item_id=item_id, text=words)

    def _done(self, response_id: str, item_id: str, words: str) -> None:
        content = [{"type": "output_text", "text": words}]
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed", "content": content}
        self.hear("conversation.item.done", item=item, previous_item_id=None)
        self.hear("response.output_item.done", response_id=response_id, item=item)
        self.hear("response.done", response={"id": response_id, "conversation_id": "c", "output": [item]})

    # --- connections ------------------------------------------------------------------------------------------------

    @property
    def active(self) -> int:
        assert self.state.active is not None
        return self.state.active.number

    @property
    def incoming(self) -> int:
        assert self.state.incoming is not None
        return self.state.incoming.number

    def restore(self, *, life: float = 3_600.0, session: Json | None = None) -> Core:
        """Let the connection that is dialled be opened, configured and told everything."""
        link = self.incoming
        session = session or self.session
        self.give(happen.Dialled(link))
        self.give(happen.Greeted(link, {"type": "session.created", "session": dict(session)}, life))
        told = self.out
        while orders := [effect for effect in told if isinstance(effect, fx.Send) and effect.link == link]:
            if self.state.incoming is None:
                break
            told = []
            for order in orders:
                told += self.acknowledge(order)
        return self

    def acknowledge(self, order: fx.Send) -> list[fx.Effect]:
        """The server does what it is told."""
        event, found = order.event, []
        match event["type"]:
            case "session.update":
                session = {**self.session, **event["session"]}
                found += self.hear("session.updated", order.link, session=session).out
            case "conversation.item.create":
                for name in ("added", "done"):
                    kind = f"conversation.item.{name}"
                    found += self.hear(kind, order.link, item=event["item"], previous_item_id=None).out
            case "conversation.item.delete":
                found += self.hear("conversation.item.deleted", order.link, item_id=event["item_id"]).out
        return found

    def connect(self, *, life: float = 3_600.0) -> Core:
        """A conversation that is live, and has been for a while."""
        self.give(happen.ConnectAsked()).restore(life=life)
        self.listen(10)
        assert self.phase() is Phase.LIVE
        self.all.clear()
        return self

    def listen(self, seconds: float) -> Core:
        """Let time pass in which every connection shows that it is alive."""
        self.now += seconds
        for link in self.state.links():
            link.note_alive(self.now)
        return self

    def prepare(self) -> Core:
        """The next connection is dialled, because the cut comes near."""
        assert self.state.prepare_at is not None
        self.listen(self.state.prepare_at - self.now)
        return self.give(happen.DeadlinePassed(happen.Deadline.PREPARE))

    def fall(self, fault: Fault = LATER) -> Core:
        return self.give(happen.Fell(self.active, fault))

    def phase(self) -> Phase:
        """Where it is; asked anew each time, which a type checker would not believe of a field."""
        return self.state.phase

    # --- what was ordered -------------------------------------------------------------------------------------------

    def ordered(self, kind: type[E], among: Sequence[fx.Effect] | None = None) -> list[E]:
        return [effect for effect in (self.out if among is None else among) if isinstance(effect, kind)]

    def sent(self, link: int | None = None, *, ever: bool = False) -> list[str]:
        """The types of the events sent last, or ever."""
        orders = self.ordered(fx.Send, self.all if ever else self.out)
        return [order.event["type"] for order in orders if link in {None, order.link}]

    def told(self, *, ever: bool = False) -> list[str]:
        """The types of what the reader got."""
        events = [one.event for one in self.ordered(fx.Yield, self.all if ever else self.out)]
        return [event["type"] if isinstance(event, dict) else event.type for event in events]

    def happening(self, kind: type[E]) -> E:
        """The one of its kind that the reader got last."""
        return next(
            effect.event
            for effect in reversed(self.all)
            if isinstance(effect, fx.Yield) and isinstance(effect.event, kind)
        )


def typed(item_id: str, text: str = "") -> Json:
    """What a user types."""
    content = [{"type": "input_text", "text": text or item_id}]
    return {"id": item_id, "type": "message", "role": "user", "content": content}
