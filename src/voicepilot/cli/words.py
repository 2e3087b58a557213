"""What happens to a conversation, in words for people."""

from __future__ import annotations

from voicepilot.conversation.happenings import (
    ConversationEnded,
    ConversationRestored,
    Handover,
    Happening,
    InputDropped,
    LimitWarning,
    Reconnecting,
    Restored,
    TurnInterrupted,
)


def told(event: Happening) -> str:  # noqa: PLR0911 - one case for each
    """One line; empty where there is nothing to tell."""
    match event:
        case Handover():
            how = "in the middle of an answer" if event.forced else "while nobody spoke"
            before = "before the provider cuts the old one"
            return f"moved to connection {event.connection} {how}, {before}{_held(event.restored)}"
        case Reconnecting():
            return f"the connection fell ({event.fault.message}); calling again"
        case ConversationRestored():
            return f"back on connection {event.connection} after {event.outage:.2f} s{_held(event.restored)}"
        case TurnInterrupted(action="retry"):
            return "the answer was cut; it is asked for again"
        case TurnInterrupted(action="report"):
            return "the answer was cut; what was said of it stays"
        case InputDropped():
            return f"{event.end - event.start:.1f} s of audio had no room and are lost"
        case LimitWarning():
            return f"{event.limit}: {event.used:g} of {event.allowed:g} used; the session ends there"
        case ConversationEnded(reason=reason) if reason != "closed":
            return f"the conversation is over: {reason}"
    return ""


def _held(restored: Restored) -> str:
    items = len(restored.replayed)
    said = f"; {items} {'item' if items == 1 else 'items'} said again"
    if restored.lost:
        said += f", {len(restored.lost)} could not be"
    if restored.dropped:
        said += f", {len(restored.dropped)} were too old"
    return said
