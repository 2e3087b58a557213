"""One connection as the core knows it: how far it is in being made ready, and whether it still answers."""

from __future__ import annotations

from enum import StrEnum

from voicepilot.conversation.audio import FLAT, PCM, Json, audio_of, rate_of
from voicepilot.conversation.happenings import Lost


class Stage(StrEnum):
    """How far a connection is."""

    DIALLING = "dialling"
    GREETING = "greeting"  # open; `session.created` is awaited
    CONFIGURING = "configuring"  # `session.updated` is awaited
    REPLAYING = "replaying"  # items are awaited to be acknowledged
    SYNCED = "synced"  # it knows what the others know


class Link:
    """A connection, from the order to dial it until it is hung up."""

    __slots__ = (
        "began_at",
        "configured",
        "confirm_by",
        "creates",
        "cut_at",
        "displaced",
        "draining",
        "dropped",
        "excused_at",
        "heard_at",
        "hears",
        "input_rate",
        "known",
        "last_item",
        "limit_at",
        "lost",
        "number",
        "options",
        "output_rate",
        "owed",
        "pinged_at",
        "proved",
        "refused",
        "renamed",
        "replayed",
        "session",
        "stage",
        "stale",
        "update_id",
        "version",
    )

    def __init__(self, number: int, limit_at: float) -> None:
        self.number = number
        self.stage = Stage.DIALLING
        self.limit_at = limit_at  # until then it must be in sync; while draining: until then it is heard
        self.draining = False
        self.cut_at = 0.0  # when the provider ends it
        self.heard_at = 0.0
        self.excused_at = 0.0  # until then it was not to blame for its silence
        self.pinged_at: float | None = None
        self.began_at = 0.0  # when it began to carry the conversation
        self.proved = False  # it gave an answer
        self.session: Json = {}  # those of its options that matter here, as the server last said
        self.hears: Json = {}  # of these, what is about input audio
        self.input_rate = self.output_rate = PCM  # bytes in a second of audio
        self.options: Json = {}  # what it was told of the options
        self.update_id = ""  # of the `session.update` that configures it
        self.configured = True
        self.confirm_by = 0.0  # while configuring: until then the options must be confirmed
        self.version = -1  # of the state when it was last told of the mirror
        self.known: set[str] = set()  # items it has
        self.owed: set[str] = set()  # items it was told and has not acknowledged
        self.creates: dict[str, tuple[str, str]] = {}  # event_id -> item, and the item it was to follow
        self.last_item = "root"
        self.refused: set[str] = set()
        self.displaced = False  # an item was refused, and so was what followed it
        self.stale: set[str] = set()  # items it has as they were before they were truncated
        self.replayed: list[str] = []
        self.lost: list[Lost] = []
        self.dropped: tuple[str, ...] = ()
        self.renamed: dict[str, str] = {}  # call ids that were too long, and what they are called here

    def due_at(self, heartbeat: float) -> float:
        """When it must be looked at."""
        if self.stage is Stage.CONFIGURING:
            return min(self.confirm_by, self.limit_at)
        if self.draining or self.stage is not Stage.SYNCED:
            return self.limit_at
        return (max(self.heard_at, self.excused_at) if self.pinged_at is None else self.pinged_at) + heartbeat

    def note_alive(self, now: float) -> None:
        """Something came."""
        self.heard_at, self.pinged_at = now, None

    def excuse(self, now: float) -> None:
        """Nothing came, and the other side is not to blame."""
        self.excused_at, self.pinged_at = now, None

    def learn(self, session: Json) -> None:
        """Note the options it has now. The long ones, instructions and tools, nobody asks for again."""
        self.session = {name: session[name] for name in ASKED_FOR if name in session}
        self.hears = audio_of(session, "input")
        self.input_rate, self.output_rate = rate_of(self.hears), rate_of(audio_of(session, "output"))

    @property
    def detects_turns(self) -> bool:
        """Whether the server decides when the user's turn is over."""
        return self.hears.get("turn_detection") is not None

    @property
    def answers_by_itself(self) -> bool:
        """Whether a turn that the server found is answered without being asked; a transcription session's never is."""
        detection = self.hears.get("turn_detection") if self.session.get("type") != "transcription" else None
        return detection is not None and detection.get("create_response", True) is not False

    @property
    def transcribes(self) -> bool:
        """Whether what the user says is written down."""
        return self.hears.get("transcription") is not None


ASKED_FOR = ("type", "audio", *(name for flat in FLAT.values() for name in flat.values()))
"""The options of a session that tell how it hears and speaks, the preview's among them."""
