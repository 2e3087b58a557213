"""The main path of the manager, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import a_world

from voicepilot import (
    Phase,
    ProviderUnavailableError,
    SessionLimitError,
    SessionNotFoundError,
)


async def test_a_session_starts_renews_and_ends() -> None:
    async with a_world(key_life_seconds=60, enable_inactivity_timeout=False) as world:
        session = await world.manager.start_session()
        assert session.state is Phase.ACTIVE
        await asyncio.sleep(125)
        await world.manager.end_session(session.session_id)
        assert world.recorder.types() == [
            *["state-changed", "state-changed", "session-started"],
            *["state-changed", "renewal-started", "state-changed", "renewal-completed"] * 2,
            *["state-changed", "state-changed", "session-ended"],
        ]
        assert world.keys.ended == [session.session_id]
        assert world.keys_held() == 0
        with pytest.raises(SessionNotFoundError):
            world.manager.credential(session.session_id)


async def test_the_credential_follows_the_renewal() -> None:
    async with a_world() as world:
        session = await world.manager.start_session()
        assert world.manager.credential(session.session_id).reveal() == "ek_fake_1"
        result = await world.manager.renew_session(session.session_id)
        assert result.success
        assert world.manager.credential(session.session_id).reveal() == "ek_fake_2"
        assert await world.manager.credential_provider(session.session_id)() == "ek_fake_2"


async def test_the_limit_holds_and_the_refused_start_names_it() -> None:
    async with a_world(limit=2) as world:
        await world.manager.start_session()
        second = await world.manager.start_session()
        with pytest.raises(SessionLimitError, match="2 sessions are live already"):
            await world.manager.start_session()
        await world.manager.end_session(second.session_id)
        await world.manager.start_session()


async def test_a_key_that_lapses_makes_the_session_recover_by_itself() -> None:
    async with a_world(key_life_seconds=60) as world:
        session = await world.manager.start_session()
        world.keys.fail(ProviderUnavailableError("down"), count=9)
        await asyncio.sleep(61)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert info.state is Phase.RECOVERING
        await asyncio.sleep(120)
        info = world.manager.get_session_info(session.session_id)
        assert info is not None
        assert info.state is Phase.ACTIVE
        assert info.last_error is None
