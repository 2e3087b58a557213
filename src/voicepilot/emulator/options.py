"""How an emulator behaves, and what its parts share."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from voicepilot.emulator.answers import AnswerFunction, Answers, FunctionAnswers
from voicepilot.emulator.commits import Commits
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.ids import Ids
from voicepilot.emulator.keys import Keys
from voicepilot.emulator.plan import Faults
from voicepilot.emulator.record import Record
from voicepilot.emulator.stage import Terms
from voicepilot.errors import ConfigurationError

PROVIDERS = ("openai", "azure")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be chosen when an emulator is made."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    key_life: float | None = None  # seconds no key outlives, whatever was asked; may be shorter than the wire's 10
    session_life: float = 3600.0  # seconds until session_expired
    time_scale: float = 1.0  # durations pass so many times faster; times on the wire stay true to the clock
    answers: AnswerFunction | Answers | None = None  # a function of the turn, or a Script; None echoes
    pacing: Literal["instant", "realtime"] = "instant"  # how audio answers arrive
    api_keys: frozenset[str] | None = None  # the API keys that are good; None: any
    models: frozenset[str] | None = None  # the models there are; None: any
    refusal: Literal["http", "close"] = "http"  # how a bad key is refused a socket: at the upgrade, or after it
    seed: int = 0  # of the latencies drawn
    tls: bool = False  # https and wss, with a certificate made for the occasion (extra `tls`) …
    certificate: str | None = None  # … or with these PEM files
    private_key: str | None = None
    heartbeat: float = 20.0  # seconds between pings; a peer that does not answer is dropped
    keep_audio: bool = False  # keep the audio of committed items, to be asked for it

    def __post_init__(self) -> None:
        for name in ("session_life", "time_scale", "heartbeat", "key_life"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigurationError(f"{name} must be more than 0 and finite, not {value}", field=name)
        if not 0 <= self.port <= 65_535:
            raise ConfigurationError(f"port must be 0 to 65535, not {self.port}", field="port")
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigurationError("certificate and private_key go together", field="certificate")

    @property
    def secure(self) -> bool:
        """Whether the emulator speaks TLS."""
        return self.tls or self.certificate is not None

    def terms(self, *, azure: bool, call: bool = False) -> Terms:
        """The terms of a session opened under these options."""
        return Terms(
            life=self.session_life / self.time_scale,
            azure=azure,
            call=call,
            pace=1 / self.time_scale if self.pacing == "realtime" else 0.0,
            scale=self.time_scale,
        )

    @property
    def answering(self) -> Answers:
        """`answers` in its full form."""
        if self.answers is None:
            return FunctionAnswers()
        return self.answers if hasattr(self.answers, "begin") else FunctionAnswers(self.answers)


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes share: choices, keys, faults, the record and the source of ids."""

    options: Options
    keys: Keys
    faults: Faults
    record: Record
    ids: Ids
    calls: dict[str, Conversation]  # the WebRTC calls that are on
    commits: Commits | None = None  # the audio that was committed, where it is kept
