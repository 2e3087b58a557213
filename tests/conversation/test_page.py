"""docs/conversations.md against the code: its tables name every option, happening, field and method there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

import voicepilot
from voicepilot import (
    Conversation,
    ConversationClosedError,
    ConversationConfig,
    ConversationFullError,
    ConversationLostError,
    Restored,
    SessionManager,
)
from voicepilot.conversation.happenings import Happening

PAGE = (Path(__file__).parents[2] / "docs" / "conversations.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the table whose head begins so, by what is in their first cell."""
    rows = PAGE[PAGE.index(heading) :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return {first: rest for first, *rest in cells}


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def shown(value: Any) -> str:  # Any: whatever a default is
    return f"`{value}`" if isinstance(value, str) else str(value)


def test_the_options_are_those_of_the_config_with_their_defaults() -> None:
    written = {code(option)[0]: default for option, (default, _) in table("| option |").items()}
    assert written == {
        name: shown(getattr(ConversationConfig(), name)) for name in ConversationConfig.__struct_fields__
    }


def test_every_happening_is_there_with_all_its_fields() -> None:
    written = {tuple(code(event)): code(fields) for event, (fields, _) in table("| event |").items()}
    there = [kind for kind in vars(voicepilot.conversation.happenings).values() if inspect.isclass(kind)]
    happenings = [kind for kind in there if issubclass(kind, Happening) and kind is not Happening]
    assert written == {
        (kind.type, kind.__name__): [field.name for field in msgspec.structs.fields(kind) if field.name != "at"]
        for kind in happenings
    }
    assert {kind.__name__ for kind in happenings} <= set(voicepilot.__all__)


def test_every_field_of_what_was_restored_is_told() -> None:
    assert [code(field)[0] for field in table("| field of `Restored` |")] == list(Restored.__struct_fields__)


def test_every_way_to_send_is_told() -> None:
    written = {name.split("(")[0] for cell in table("| method |") for name in code(cell)}
    life = {"close", "recv", "tell"}
    there = {name for name, what in vars(Conversation).items() if inspect.isfunction(what) and name[0] != "_"}
    assert written == there - life


def test_connect_is_written_as_it_is() -> None:
    taken = list(inspect.signature(SessionManager.connect).parameters.values())[1:]
    written = re.search(r"`manager\.connect\((.*)\)`", PAGE)
    assert written is not None
    assert written[1] == ", ".join(
        [taken[0].name, "*", *(f"{each.name}={each.default}" for each in taken[1:-1]), f"**{taken[-1].name}"]
    )


@pytest.mark.parametrize("error", [ConversationClosedError, ConversationFullError])
def test_errors_are_told_with_their_codes(error: type[voicepilot.VoicePilotError]) -> None:
    assert code(table("| error |")[f"`{error.__name__}`"][0]) == [error.code]


def test_codes_of_what_was_lost_are_codes_there_are() -> None:
    paragraph = PAGE[PAGE.index("Codes of what was lost:") :].split("\n\n")[0]
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in Path(voicepilot.__file__).parent.rglob("*.py")
        if "cli" not in path.parts
    )
    written = [each for each in code(paragraph) if each.isupper()]
    assert len(written) >= 6
    assert [each for each in written if f'"{each}"' not in sources] == []
    assert ConversationLostError.code in written
