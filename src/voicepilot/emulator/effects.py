"""What a conversation orders its socket to do."""

from __future__ import annotations

import msgspec

from voicepilot.emulator.checks import Json


class Send(msgspec.Struct, frozen=True):
    """Send this event."""

    event: Json


class SendRaw(msgspec.Struct, frozen=True):
    """Send this text, which is no event."""

    text: str


class Close(msgspec.Struct, frozen=True):
    """Close the socket properly."""

    code: int
    reason: str


class Drop(msgspec.Struct, frozen=True):
    """Cut the connection without a close frame; the client sees 1006."""


class Freeze(msgspec.Struct, frozen=True):
    """Read and write nothing more, and leave the socket open."""


class Drip(msgspec.Struct, frozen=True):
    """From now on wait so long before each frame."""

    seconds: float


Effect = Send | SendRaw | Close | Drop | Freeze | Drip
