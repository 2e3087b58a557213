"""Which way a URL goes."""

from __future__ import annotations

import pytest

from voicepilot.network.route import proxy_for


@pytest.mark.parametrize(("secure", "plain"), [("https", "http"), ("wss", "ws")])
def test_websockets_go_the_way_of_http(monkeypatch: pytest.MonkeyPatch, secure: str, plain: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_for(f"{secure}://api.openai.com/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    assert proxy_for(f"{secure}://api.openai.com/v1") == "http://proxy.example:3128"
    assert proxy_for(f"{plain}://api.openai.com/v1") is None
    assert proxy_for(f"{secure}://internal.example/v1") is None
    assert proxy_for(f"{secure}://127.0.0.1/v1") is None
