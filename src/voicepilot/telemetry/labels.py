"""Labels given at start, made fit for telemetry: without secrets, short, and for metrics of bounded number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from voicepilot.telemetry.redact import Redactor

LONGEST = 100
"""Characters of a label's value that are shown."""

OTHER = "other"
"""What a metric says for a value beyond the bound."""


def shown_labels(labels: Mapping[str, str], redactor: Redactor) -> dict[str, str]:
    """The labels as logs and spans show them."""
    clean = redactor(None, "", dict(labels))
    return {name[:LONGEST]: str(value)[:LONGEST] for name, value in clean.items()}


class Bounded:
    """Lets the first `limit` values it meets through and calls the rest `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """`value`, or `other`."""
        if value not in self._seen:
            if len(self._seen) >= self._limit:
                return OTHER
            self._seen.add(value)
        return value


class MetricLabels:
    """The labels that metrics may carry: only those allowed, each with a bounded number of values.

    A metric makes a time series for each combination, so a session id or a user's name must never get in.
    """

    def __init__(self, allowed: Iterable[str], limit: int, redactor: Redactor) -> None:
        self._bounds = {name: Bounded(limit) for name in allowed}
        self._redactor = redactor

    def of(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The attributes for a session's metrics."""
        given = {name: labels[name] for name in self._bounds if name in labels}
        return {
            f"label.{name}": self._bounds[name](value) for name, value in shown_labels(given, self._redactor).items()
        }
