"""What can go wrong on command, as data.

A fault stands at a place and happens the next `count` times something passes there:

| place    | kinds                                                                                        |
|----------|----------------------------------------------------------------------------------------------|
| mint     | status, hang, reset, malformed, truncated, slow                                              |
| connect  | status (refused at the upgrade), close (refused after it), hang, reset, slow                 |
| call     | as mint, for `/realtime/calls`                                                               |
| session  | drop, expire, expire-silent, freeze, drip, malformed, oversized: to the next sessions,       |
|          | `after` seconds or `after_events` events in                                                  |
| live     | the same, to every session open now: at once, or `after_events` events from now              |
| update   | slow, missing: the `session.updated` of the next `session.update`                            |
| response | failed, slow                                                                                 |
| transcription | failed: of what the user said next                                                      |
| latency  | mint, connect, response: a delay for each, until cleared                                     |
| outage   | status, hang, reset: everything refused, for `seconds` or until cleared                      |
| key      | single-use: a key opens one session, until cleared                                           |
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from voicepilot.errors import ConfigurationError

_HTTP = frozenset({"status", "hang", "reset", "malformed", "truncated", "slow"})
_SESSION = frozenset({"drop", "expire", "expire-silent", "freeze", "drip", "malformed", "oversized"})
KINDS: dict[str, frozenset[str]] = {
    "mint": _HTTP,
    "call": _HTTP,
    "connect": frozenset({"status", "close", "hang", "reset", "slow"}),
    "session": _SESSION,
    "live": _SESSION,
    "update": frozenset({"slow", "missing"}),
    "response": frozenset({"failed", "slow"}),
    "transcription": frozenset({"failed"}),
    "latency": frozenset({"mint", "connect", "response"}),
    "outage": frozenset({"status", "hang", "reset"}),
    "key": frozenset({"single-use"}),
}
LASTING = frozenset({"latency", "outage", "key"})


LONGEST = 1e9  # seconds, thirty years; beyond it arithmetic with clocks breaks down
Seconds = Annotated[float, msgspec.Meta(ge=0, le=LONGEST)]
Positive = Annotated[float, msgspec.Meta(ge=1e-6, le=LONGEST)]
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that goes wrong, `count` times (None: until cleared)."""

    place: str
    kind: str
    count: int | None = 1
    status: int | None = None  # the HTTP status, or the close code of a refusal after the upgrade
    code: str | None = None  # the provider's error code
    message: str | None = None
    retry_after: Seconds | None = None  # sent as Retry-After
    retry_after_ms: Seconds | None = None  # sent as retry-after-ms, as Azure does
    headers: dict[str, str] = {}
    body: str | None = None  # sent instead of the error envelope
    seconds: Seconds | None = None  # how long: of slow, drip, outage, latency
    after: Seconds = 0.0  # seconds into the session …
    after_events: Annotated[int, msgspec.Meta(ge=0)] | None = None  # … or so many events sent; 0: the next is lost
    low: Seconds | None = None  # latency between low and high
    high: Seconds | None = None
    median: Positive | None = None  # latency with a long tail: half are below `median`, one in a hundred above `p99`
    p99: Positive | None = None

    def __post_init__(self) -> None:
        if self.place not in KINDS:
            raise ConfigurationError(
                f"no fault can be placed at {self.place!r}: use one of {', '.join(KINDS)}", field="fault"
            )
        if self.kind not in KINDS[self.place]:
            known = ", ".join(sorted(KINDS[self.place]))
            raise ConfigurationError(f"{self.place} has no fault {self.kind!r}: use one of {known}", field="fault")
        if self.count is not None and self.count < 1:
            raise ConfigurationError(f"a fault happens at least once, not {self.count} times", field="fault")
        if self.after_events is not None and self.place not in {"session", "live"}:
            raise ConfigurationError(f"after_events is for session and live, not for {self.place}", field="fault")
        if self.kind == "status" and not 300 <= (self.status or 503) <= 599:
            raise ConfigurationError(f"{self.status} is no HTTP status of a refusal: use 300 to 599", field="fault")
        for name, value in self.headers.items():
            if not (_HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable()):
                raise ConfigurationError(f"{name!r} is no HTTP header that could be sent", field="fault")


def parse_fault(text: str) -> Fault:
    """A fault from `place:kind[:name=value,…]`, such as `mint:429:count=2,retry_after=3` or `session:drop:after=5`.

    A number in place of the kind is an HTTP status. `count=all` means until cleared.
    """
    place, _, rest = text.partition(":")
    kind, *options = rest.replace(",", ":").split(":")
    given: dict[str, Any] = {"place": place, "kind": kind}
    if kind.isdigit():
        given |= {"kind": "status", "status": kind}
    if place in LASTING:
        given["count"] = None
    for option in filter(None, options):
        name, equals, value = option.partition("=")
        if not equals:
            raise ConfigurationError(f"fault {text!r}: {option!r} should be name=value", field="fault")
        given[name] = None if (name, value) == ("count", "all") else value
    return fault_from(given, shown=text)


def fault_from(given: object, *, shown: str = "") -> Fault:
    """A fault from plain data, numbers as numbers or as text."""
    unknown = sorted(set(given) - set(Fault.__struct_fields__)) if isinstance(given, dict) else []
    if unknown:
        raise ConfigurationError(f"fault {shown or given!r}: no option {unknown[0]!r}", field="fault")
    try:
        return msgspec.convert(given, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"fault {shown or given!r}: {error}", field="fault") from error
