"""Logs, traces and metrics, made from what a manager tells. See docs/observability.md.

Importing this imports structlog and the OpenTelemetry API; `import voicepilot` does not.
"""

from voicepilot.telemetry.instrument import Telemetry, instrument
from voicepilot.telemetry.logs import configure_logging
from voicepilot.telemetry.mints import WatchedKeyService
from voicepilot.telemetry.redact import Redactor

__all__ = ["Redactor", "Telemetry", "WatchedKeyService", "configure_logging", "instrument"]
