"""A history of the demo in which every promise was kept, for tests to break."""

from __future__ import annotations

from typing import Any

import msgspec

from voicepilot.cli.demo.history import ANSWERED, Held, History, Purged, Said, Seen, Terms
from voicepilot.emulator.record import Closed, Connection, Mint, Opened
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
)

# Keys live 20 s. Anna meets the 429 at 10, ben renews by hand at 15, cleo meets the outage at 21 and falls silent.
RENEWALS = (
    ("ben", 9.0, 9.2, "automatic-renewal", 1),
    ("anna", 10.0, 13.2, "automatic-renewal", 2),
    ("cleo", 10.5, 11.0, "automatic-renewal", 1),
    ("ben", 15.0, 15.3, "manual-renewal", 1),
    ("cleo", 21.0, 26.5, "automatic-renewal", 2),
    ("anna", 23.0, 26.6, "automatic-renewal", 3),
    ("ben", 25.0, 26.7, "automatic-renewal", 2),
)
STARTS = {"anna": 0.0, "ben": 0.5, "cleo": 1.0}
ENDS = {"anna": (40.0, "goodbye"), "ben": (40.0, "goodbye"), "cleo": (39.0, "inactivity-timeout")}
LAST_WORD = 27.0


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
    said = [Said(at=at + 0.2, who=who, client="aiohttp", outcome=ANSWERED) for who, at in STARTS.items()]
    return (*said, Said(at=LAST_WORD, who="cleo", client="openai", outcome=ANSWERED))


def purge(who: str, before: dict[str, int]) -> Purged:
    receipt = PurgeReceipt(session_id=f"id-{who}", reason="x", cleared=before[who])
    return Purged(who=who, receipt=receipt, before=before, after={name: n for name, n in before.items() if name != who})


def connection(number: int, *, closed: bool = True) -> Connection:
    opened = Opened(at=1.0, connection=number, credential="key-x", session="sess_x", model="m")
    return Connection(
        opened=opened, closed=Closed(at=2.0, connection=number, code=1000, reason="", by="client") if closed else None
    )


def good(**changes: Any) -> History:
    """The history, with changes."""
    history = History(
        terms=TERMS,
        seen=events(),
        held=leases(),
        said=turns(),
        purged=(
            purge("cleo", {"anna": 4, "ben": 4, "cleo": 3}),
            purge("anna", {"anna": 5, "ben": 5}),
            purge("ben", {"ben": 5}),
        ),
        refused_starts=("SESSION_LIMIT_REACHED",),
        mints=mints(),
        connections=(connection(1), connection(2)),
    )
    return msgspec.structs.replace(history, **changes)
