"""A log in which every error is a surprise, but for those that the application was made to raise."""

from __future__ import annotations

import logging

from voicepilot.sim.application import SimulatedBug
from voicepilot.sim.invariants import Judge

MADE_TO = "tasks refuse to be cancelled"
"""What is logged of those that the scenario made deaf. That no other task is left is looked at in the end."""


class _Surprises(logging.Handler):
    def __init__(self, judge: Judge) -> None:
        super().__init__(logging.ERROR)
        self._judge = judge

    def emit(self, record: logging.LogRecord) -> None:
        """Judge a record."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, SimulatedBug) and not record.msg.startswith(MADE_TO):
            self._judge.must("no-surprise", False, "", f"{record.getMessage()}: {error!r}")


def logger_for(judge: Judge) -> logging.Logger:
    """The logger of one world, which no other world and no application writes to."""
    logger = logging.Logger("voicepilot.sim", logging.ERROR)  # noqa: LOG001 - it must not be found by its name
    logger.addHandler(_Surprises(judge))
    return logger
