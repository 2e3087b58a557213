"""What must be true of whatever comes out, however strange what went in."""

from __future__ import annotations

from voicepilot.errors import KeyServiceError
from voicepilot.ports import EphemeralKey


def judge_key(outcome: EphemeralKey | KeyServiceError, status: int, secret: str) -> None:
    """Fail unless this is a key that may be used, or an error that may be shown."""
    if isinstance(outcome, KeyServiceError):
        assert secret not in f"{outcome}{outcome!r}{outcome.fault}"
        assert outcome.retry_after is None or 0 <= outcome.retry_after <= 86_400
        return
    assert 200 <= status < 300
    assert 0 < outcome.expires_in <= 7_260
    value = outcome.reveal()
    assert value not in {"", secret}
    assert value.isascii()
    assert value.isprintable()
    assert " " not in value
    shown = f"{outcome!r}{outcome.model}{outcome.remote_session_id}{outcome.websocket_url}{outcome.webrtc_url}"
    assert secret not in shown
    assert value not in (outcome.remote_session_id or "")
