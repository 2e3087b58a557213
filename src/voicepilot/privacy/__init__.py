"""Privacy: who holds which session's data, how long it may stay, and how it is redacted. See docs/privacy.md."""

from voicepilot.ports import Turn
from voicepilot.privacy.controller import PrivacyController
from voicepilot.privacy.handles import Registration
from voicepilot.privacy.ledger import Held, Holder
from voicepilot.privacy.redact import Found, Redaction, RedactionRule, Redactor, check_rules
from voicepilot.privacy.retention import PolicyInForce, RetentionPolicy
from voicepilot.privacy.transcripts import TranscriptStore
from voicepilot.privacy.words import EVERY_SESSION, DataClass, PurgeReason, PurgeTarget
from voicepilot.subscription import Subscription

__all__ = [
    "EVERY_SESSION",
    "DataClass",
    "Found",
    "Held",
    "Holder",
    "PolicyInForce",
    "PrivacyController",
    "PurgeReason",
    "PurgeTarget",
    "Redaction",
    "RedactionRule",
    "Redactor",
    "Registration",
    "RetentionPolicy",
    "Subscription",
    "TranscriptStore",
    "Turn",
    "check_rules",
]
