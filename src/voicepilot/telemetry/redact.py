"""Hides secrets in whatever is about to be written down: by value, by form, and by the name of the field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import date, time, timedelta
from typing import Any

import msgspec

HIDDEN = "<hidden>"
CIRCULAR = "<circular>"
TOO_DEEP = "<too deep>"
DEEPEST = 12
"""Levels of nesting that are shown; nothing worth logging is deeper."""

_FORMS = re.compile(
    r"""
    (?<![A-Za-z0-9]) (?: sk | ek | eph ) [-_] [\w.*-]{4,}                     # keys of OpenAI and Azure
    | (?<![A-Za-z0-9]) eyJ [\w-]{8,} (?: \.[\w-]* )*                          # JSON web tokens
    | [A-Za-z0-9+/_-]{80,} =*                                                 # keys of Azure; also encoded audio
    | (?<= bearer\ ) \s* [^\s"',;]+ | (?<= basic\ ) \s* [A-Za-z0-9+/_=-]{8,}  # Authorization: Bearer …
    | (?P<name> (?: api[-_]?key | client[-_]?secret | password | authorization
                  | (?: access | refresh | id )[-_]token )
        ["']? \s* [:=] \s* ["']? (?: (?: bearer | basic ) \s+ )? )
      (?! <hidden> ) [^\s"',;&]+                                              # api-key: …
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SECRET_NAME = re.compile(
    r"apikey|authorization|passw(?:or)?d|passphrase|secret|token|credential|cookie|privatekey|ephemeralkey|bearer"
)
_TOLD_ABOUT = re.compile(r"(?:status|source|count|type|kind|at|in|seconds|scope)$")  # such as credential_status


class Redactor:
    """Gives back what it is given, with secrets hidden. `values` are hidden wherever they stand, whatever their form.

    It is a structlog processor too, so it can stand in a chain of yours.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        known = sorted({value for value in values if value}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known)), re.IGNORECASE) if known else None

    def __repr__(self) -> str:
        return "Redactor()"

    def __call__(self, _: Any, __: str, event_dict: MutableMapping[str, Any]) -> dict[str, Any]:
        """The event without secrets, for structlog."""
        return {name: self._field(name, value, ()) for name, value in event_dict.items()}

    def text(self, text: str) -> str:
        """A text without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _FORMS.sub(lambda found: f"{found['name'] or ''}{HIDDEN}", text)

    def value(self, value: object) -> object:
        """Anything, as plain data without secrets. Circular data is cut where it begins again."""
        return self._value(value, ())

    def _field(self, name: object, value: object, path: tuple[int, ...]) -> object:
        return HIDDEN if _is_secret(name, value) else self._value(value, path)

    def _value(self, value: object, path: tuple[int, ...]) -> object:
        match value:
            case None | bool() | int() | float() | date() | time() | timedelta():
                return value
            case str():
                return self.text(str(value))
            case bytes() | bytearray() | memoryview():
                return f"<{len(value)} bytes>"
        if id(value) in path:
            return CIRCULAR
        if len(path) >= DEEPEST:
            return TOO_DEEP
        return self._container(value, (*path, id(value)))

    def _container(self, value: object, path: tuple[int, ...]) -> object:
        match value:
            case Mapping():
                return {self.text(str(name)): self._field(name, held, path) for name, held in value.items()}
            case msgspec.Struct():
                return {name: self._field(name, getattr(value, name), path) for name in value.__struct_fields__}
            case list() | tuple() | set() | frozenset():
                return [self._value(element, path) for element in value]
        return self.text(_shown(value))


def _is_secret(name: object, value: object) -> bool:
    """Whether the field's name says that its value is nobody's business."""
    if value is None or isinstance(value, bool):
        return False
    plain = re.sub(r"[^a-z0-9]", "", str(name).lower())
    found = _SECRET_NAME.search(plain)
    if found is None or _TOLD_ABOUT.search(plain, found.end()):
        return False
    return not (isinstance(value, int | float) and found.group() == "token")  # a number of tokens is a count


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # what cannot show itself must not keep the rest from being logged
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
