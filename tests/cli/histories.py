"""A history of the demo in which every promise was kept, for tests to break."""

from __future__ import annotations

from typing import Any

import msgspec

from voicepilot.cli.demo.history import (
    ANSWERED,
    Held,
    History,
    LongCall,
    Notice,
    Planned,
    Purged,
    Said,
    Seen,
    Shown,
    Terms,
)
from voicepilot.emulator.record import Closed, Connection, Frame, Mint, Opened, Turn
from voicepilot.ports import PurgeReceipt

TERMS = Terms(
    sessions=("anna", "ben", "cleo"),
    limit=3,
    automatic_renewals=1,
    retry_after=3.0,
    outage=5.0,
    renewed_by_hand="ben",
    silent="cleo",
    inactivity=12.0,
    plan_step="TEST_AUTHENTICATION",
    fallback="degraded-features",
    careless="ben",
    card="4111 1111 1111 1111",
    forgotten="ben",
    long_caller="emma",
    connection_life=7.0,
    handovers=2,
)

# Keys live 20 s. Anna meets the 429 at 10, ben renews by hand at 15, cleo meets the outage at 21, fails a
# round at 22.5, is degraded until 26.5, and falls silent. Emma calls from 41 to 52, and her connection falls at 50.
RENEWALS = (
    ("ben", 9.0, 9.2, "automatic-renewal", 1),
    ("anna", 10.0, 13.2, "automatic-renewal", 2),
    ("cleo", 10.5, 11.0, "automatic-renewal", 1),
    ("ben", 15.0, 15.3, "manual-renewal", 1),
    ("cleo", 21.0, 26.5, "automatic-renewal", 2),
    ("anna", 23.0, 26.6, "automatic-renewal", 3),
    ("ben", 25.0, 26.7, "automatic-renewal", 2),
    ("emma", 44.0, 44.2, "connection-renewal", 1),
    ("emma", 47.0, 47.2, "connection-renewal", 1),
    ("emma", 50.0, 50.2, "connection-renewal", 1),
)
STARTS = {"anna": 0.0, "ben": 0.5, "cleo": 1.0, "emma": 41.0}
ENDS = {
    "anna": (40.0, "goodbye"),
    "ben": (40.0, "goodbye"),
    "cleo": (39.0, "inactivity-timeout"),
    "emma": (52.0, "goodbye"),
}
FAILED = 22.5
LAST_WORD = 27.0
KEPT = {"anna": 5, "ben": 6, "cleo": 3, "emma": 5}


def change(at: float, who: str, previous: str, new: str) -> Seen:
    return Seen(at=at, who=who, type="state-changed", previous=previous, new=new)


def events() -> tuple[Seen, ...]:
    seen: list[Seen] = []
    for who, at in STARTS.items():
        seen += [change(at, who, "idle", "starting"), change(at, who, "starting", "active")]
        seen.append(Seen(at=at, who=who, type="session-started"))
    for who, begun, done, why, attempts in RENEWALS:
        seen += [change(begun, who, "active", "renewing"), change(done, who, "renewing", "active")]
        seen.append(Seen(at=begun, who=who, type="renewal-started", why=why))
        seen.append(Seen(at=done, who=who, type="renewal-completed", attempts=attempts))
    seen += [
        Seen(at=FAILED, who="cleo", type="renewal-failed", attempts=2),
        Seen(at=FAILED, who="cleo", type="degraded-changed", degraded=True),
        Seen(at=26.5, who="cleo", type="degraded-changed"),
    ]
    for who, (at, why) in ENDS.items():
        seen += [change(at, who, "active", "ending"), change(at, who, "ending", "ended")]
        seen.append(Seen(at=at, who=who, type="session-ended", why=why))
    return tuple(sorted(seen, key=lambda each: each.at))


def minted(at: float, key: str) -> Mint:
    return Mint(at=at, status=200, credential="key-account", key=key, valid_until=at + 20)


def refused(at: float, status: int, fault: str) -> Mint:
    return Mint(at=at, status=status, credential="key-account", fault=fault)


def leases() -> tuple[Held, ...]:
    held = [Held(at=at, who=who, key=f"{who}-0") for who, at in STARTS.items()]
    held += [Held(at=done, who=who, key=f"{who}-{done}") for who, _, done, _, _ in RENEWALS]
    return tuple(sorted(held, key=lambda each: each.at))


def mints() -> tuple[Mint, ...]:
    made = [minted(held.at, held.key) for held in leases()]
    made += [
        refused(10.1, 429, "mint:status"),
        refused(21.1, 503, "outage:status"),
        refused(23.1, 503, "outage:status"),
    ]
    return tuple(sorted(made, key=lambda each: each.at))


def turns() -> tuple[Said, ...]:
    said = [Said(at=STARTS[who] + 0.2, who=who, client="aiohttp", outcome=ANSWERED) for who in TERMS.sessions]
    return (*said, Said(at=LAST_WORD, who="cleo", client="openai", outcome=ANSWERED))


def purge(who: str, cleared: int, held: dict[str, int], **changes: Any) -> Purged:
    receipt = PurgeReceipt(session_id=f"id-{who}", reason="goodbye", cleared=cleared, duration=0.01)
    kept = KEPT if not changes else KEPT | {"ben": 4}
    return Purged(who=who, receipt=msgspec.structs.replace(receipt, **changes), kept=kept, held=held)


def purges() -> tuple[Purged, ...]:
    return (
        purge("ben", 4, {"anna": 5, "cleo": 3, "emma": 5}, reason="consent-withdrawn"),
        purge("cleo", 3, {"anna": 5, "ben": 2, "emma": 5}),
        purge("anna", 5, {"ben": 2, "emma": 5}),
        purge("ben", 2, {"emma": 5}),
        purge("emma", 5, {}),
        Purged(who="everybody", receipt=PurgeReceipt(session_id="*", reason="disposed"), kept=KEPT, held={}),
    )


def planned(**changes: Any) -> Planned:
    ran = Planned(at=FAILED + 0.1, who="cleo", tried=("TEST_AUTHENTICATION",), step=None, fallback="degraded-features")
    return msgspec.structs.replace(ran, **changes)


def shown(at: float, value: object) -> Shown:
    return Shown(at=at, key="voicepilot.session.degraded", value=value)


def connection(number: int, *, closed: bool = True) -> Connection:
    opened = Opened(at=1.0, connection=number, credential="key-x", session="sess_x", model="m")
    return Connection(
        opened=opened, closed=Closed(at=2.0, connection=number, code=1000, reason="", by="client") if closed else None
    )


# --- the long call ----------------------------------------------------------------------------------------------------

SAID = (
    ("user", "Good evening."),
    ("assistant", "You said: Good evening."),
    ("user", "A table?"),
    ("call", 'find_table {"people":4}'),
    ("output", "find_table {}"),
    ("assistant", "The one by the window."),
    ("user", "Thank you."),
    ("assistant", "You said: Thank you."),
)
EMMAS = (11, 12, 13, 14)
"""Her connections; the third is cut."""


def call(**changes: Any) -> LongCall:
    """The long call, with changes."""
    spoken = tuple(each for each in SAID if each[0] in {"user", "assistant"})
    held = LongCall(lasted=11.0, said=SAID, transcript=spoken, handovers=2, falls=1, asked_again=1, outage=0.3)
    return msgspec.structs.replace(held, **changes)


def emmas(number: int, **changes: Any) -> Connection:
    """One of her connections, with changes of how it was closed."""
    at = 41.0 + 3 * (number - 11)
    key = "emma-41.0" if number == 11 else f"emma-{at + 0.2}"
    opened = Opened(at=at, connection=number, credential=key.replace("emma-41.0", "emma-0"), session="s", model="m")
    code, by = (1006, "server") if number == 13 else (1000, "client")
    closed = Closed(at=at + 4, connection=number, code=code, reason="", by=by)  # type: ignore[arg-type]  # one of two
    return Connection(opened=opened, closed=msgspec.structs.replace(closed, **changes))


def answers() -> tuple[Turn, ...]:
    """What the provider says it answered, on her connections."""
    texts = [text for kind, text in SAID if kind == "assistant"]
    done = [
        Turn(connection=number, response="r", status="completed", user=None, text=text)
        for number, text in zip((11, 12, 14), texts, strict=True)
    ]
    used_tool = Turn(connection=11, response="r", status="completed", user=None, text="", calls=(("find_table", "{}"),))
    others = Turn(connection=1, response="r", status="completed", user=None, text="You said: something else")
    return (others, *done[:1], used_tool, *done[1:])


def item(number: int) -> dict[str, Any]:
    """One of what was said, as an item on the wire."""
    kind, text = SAID[number]
    name, _, rest = text.partition(" ")
    if kind == "call":
        return {"id": f"item{number}", "type": "function_call", "call_id": "c1", "name": name, "arguments": rest}
    if kind == "output":
        return {"id": f"item{number}", "type": "function_call_output", "call_id": "c1", "output": rest}
    form = "input_text" if kind == "user" else "output_text"
    return {"id": f"item{number}", "type": "message", "role": kind, "content": [{"type": form, "text": text}]}


def frame(kind: str, *, connection: int = 14, direction: Any = "out", **event: Any) -> Frame:  # Any: in or out
    """An event on a socket."""
    return Frame(at=51.0, connection=connection, direction=direction, type=kind, event={"type": kind, **event})


def frames() -> tuple[Frame, ...]:
    """What is said on her last connection about its items; and something about another's."""
    sent = [frame("conversation.item.done", connection=11, item=item(0))]
    for number in range(len(SAID)):
        after = f"item{number - 1}" if number else None
        sent.append(frame("conversation.item.create", direction="in", item=item(number)))
        sent.append(frame("conversation.item.added", item=item(number), previous_item_id=after))
        sent.append(frame("conversation.item.done", item=item(number), previous_item_id=after))
    return tuple(sent)


def good(**changes: Any) -> History:
    """The history, with changes."""
    history = History(
        terms=TERMS,
        seen=events(),
        held=leases(),
        said=turns(),
        purged=purges(),
        shown=(shown(FAILED, True), shown(26.5, False)),
        planned=(planned(),),
        notices=(Notice(at=FAILED, who="cleo", code="UNAVAILABLE", told=True),),
        attempts=len(mints()),
        stored=("My card is [card].", "You said: My card is [card]."),
        heard=("{'text': 'My card is 4111 1111 1111 1111.'}",),
        refused_starts=("SESSION_LIMIT_REACHED",),
        mints=mints(),
        connections=(connection(1), connection(2), *(emmas(number) for number in EMMAS)),
        call=call(),
        turns=answers(),
        frames=frames(),
    )
    return msgspec.structs.replace(history, **changes)
