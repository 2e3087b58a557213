"""What a client may send, as small checks put together: each gives the value in its normal form, or refuses it.

The texts and codes are the provider's (`error.code` and `error.param`, realtime-wire.md A4 and D5), because clients
show them to people and branch on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# What clients send has no type until it has been checked, and what we send back is built from it.
Json = dict[str, Any]
Check = Callable[[Any, str], Any]

DEEPEST = 64  # levels; what is deeper could exhaust the stack of whatever walks through it


class WireError(Exception):
    """Something a client sent cannot be used; it becomes an `error` event or an HTTP 4xx."""

    def __init__(
        self, message: str, code: str | None, param: str | None = None, *, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind

    @property
    def body(self) -> Json:
        """The provider's error object."""
        return {"type": self.kind, "code": self.code, "message": self.message, "param": self.param}


def deep(value: object, left: int = DEEPEST) -> bool:
    """Whether JSON is nested deeper than anybody needs."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not left or any(isinstance(each, dict | list) and deep(each, left - 1) for each in inner)


def missing(path: str) -> WireError:
    """A parameter that must be there is not."""
    return WireError(f"Missing required parameter: '{path}'.", "missing_required_parameter", path)


def invalid(path: str, message: str) -> WireError:
    """A parameter has a value that cannot be used."""
    return WireError(message, "invalid_value", path)


def kind_of(value: object) -> str:
    """The JSON name of a value's type, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def wrong_type(path: str, wanted: str, value: object) -> WireError:
    """A parameter has the wrong JSON type."""
    message = f"Invalid type for '{path}': expected {wanted}, but got {kind_of(value)} instead."
    return WireError(message, "invalid_type", path)


def anything(value: Any, path: str) -> Any:
    """A value we carry and do not look into."""
    return value


def flag(value: Any, path: str) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)
    return value


def text(limit: int | None = None) -> Check:
    """A string of at most `limit` characters."""

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        if limit is not None and len(value) > limit:
            message = (
                f"Invalid '{path}': string too long. Expected a string with maximum length {limit}, "
                f"but got a string with length {len(value)} instead."
            )
            raise WireError(message, "string_above_max_length", path)
        return value

    return check


def number(low: float, high: float, *, whole: bool = False) -> Check:
    """A number within bounds; `whole` allows integers only."""
    wanted, kinds = ("an integer", (int,)) if whole else ("a decimal number", (int, float))
    code = "integer" if whole else "decimal"

    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise wrong_type(path, wanted, value)
        if value < low:
            message = (
                f"Invalid '{path}': {code} below minimum value. Expected a value >= {low}, but got {value} instead."
            )
            raise WireError(message, f"{code}_below_min_value", path)
        if value > high:
            message = (
                f"Invalid '{path}': {code} above maximum value. Expected a value <= {high}, but got {value} instead."
            )
            raise WireError(message, f"{code}_above_max_value", path)
        return value

    return check


def choice(*allowed: str) -> Check:
    """One of a few strings."""
    quoted = ", ".join(f"'{name}'" for name in allowed)

    def check(value: Any, path: str) -> str:
        if value not in allowed:
            shown = f"'{value}'" if isinstance(value, str) else kind_of(value)
            raise invalid(path, f"Invalid value: {shown}. Supported values are: {quoted}.")
        return str(value)

    return check


def nullable(check: Check) -> Check:
    """Null, or what `check` takes."""
    return lambda value, path: None if value is None else check(value, path)


def array(check: Check, limit: int = 10_000) -> Check:
    """An array of what `check` takes."""

    def check_all(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_type(path, "an array", value)
        if len(value) > limit:
            message = f"Invalid '{path}': array too long. Expected an array with maximum length {limit}."
            raise WireError(message, "array_above_max_length", path)
        return [check(element, f"{path}[{index}]") for index, element in enumerate(value)]

    return check_all


def record(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """An object with these fields and no others."""

    def check(value: Any, path: str) -> Json:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        dotted = f"{path}." if path else ""
        for name in required:
            if name not in value:
                raise missing(dotted + name)
        for name in value:
            if name not in fields:
                raise WireError(f"Unknown parameter: '{dotted}{name}'.", "unknown_parameter", dotted + name)
        return {name: fields[name](given, dotted + name) for name, given in value.items()}

    return check


def tagged(tag: str, shapes: Mapping[str, Check]) -> Check:
    """An object whose field `tag` says which of `shapes` it has."""
    known = choice(*shapes)

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        where = f"{path}.{tag}" if path else tag
        if tag not in value:
            raise missing(where)
        return shapes[known(value[tag], where)](value, path)

    return check


def either(literals: tuple[str, ...], otherwise: Check) -> Check:
    """One of a few strings, or what `otherwise` takes."""
    return lambda value, path: value if isinstance(value, str) and value in literals else otherwise(value, path)
