"""A server event's fields are its attributes."""

from __future__ import annotations

import pytest

from voicepilot.conversation.events import ServerEvent


def test_fields_are_attributes_at_any_depth() -> None:
    event = ServerEvent({"type": "response.done", "response": {"output": [{"id": "a"}, "b"], "usage": {"total": 3}}})
    assert event.type == "response.done"
    assert event.response.usage.total == 3
    assert event.response.output[0].id == "a"
    assert event.response.output[1] == "b"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"type": "error"}, "a error event has no delta"),
        ({}, "a server event has no delta"),
    ],
)
def test_a_field_that_is_not_there_is_no_attribute(event: dict[str, str], message: str) -> None:
    with pytest.raises(AttributeError) as caught:
        _ = ServerEvent(event).delta
    assert str(caught.value) == message
