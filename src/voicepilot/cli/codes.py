"""Exit codes."""

from __future__ import annotations

FAILED = 1
USAGE = 2  # what was asked for cannot be done: an option, a setting, a missing key
INTERRUPTED = 128 + 2  # by Ctrl-C; in general 128 + the signal
PIPE_CLOSED = 128 + 13  # nobody reads what we write, as SIGPIPE would have it
