"""Mints over real sockets: what is sent, and what no server can make us do."""

from __future__ import annotations

import pytest
from tests.credentials.conftest import CANARY_CREDENTIAL, CANARY_KEY, Provider

from voicepilot.credentials import EphemeralKeyService, OpenAIProfile
from voicepilot.ports import Collaborator, KeyRequest

pytestmark = pytest.mark.sockets


async def test_a_mint_asks_for_the_session_it_is_for(provider: Provider) -> None:
    profile = OpenAIProfile(base_url=provider.base_url)
    async with EphemeralKeyService(profile, credential=CANARY_CREDENTIAL) as service:
        assert isinstance(service, Collaborator)
        key = await service.request_ephemeral_key(
            KeyRequest(session_id="s1", life_seconds=90, session={"instructions": "be brief"})
        )
    assert provider.bodies == [
        {
            "expires_after": {"anchor": "created_at", "seconds": 90},
            "session": {"type": "realtime", "instructions": "be brief", "model": "gpt-realtime-2.1"},
        }
    ]
    assert provider.requests[0].headers["Authorization"] == f"Bearer {CANARY_CREDENTIAL}"
    assert provider.requests[0].path == "/v1/realtime/client_secrets"
    assert key.reveal() == CANARY_KEY
    assert key.issued_for == "s1"
    assert key.expires_in == pytest.approx(90, abs=2)
    assert key.websocket_url == f"ws{provider.base_url.removeprefix('http')}/realtime?model=gpt-realtime-2.1"
    assert key.webrtc_url == f"{provider.base_url}/realtime/calls"
