from __future__ import annotations

import traceback

from voicepilot import Fault, SessionLimitError, SessionStartError


def test_a_traceback_ends_with_what_to_do() -> None:
    fault = Fault(code="NETWORK_ERROR", message="no route", remediation="Check the network.", retryable=True)
    for error in (SessionLimitError("3 are live"), SessionStartError(fault)):
        assert traceback.format_exception_only(error)[-1].strip() == error.remediation
