from __future__ import annotations

import math
from typing import Any

import pytest

from voicepilot import ConfigurationError, SessionConfig
from voicepilot.lifecycle.config import BOUNDS


def test_the_defaults_are_the_requirements() -> None:
    config = SessionConfig()
    assert config.renewal_margin_seconds == 10
    assert config.inactivity_timeout_minutes == 5
    assert config.heartbeat_interval_seconds == 30
    assert config.max_retry_attempts == 3
    assert config.retry_backoff_ms == 1000
    assert config.enable_heartbeat is True
    assert config.enable_inactivity_timeout is True
    assert config.key_life_seconds == 600
    assert config.failed_retention_seconds == 300


@pytest.mark.parametrize("field", BOUNDS)
def test_both_ends_of_the_bounds_are_accepted_and_beyond_is_not(field: str) -> None:
    bounds = BOUNDS[field]
    whole = bounds.whole
    low: Any = int(bounds.low) if whole else bounds.low
    high: Any = int(bounds.high) if whole else bounds.high
    SessionConfig(**{field: low})
    SessionConfig(**{field: high})
    for wrong in (low - 1, high + 1):
        with pytest.raises(ConfigurationError, match=f"{field}: must be between .* {bounds.unit}"):
            SessionConfig(**{field: wrong})


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, "10", True, [10]])
@pytest.mark.parametrize("field", BOUNDS)
def test_what_is_no_number_is_refused_by_name(field: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{field}: ") as refused:
        SessionConfig(**{field: wrong})
    assert refused.value.field == field


@pytest.mark.parametrize("field", BOUNDS)
def test_none_is_no_number_but_is_no_limit(field: str) -> None:
    nothing: dict[str, Any] = {field: None}
    if BOUNDS[field].optional:
        assert getattr(SessionConfig(**nothing), field) is None
    else:
        with pytest.raises(ConfigurationError, match=f"{field}: must be a (whole )?number, got None"):
            SessionConfig(**nothing)


def test_a_limit_says_that_it_may_be_absent() -> None:
    with pytest.raises(ConfigurationError, match=r"max_total_tokens: must be a whole number or None, got 2\.5"):
        SessionConfig(max_total_tokens=2.5)  # type: ignore[arg-type]  # the point of the test


def test_attempts_are_whole() -> None:
    with pytest.raises(ConfigurationError, match=r"max_retry_attempts: must be a whole number, got 2\.5"):
        SessionConfig(max_retry_attempts=2.5)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("field", ["enable_heartbeat", "enable_inactivity_timeout"])
def test_flags_are_true_or_false(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{field}: must be True or False, got 1"):
        SessionConfig(**{field: 1})  # type: ignore[arg-type]  # the point of the test


def test_changes_are_accepted_whole_or_not_at_all() -> None:
    config = SessionConfig()
    assert config.changed({"renewal_margin_seconds": 20}).renewal_margin_seconds == 20
    with pytest.raises(ConfigurationError):
        config.changed({"renewal_margin_seconds": 30, "heartbeat_interval_seconds": 0})
    assert config == SessionConfig()


def test_an_unknown_option_is_named_with_its_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"renewal_margin: no such .*did you mean renewal_margin_seconds\?"):
        SessionConfig().changed({"renewal_margin": 20})
    with pytest.raises(ConfigurationError, match="zzz: no such session option; known are renewal_margin_seconds"):
        SessionConfig().changed({"zzz": 20})
