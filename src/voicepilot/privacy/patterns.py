"""What the built-in rules look for. Each finder is linear in the length of the text, or nearly."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Span = tuple[int, int]
"""Where something begins and ends in the original text."""

Finder = Callable[[str], Iterator[Span]]


def matches_of(*patterns: str) -> Finder:
    """Finds every match of the patterns, each on its own, so that one cannot hide another."""
    compiled = [re.compile(pattern) for pattern in patterns]

    def find(text: str) -> Iterator[Span]:
        for pattern in compiled:
            yield from (found.span() for found in pattern.finditer(text))

    return find


# Every repeat is bounded or begins where nothing like it stands before, so that no start is tried twice.
find_api_keys = matches_of(
    r"(?<![A-Za-z0-9])(?:sk|ek|rk|eph|sess)[-_][A-Za-z0-9_-]{8,}",  # OpenAI's keys and client secrets
    r"(?<![A-Za-z0-9])[0-9A-Fa-f]{32}(?![A-Za-z0-9])",  # Azure's older keys
    r"(?<![A-Za-z0-9+/_=-])(?=[A-Za-z0-9+/_-]{0,200}\d)[A-Za-z0-9+/_-]{40,}={0,2}",  # Azure's newer keys, other tokens
    r"(?i)(?<![a-z0-9])bearer\s{1,4}[\w.~+/=-]{16,}",
    r"(?i)(?<![a-z0-9])api[-_ ]?key\s{0,4}[:=]\s{0,4}[\"']?[\w.~+/=-]{8,}",
)

find_jwts = matches_of(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}")

find_emails = matches_of(
    r"(?<![\w.%+-])[\w%+-][\w.%+'\u2019-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![^\W_])",
)

_GAP = r"[ \u00a0\u202f./-]"
_PHONES = (
    # International: +49 (0)30 1234567, 0049 30 1234567
    re.compile(rf"(?<![\w+])(?:\+|00)[1-9](?:{_GAP}?\(?\d\)?){{6,15}}(?!\d)"),
    # North American: (212) 555-0123, 1-212-555-0123
    re.compile(rf"(?<![\w+])(?:1{_GAP}?)?\(?[2-9]\d\d\)?{_GAP}?[2-9]\d\d{_GAP}?\d{{4}}(?!\d)"),
    # National with its trunk 0: 030 1234567, 06 12 34 56 78
    re.compile(rf"(?<![\w+.,-])\(?0[1-9]\)?(?:{_GAP}?\(?\d\)?){{7,10}}(?!\d)"),
)

_DIGITS = re.compile(r"\d(?:[\s.\-\u2010-\u2015]{0,2}\d)*")
_GROUP = re.compile(r"\d+")
CARD_DIGITS = range(13, 20)


def find_phones(text: str) -> Iterator[Span]:
    """Telephone numbers as people write them: international, North American, or with a leading 0."""
    for pattern in _PHONES:
        yield from (found.span() for found in pattern.finditer(text))


def find_cards(text: str) -> Iterator[Span]:
    """Payment cards: 13 to 19 digits, in groups or not, whose Luhn check holds, also between other numbers."""
    for run in _DIGITS.finditer(text):
        groups = [(run.start() + group.start(), group.group()) for group in _GROUP.finditer(run.group())]
        for first in range(len(groups)):
            yield from _cards_from(groups, first)


def _cards_from(groups: list[tuple[int, str]], first: int) -> Iterator[Span]:
    begin, digits = groups[first][0], ""
    for start, group in groups[first:]:
        digits += group
        if len(digits) > CARD_DIGITS[-1]:
            return
        if len(digits) in CARD_DIGITS and _luhn(digits):
            yield begin, start + len(group)


def _luhn(digits: str) -> bool:
    """Whether the last digit fits the others; ISO/IEC 7812-1, annex B. Zeros alone are no card."""
    values = [int(digit) for digit in reversed(digits)]
    doubled = sum(sum(divmod(2 * value, 10)) for value in values[1::2])
    return any(values) and (sum(values[::2]) + doubled) % 10 == 0
