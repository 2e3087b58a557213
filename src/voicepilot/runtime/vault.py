"""The one place where key values are: by session and ticket, until released."""

from __future__ import annotations

import msgspec

from voicepilot.ports import EphemeralKey


class SessionCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A session's current key, handed out on request. `reveal()` gives the secret; repr does not show it."""

    session_id: str
    key: EphemeralKey
    expires_at: float  # seconds since the epoch, on the manager's clock

    def reveal(self) -> str:
        """The `ek_…` value, for the client that opens the connection."""
        return self.key.reveal()

    @property
    def model(self) -> str | None:
        """The model (on Azure: the deployment) the key was minted for."""
        return self.key.model

    @property
    def websocket_url(self) -> str | None:
        """Where a client opens a realtime WebSocket with this key, if the key service said so."""
        return self.key.websocket_url

    @property
    def webrtc_url(self) -> str | None:
        """Where a client posts its SDP offer with this key, if the key service said so."""
        return self.key.webrtc_url

    def __repr__(self) -> str:
        return f"SessionCredential(session_id={self.session_id!r}, expires_at={self.expires_at!r}, value=<hidden>)"


class KeyVault:
    """Holds keys; whoever has the vault can read them, so only the manager has it."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, int], EphemeralKey] = {}

    def put(self, session_id: str, ticket: int, key: EphemeralKey) -> None:
        """Take a key in."""
        self._keys[session_id, ticket] = key

    def get(self, session_id: str, ticket: int) -> EphemeralKey | None:
        """The key fetched with this ticket, while it is held."""
        return self._keys.get((session_id, ticket))

    def release(self, session_id: str, ticket: int) -> None:
        """Forget a key. Nothing can revoke it at the provider; it lapses there by itself."""
        self._keys.pop((session_id, ticket), None)

    def clear(self) -> None:
        """Forget every key."""
        self._keys.clear()

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"KeyVault({len(self)} keys)"
