"""A question the table never asks in the wrong phase is refused, not answered with a guess."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.lifecycle.driver import Driver
from voicepilot.lifecycle.inputs import RenewRequested
from voicepilot.lifecycle.machine import wake
from voicepilot.lifecycle.renewing import swap
from voicepilot.lifecycle.steps import current_farewell, current_key, current_round


def test_what_a_session_does_not_have_is_refused_by_phase() -> None:
    session = Driver().session
    with pytest.raises(LookupError, match="no round is under way while idle"):
        current_round(session)
    with pytest.raises(LookupError, match="no key is held while idle"):
        current_key(session)
    with pytest.raises(LookupError, match="nothing was said about why, while idle"):
        current_farewell(session)


def test_there_is_no_swap_without_a_fetched_key() -> None:
    driver = Driver()
    driver.go_live()
    driver.tell(RenewRequested())
    with pytest.raises(LookupError, match="no fetched key to swap to"):
        swap(driver.session, RenewRequested(), driver.now)


def test_a_deadline_that_means_nothing_in_the_phase_comes_once() -> None:
    driver = Driver()
    driver.go_live()
    driver.session = replace(driver.session, retry_at=driver.now)
    session, effects = wake(driver.session, driver.now)
    assert (session.retry_at, effects) == (None, ())
