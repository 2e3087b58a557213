"""TLS with a certificate of our own making, or one that is given."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import aiohttp
import pytest
import trustme

from voicepilot.emulator import RealtimeEmulator
from voicepilot.errors import ConfigurationError

pytestmark = pytest.mark.sockets

KEY = {"Authorization": "Bearer sk-test-0123456789"}


async def hello(emulator: RealtimeEmulator, authority: bytes) -> str:
    trust = ssl.create_default_context(cadata=authority.decode())
    where = emulator.base_url.replace("https", "wss") + "/realtime?model=m"
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(where, headers=KEY, ssl=trust) as socket,
    ):
        return str((await socket.receive_json())["type"])


async def test_it_makes_its_own_certificate() -> None:
    async with RealtimeEmulator(tls=True) as emulator:
        assert emulator.base_url.startswith("https://")
        assert emulator.authority is not None
        before = emulator.authority
        assert await hello(emulator, before) == "session.created"
        await emulator.stop()
        await emulator.start()
        assert await hello(emulator, before) == "session.created", "trust outlives a restart"


async def test_it_takes_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, private_key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(private_key)
    async with RealtimeEmulator(certificate=str(certificate), private_key=str(private_key)) as emulator:
        assert await hello(emulator, authority.cert_pem.bytes()) == "session.created"


async def test_without_trustme_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(ConfigurationError) as caught:
        await RealtimeEmulator(tls=True).start()
    assert "voicepilot-sessions[tls]" in caught.value.remediation


async def test_a_certificate_that_cannot_be_used_is_named() -> None:
    with pytest.raises(ConfigurationError, match="cannot use the certificate"):
        await RealtimeEmulator(certificate="/nowhere", private_key="/nowhere").start()
