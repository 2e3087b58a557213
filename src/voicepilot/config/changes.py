"""What changed between two settings, by section, in values that may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from voicepilot.config.sections import RESTART, SECTIONS, Section
from voicepilot.config.settings import Settings

HIDDEN = "<hidden>"


class Change(msgspec.Struct, frozen=True):
    """A field's value before and after, as plain data. A secret is `<hidden>` wherever there is one."""

    old: Any
    new: Any


class SectionChanged(msgspec.Struct, frozen=True):
    """Settings of one section changed. Read the values themselves from the ConfigurationManager."""

    section: str
    changes: Mapping[str, Change]
    restart: tuple[str, ...] = ()  # the changed fields that what runs goes on without, until it is made anew


def changes_between(old: Settings, new: Settings) -> tuple[SectionChanged, ...]:
    """One for each section that is not the same, in the order of the sections."""
    found = (_section_changed(name, getattr(old, name), getattr(new, name)) for name in SECTIONS)
    return tuple(changed for changed in found if changed.changes)


def _section_changed(section: str, old: Section, new: Section) -> SectionChanged:
    changes = {
        name: Change(shown(getattr(old, name)), shown(getattr(new, name)))
        for name in type(new).model_fields
        if getattr(old, name) != getattr(new, name)
    }
    restart = tuple(name for name in changes if type(new).applies_when(name) == RESTART)
    return SectionChanged(section, changes, restart)


def shown(value: object) -> Any:
    """A setting as plain data, without secrets."""
    match value:
        case SecretStr():
            return HIDDEN
        case BaseModel():
            return {name: shown(getattr(value, name)) for name in type(value).model_fields}
        case frozenset():
            return sorted(shown(element) for element in value)
        case tuple() | list():
            return [shown(element) for element in value]
    return value


def is_secret(field: FieldInfo) -> bool:
    """Whether a field's value is never shown."""
    return _mentions_secret(field.annotation)


def _mentions_secret(kind: object) -> bool:
    return kind is SecretStr or any(_mentions_secret(part) for part in get_args(kind))
