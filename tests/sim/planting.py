"""Plants a fault into running code: patches the source of a module, and gives its live functions the patched code.

Whoever has imported a function sees the fault, too, because the function stays the same object.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple


class Planted(NamedTuple):
    """A fault, and where the simulator must find it."""

    name: str
    module: str
    old: str  # occurs once in the module
    new: str
    scenario: str
    found_by: frozenset[str]  # one of these invariants


@contextmanager
def planted(fault: Planted) -> Iterator[None]:
    """Runs the block with the fault in the code."""
    module = importlib.import_module(fault.module)
    changed = patched(module, fault)
    before = {function: function.__code__ for function in changed}
    try:
        for function, code in changed.items():
            function.__code__ = code
        yield
    finally:
        for function, code in before.items():
            function.__code__ = code


def patched(module: ModuleType, fault: Planted) -> dict[FunctionType, CodeType]:
    """The functions that the patch changes, with the code it gives them. Raises LookupError when it does not fit."""
    source = Path(str(module.__file__)).read_text()
    if source.count(fault.old) != 1:
        raise LookupError(f"{fault.name}: its old text is {source.count(fault.old)} times in {fault.module}")
    if fault.old.count("\n") != fault.new.count("\n"):
        raise LookupError(f"{fault.name}: a patch must not move the lines below it")
    sound = codes(compile(source, "<planted>", "exec"))
    faulty = codes(compile(source.replace(fault.old, fault.new), "<planted>", "exec"))
    changed = {
        _live(module, name): code
        for name, code in faulty.items()
        if "<" not in name and name in sound and code != sound[name]
    }
    if not changed:
        raise LookupError(f"{fault.name}: the patch is in no function")
    return changed


def codes(code: CodeType) -> dict[str, CodeType]:
    """Every function's code by its qualified name; classes and the module have none to swap."""
    found: dict[str, CodeType] = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 0x02:  # CO_NEWLOCALS: a function, and not the body of a class
                found[constant.co_qualname] = constant
            found |= codes(constant)
    return found


def _live(module: ModuleType, name: str) -> FunctionType:
    found: object = module
    for part in name.split("."):
        found = getattr(found, part)
    if isinstance(found, property) and found.fget is not None:
        found = found.fget
    if not isinstance(found, FunctionType):
        raise LookupError(f"{name} of {module.__name__} is no function")  # noqa: TRY004 - the patch does not fit
    return found
