from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from voicepilot import ConfigurationError, ConversationConfig
from voicepilot.conversation.options import BOUNDS, CHOICES

WHOLE = {name for name, bounds in BOUNDS.items() if bounds.whole}
OPTIONAL = {name for name, bounds in BOUNDS.items() if bounds.optional}


def config(**options: Any) -> ConversationConfig:
    return ConversationConfig(**options)


def test_every_field_has_bounds_or_choices() -> None:
    assert set(ConversationConfig.__struct_fields__) == set(BOUNDS) | set(CHOICES)
    assert not set(BOUNDS) & set(CHOICES)


def test_the_defaults_are_accepted_and_keep_their_promises() -> None:
    usual = config()
    assert usual.max_outage_seconds == 300
    assert 2 * usual.heartbeat_seconds <= 10, "a frozen server is noticed within ten seconds"
    assert usual.handover_deadline_seconds < usual.handover_margin_seconds


@pytest.mark.parametrize("name", BOUNDS)
def test_both_ends_are_accepted_and_nothing_beyond(name: str) -> None:
    bounds = BOUNDS[name]
    low, high, unit = bounds.low, bounds.high, bounds.unit
    step = 1 if name in WHOLE else 0.001
    for value in (low, high):
        given = int(value) if name in WHOLE else value
        assert getattr(config(**{name: given}), name) == given
    for value in (low - step, high + step):
        given = int(value) if name in WHOLE else value
        with pytest.raises(ConfigurationError, match=f"{name}: must be between .* {unit}, got") as caught:
            config(**{name: given})
        assert caught.value.field == name


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", ["5", True, math.nan, math.inf, -math.inf, [1]])
def test_what_is_no_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: must be") as caught:
        config(**{name: value})
    assert caught.value.field == name


@pytest.mark.parametrize("name", BOUNDS)
def test_only_some_may_be_none(name: str) -> None:
    if name in OPTIONAL:
        assert getattr(config(**{name: None}), name) is None
    else:
        with pytest.raises(ConfigurationError, match=name):
            config(**{name: None})


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_what_is_counted_is_whole(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a whole number"):
        config(**{name: 2_000.5})


@pytest.mark.parametrize(("name", "choices"), CHOICES.items())
def test_choices_are_named(name: str, choices: tuple[str, ...]) -> None:
    for choice in choices:
        assert getattr(config(**{name: choice}), name) == choice
    with pytest.raises(ConfigurationError, match=f"{name}: must be {' or '.join(choices)}, got 'never ever'"):
        config(**{name: "never ever"})


def test_changes_are_checked_as_the_rest() -> None:
    shorter = config().changed({"max_outage_seconds": 60})
    assert shorter.max_outage_seconds == 60
    with pytest.raises(ConfigurationError, match="max_outage_seconds"):
        shorter.changed({"max_outage_seconds": -1})


def test_an_unknown_option_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match=r"max_outage: .* \(did you mean max_outage_seconds\?\)"):
        ConversationConfig().changed({"max_outage": 60})
    with pytest.raises(ConfigurationError, match="xyzzy: no such conversation option; known are handover_margin"):
        ConversationConfig().changed({"xyzzy": 1})


def test_a_config_is_frozen() -> None:
    with pytest.raises(AttributeError):
        ConversationConfig().max_outage_seconds = 1  # type: ignore[misc]
    assert msgspec.structs.replace(ConversationConfig(), drain_seconds=0).drain_seconds == 0
