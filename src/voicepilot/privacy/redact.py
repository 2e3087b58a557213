"""Takes out of a text what must not be stored, and says where it was. What was taken out is kept nowhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

import msgspec

from voicepilot.errors import ConfigurationError
from voicepilot.privacy.hazard import is_hazardous
from voicepilot.privacy.patterns import (
    Finder,
    find_api_keys,
    find_cards,
    find_emails,
    find_jwts,
    find_phones,
    matches_of,
)

LONGEST_TEXT = 20_000
"""Characters; a longer text is withheld whole, because Python's `re` cannot be given a time limit."""

LONGEST_PATTERN = 1_000
"""Characters of a rule's pattern."""

TOO_LONG = "too-long"
"""The label of a text that was withheld."""

BUILT_IN: tuple[tuple[str, Finder], ...] = (
    ("jwt", find_jwts),
    ("api-key", find_api_keys),
    ("card", find_cards),
    ("email", find_emails),
    ("phone", find_phones),
)
"""The rules that always apply, those that name overlapping finds first."""

_LABEL = re.compile(r"[a-z][a-z0-9-]{0,31}")


class RedactionRule(msgspec.Struct, frozen=True):
    """A rule of your own: what matches `pattern` (a regular expression) is replaced with `[label]`."""

    pattern: str
    label: str  # a lower-case word, with digits and hyphens, such as `order-number`; up to 32 characters


class Found(msgspec.Struct, frozen=True):
    """Something that was taken out; `start` and `end` count characters of the original text."""

    label: str
    start: int
    end: int


class Redaction(msgspec.Struct, frozen=True):
    """A text fit to be stored, and what was taken out of it, in order."""

    text: str
    found: tuple[Found, ...] = ()


class Redactor:
    """Applies the built-in rules and yours. A rule that cannot be used is refused by name; the others apply.

    `refused` says which and why, and so does the log. To have them raised instead, call `check_rules` first.
    """

    def __init__(self, rules: Iterable[RedactionRule] = (), *, logger: logging.Logger | None = None) -> None:
        sound: list[tuple[str, Finder]] = []
        refused: list[str] = []
        for number, rule in enumerate(rules, 1):
            problem = _problem(rule)
            if problem is None:
                sound.append((rule.label, matches_of(rule.pattern)))
            else:
                refused.append(f"{_name(rule, number)}: {problem}")
        self.refused: tuple[str, ...] = tuple(refused)
        self._rules = (*BUILT_IN, *sound)
        if refused:
            (logger or logging.getLogger("voicepilot")).error("redaction rules refused: %s", "; ".join(refused))

    def redact(self, text: str) -> Redaction:
        """`text` with what the rules find replaced by `[label]`. Finds that overlap are taken out as one."""
        if len(text) > LONGEST_TEXT:
            return withheld(text)
        finds = sorted(
            (start, rank, end, label)
            for rank, (label, find) in enumerate(self._rules)
            for start, end in find(text)
            if start < end
        )
        return _taken_out(text, _merged(finds))


def withheld(text: str) -> Redaction:
    """Nothing of `text`, which is too long."""
    return Redaction(f"[{TOO_LONG}]", (Found(TOO_LONG, 0, len(text)),))


def check_rules(rules: Iterable[RedactionRule]) -> None:
    """Raise ConfigurationError that names every rule that cannot be used, and why."""
    problems = [
        f"{_name(rule, number)}: {problem}" for number, rule in enumerate(rules, 1) if (problem := _problem(rule))
    ]
    if problems:
        raise ConfigurationError(
            "; ".join(problems), field="redaction_rules", remediation="Correct or remove the named rules."
        )


def _name(rule: object, number: int) -> str:
    label = rule.label if isinstance(rule, RedactionRule) and isinstance(rule.label, str) else "?"
    return f"redaction rule {number} ({label[:32]})"


def _problem(rule: object) -> str | None:
    if not isinstance(rule, RedactionRule) or not isinstance(rule.pattern, str) or not isinstance(rule.label, str):
        return "must be a RedactionRule of two strings"
    if not _LABEL.fullmatch(rule.label):
        return "the label must be a lower-case word of at most 32 letters, digits and hyphens"
    if len(rule.pattern) > LONGEST_PATTERN:
        return f"the pattern is longer than {LONGEST_PATTERN} characters"
    try:
        compiled = re.compile(rule.pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"the pattern is not a regular expression: {error}"
    if compiled.search("") is not None:
        return "the pattern matches nothing at all, and so everywhere"
    if is_hazardous(rule.pattern):
        return "the pattern has a repeat inside a repeat, which can take for ever: bound the inner one, such as {1,20}"
    return None


def _merged(finds: Sequence[tuple[int, int, int, str]]) -> list[Found]:
    """Finds that overlap as one, named by the rule that comes first."""
    merged: list[tuple[int, int, int, str]] = []
    for start, rank, end, label in finds:
        if merged and start < merged[-1][2]:
            first, best, last, name = merged.pop()
            best, name = min((best, name), (rank, label))
            merged.append((first, best, max(last, end), name))
        else:
            merged.append((start, rank, end, label))
    return [Found(label, start, end) for start, _, end, label in merged]


def _taken_out(text: str, found: Sequence[Found]) -> Redaction:
    if not found:
        return Redaction(text)
    pieces: list[str] = []
    at = 0
    for one in found:
        pieces += (text[at : one.start], f"[{one.label}]")
        at = one.end
    return Redaction("".join((*pieces, text[at:])), tuple(found))
