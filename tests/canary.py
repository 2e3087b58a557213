"""Secrets that must not show, and who looks for them.

`Net` gathers whatever a story produces, in every form it could be written down, and says where a secret shows.
`no_secret_shows` is on around every test of the suite: it knows each key and credential that is made meanwhile, and
looks for them in every event, log record, error and entry of an emulator's record.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import pytest
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan

from voicepilot.emulator.record import Record
from voicepilot.errors import KeyServiceError, VoicePilotError
from voicepilot.events import Event
from voicepilot.network.secrets import Secret
from voicepilot.ports import EphemeralKey
from voicepilot.runtime.observers import Observers

CREDENTIAL = "sk-canary7Qm4xT7vWz1Kp9Ls3Yb6Hn"
KEY = "ek_canary5Zr8nB5yHd2Jc6Gf0Tw3Vx"
WINDOW = 10
"""Characters of a secret in a row that are a sighting; whoever cuts a text may leave only part of it."""


DEEPEST = 6
"""Levels of containers looked into; their repr shows the rest."""


class Sighting(NamedTuple):
    """A secret was seen."""

    place: str
    text: str


# --- what a thing shows of itself -----------------------------------------------------------------------------------


def shown_by(thing: object, depth: int = 0) -> Iterator[str]:
    """Every text that somebody could make of `thing`."""
    if depth > DEEPEST:
        return
    match thing:
        case str():
            yield thing
        case bytes() | bytearray():
            yield thing.decode("latin-1")
        case _:
            yield f"{thing!r} {thing}"
            yield from _pickled(thing)
            yield from _shown_specially(thing)
            for part in _parts(thing):
                yield from shown_by(part, depth + 1)


def _shown_specially(thing: object) -> Iterator[str]:
    match thing:
        case BaseException():
            yield from _shown_by_error(thing, set())
        case logging.LogRecord():
            yield from _shown_by_record(thing)
        case ReadableSpan() | MetricsData():
            yield str(thing.to_json())
        case msgspec.Struct():
            yield from _encoded(thing)


def _parts(thing: object) -> Iterable[object]:
    match thing:
        case Event():
            return (thing.diagnostics, thing.session_info, getattr(thing, "statistics", None))
        case Mapping():
            return (*thing.keys(), *thing.values())
        case list() | tuple() | set() | frozenset():
            return thing
    return ()


def _encoded(thing: object) -> Iterator[str]:
    yield msgspec.json.encode(thing, enc_hook=repr).decode()
    yield repr(msgspec.to_builtins(thing, enc_hook=repr))


def _pickled(thing: object) -> Iterator[str]:
    with contextlib.suppress(Exception):  # what cannot be pickled shows nothing
        yield pickle.dumps(thing).decode("latin-1")


def _shown_by_error(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    """An exception, its causes, contexts, notes and groups, and what Python prints of them."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield f"{error.args!r} {vars(error)!r} {getattr(error, '__notes__', ())!r}"
    yield "".join(traceback.format_exception(error))
    if isinstance(error, VoicePilotError):
        yield from _encoded(error.fault)
    for inner in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from _shown_by_error(inner, seen)
        if inner is not None:
            yield repr(inner)


def _shown_by_record(record: logging.LogRecord) -> Iterator[str]:
    yield logging.Formatter().format(copy.copy(record))  # it writes on the record
    yield repr(record.__dict__)
    if record.exc_info:
        yield from _shown_by_error(record.exc_info[1], set())


# --- looking for secrets --------------------------------------------------------------------------------------------


def disguises(secret: str) -> Iterator[str]:
    """The secret, whole or in part, plain or coded."""
    raw = secret.encode()
    yield from {secret[at : at + WINDOW] for at in range(3, max(4, len(secret) - WINDOW + 1))}
    yield quote(secret, safe="")
    yield raw.hex()
    for shift in range(3):  # base64 looks different for each place in a group of three
        yield base64.b64encode(b"\0" * shift + raw)[4:-4].decode()


class Net:
    """Gathers what a story shows, and finds secrets in it."""

    def __init__(self, *secrets: str) -> None:
        self.sightings: list[Sighting] = []
        self.looked = 0  # texts, so that a test can tell that there was something to look at
        self._secrets: set[str] = set()
        self._form = re.compile("(?!)")
        self.watch_for(*secrets)

    def watch_for(self, *secrets: str) -> None:
        """Look for these too, from now on."""
        self._secrets |= set(secrets)
        forms = sorted({re.escape(form) for secret in self._secrets for form in disguises(secret)})
        self._form = re.compile("|".join(forms) or "(?!)", re.IGNORECASE)

    def look(self, place: str, *things: object) -> None:
        """Look at everything that these show."""
        for thing in things:
            for text in shown_by(thing):
                self.looked += 1
                if found := self._form.search(text):
                    around = text[max(0, found.start() - 60) : found.end() + 60]
                    self.sightings.append(Sighting(place, around))

    def check(self) -> None:
        """Fail when a secret was seen, or when there was nothing to look at."""
        assert self.looked > 0
        assert not self.sightings, f"{len(self.sightings)} sightings, such as {self.sightings[:3]}"


@contextlib.contextmanager
def logs_into(net: Net) -> Iterator[None]:
    """Look at every record of voicepilot's loggers, whatever its level, and at what a plain handler writes of it."""

    class Looking(logging.StreamHandler[io.StringIO]):
        def emit(self, record: logging.LogRecord) -> None:
            net.look("log", record)

    logger, handler = logging.getLogger("voicepilot"), Looking(io.StringIO())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


# --- around every test ----------------------------------------------------------------------------------------------

_KEY_LIKE = re.compile(r"(?<![A-Za-z0-9])(?:ek|sk)[-_][\w-]{4,}")
MOST_OTHERS = 50
"""Secrets that do not look like keys and are looked for one by one."""
SHORTEST = 8
"""Characters of a secret worth looking for; tests have some like `x`."""


class Watch:
    """Knows the secrets made during a test. Looking costs no more however many there are."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self._keys: set[str] = set()
        self._others: list[str] = []

    def begin(self) -> None:
        """Forget what another test did."""
        self.__init__()  # type: ignore[misc]  # anew, with nothing kept by accident

    def know(self, secret: object) -> None:
        """This is a secret from now on."""
        if not isinstance(secret, str) or len(secret) < SHORTEST:
            return
        if _KEY_LIKE.fullmatch(secret):
            self._keys.add(secret)
        elif len(self._others) < MOST_OTHERS and secret not in self._others:
            self._others.append(secret)

    def look(self, place: str, texts: Iterable[str]) -> None:
        """Look at these texts."""
        if not self._keys and not self._others:
            return
        for text in texts:
            shown = any(found in self._keys for found in _KEY_LIKE.findall(text))
            if shown or any(secret in text for secret in self._others):
                self.sightings.append(Sighting(place, text[:400]))


def _after(target: type, name: str, then: Callable[..., None], patch: pytest.MonkeyPatch) -> None:
    original = getattr(target, name)

    def patched(self: Any, *given: Any, **named: Any) -> Any:  # Any: whatever the original takes
        answer = original(self, *given, **named)
        then(self, *given)
        return answer

    patch.setattr(target, name, patched)


@pytest.fixture(scope="session")
def suite_watch() -> Iterator[Watch]:
    """What is watched in every test."""
    watch, make = Watch(), logging.getLogRecordFactory()

    def record(*given: Any, **named: Any) -> logging.LogRecord:
        made = make(*given, **named)
        if str(made.name).startswith("voicepilot"):
            watch.look("log", _shown_by_record(made))
        return made

    with pytest.MonkeyPatch.context() as patch:
        _after(EphemeralKey, "__init__", lambda key, *_: watch.know(key._value), patch)
        _after(Secret, "__init__", lambda secret, *_: watch.know(secret._value), patch)
        _after(Observers, "publish", lambda _, __, event: watch.look("event", (repr(event),)), patch)
        for error in (VoicePilotError, KeyServiceError):
            _after(error, "__init__", lambda made, *_: watch.look("error", (f"{made.args!r} {vars(made)!r}",)), patch)
        _after(Record, "add", lambda _, entry: watch.look("emulator record", (repr(entry),)), patch)
        logging.setLogRecordFactory(record)
        yield watch
        logging.setLogRecordFactory(make)


@pytest.fixture(autouse=True)
def no_secret_shows(suite_watch: Watch) -> Iterator[Watch]:
    """No key and no credential made during the test shows in an event, log, error or emulator's record."""
    suite_watch.begin()
    yield suite_watch
    assert not suite_watch.sightings, f"secrets show: {suite_watch.sightings[:3]}"
