"""Everything that is wrong with some settings, said once and to a person."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from voicepilot.config.layers import Layer
from voicepilot.errors import ConfigurationError


def rejected(
    problems: Sequence[Mapping[str, Any]], layers: Sequence[Layer], fields: Mapping[str, Mapping[str, str]]
) -> ConfigurationError:
    """Pydantic's `problems` as one error that names each field, its origin, what is wrong and the remedy."""
    lines = [_line(problem, layers, fields) for problem in problems]
    first = ".".join(str(part) for part in problems[0]["loc"])
    if len(lines) == 1:
        message = lines[0]
    else:
        message = f"{len(lines)} settings cannot be used:\n" + "\n".join(f"  {line}" for line in lines)
    return ConfigurationError(
        message, field=first, remediation="Correct what is named; see docs/configuration.md for the fields."
    )


def _line(problem: Mapping[str, Any], layers: Sequence[Layer], fields: Mapping[str, Mapping[str, str]]) -> str:
    path = tuple(str(part) for part in problem["loc"])
    no_table = problem["type"] == "model_type" and not path[1:]
    guilty = [each for each in layers if not isinstance(each.values.get(path[0]), Mapping)] if no_table else layers
    layer = next((layer for layer in guilty if layer.holds(path)), None)
    origin = f" ({layer.origin(path)})" if layer is not None else ""
    if problem["type"] == "extra_forbidden":
        around = ".".join(part for part in path[:-1] if not part.isdecimal())
        known = list(fields.get(around, {})) if around else [name for name in fields if "." not in name]
        return f"{'.'.join(path)}{origin}: no such setting; {nearest(path[-1], known)}"
    if no_table:
        return f"{'.'.join(path)}{origin}: it must be a table of settings"
    said = str(problem["msg"]).removeprefix("Value error, ").removeprefix(f"{path[-1]}: ")
    # A bound of our own says in its message what it expects.
    expected = "" if problem["type"] == "value_error" else fields.get(path[0], {}).get(path[-1], "")
    return f"{'.'.join(path)}{origin}: {said}" + (f"; expected: {expected}" if expected else "")


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name most like `name`, or else all of them."""
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
