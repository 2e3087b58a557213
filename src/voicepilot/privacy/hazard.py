"""Finds patterns that can take for ever: a repeat inside a repeat, which Python's `re` tries in every combination."""

from __future__ import annotations

import re

_UNBOUNDED = 1_000_000
_FEW = 16  # times a part that varies may be repeated
_BRACES = re.compile(r"\{(\d*)(,?)(\d*)\}")
_GROUP_OPENING = re.compile(r"\((?:\?(?:P?<\w+>|P=\w+|<?[=!]|[aiLmsux-]*:?|:|>|#[^)]*))?")


class _Part:
    """What is known of the pattern, or of a group in it."""

    __slots__ = ("endless", "varies")

    def __init__(self, *, varies: bool = False, endless: bool = False) -> None:
        self.varies = varies  # can match different lengths or in different ways
        self.endless = endless  # contains a repeat without bound


def is_hazardous(pattern: str) -> bool:
    """Whether a repeat stands inside a repeat, such as `(a+)+` or `(a|b)*`. `pattern` must compile.

    A repeat of up to 16 times of a part whose own repeats are bounded is allowed: `(?:[0-9]{1,4}-){3}`.
    """
    stack = [_Part()]
    last = _Part()  # what a quantifier would repeat
    at = 0
    while at < len(pattern):
        most, width = _quantifier(pattern, at)
        if width:
            if (last.endless and most > 1) or (last.varies and most > _FEW):
                return True
            stack[-1].varies = True
            stack[-1].endless |= most >= _UNBOUNDED
            at += width
            continue
        last, at = _element(pattern, at, stack)
    return False


def _element(pattern: str, at: int, stack: list[_Part]) -> tuple[_Part, int]:
    match pattern[at]:
        case "\\":
            return _Part(), at + 2
        case "[":
            return _Part(), _after_class(pattern, at)
        case "(":
            stack.append(_Part())
            opening = _GROUP_OPENING.match(pattern, at)
            return _Part(), opening.end() if opening else at + 1
        case ")" if len(stack) > 1:
            part = stack.pop()
            stack[-1].varies |= part.varies
            stack[-1].endless |= part.endless
            return part, at + 1
        case "|":
            stack[-1].varies = True
            return _Part(), at + 1
        case _:
            return _Part(), at + 1


def _quantifier(pattern: str, at: int) -> tuple[int, int]:
    """How often the quantifier at this place repeats at most, and how long it is with its `?` or `+`; 0: none."""
    char = pattern[at]
    if char in "*+?":
        most, width = (1 if char == "?" else _UNBOUNDED), 1
    elif braces := _BRACES.match(pattern, at):
        low, comma, high = braces.groups()
        if not (low or comma):
            return 0, 0
        most, width = int(high or (_UNBOUNDED if comma else low)), len(braces.group())
    else:
        return 0, 0
    return most, width + (pattern[at + width : at + width + 1] in {"?", "+"})


def _after_class(pattern: str, at: int) -> int:
    at += 2 if pattern[at + 1 : at + 2] == "^" else 1
    at += pattern[at : at + 1] == "]"
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1
