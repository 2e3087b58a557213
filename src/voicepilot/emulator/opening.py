"""Making the conversation of a new socket or call, with the faults that will befall it."""

from __future__ import annotations

from voicepilot.emulator.checks import Json
from voicepilot.emulator.conversation import Conversation
from voicepilot.emulator.http import Request
from voicepilot.emulator.options import Backend
from voicepilot.emulator.preview import PreviewConversation


def opened(backend: Backend, request: Request, session: Json, now: float, *, call: bool = False) -> Conversation:
    """A conversation in the protocol its request asks for."""
    protocol = PreviewConversation if request.preview else Conversation
    conversation = protocol(
        session,
        backend.options.answering.begin(),
        terms=backend.options.terms(azure=request.provider == "azure", call=call),
        ids=backend.ids,
        faults=backend.faults,
        now=now,
    )
    for fault in backend.faults.take_each("session"):
        conversation.strike(fault, now + fault.after / backend.options.time_scale)
    return conversation
