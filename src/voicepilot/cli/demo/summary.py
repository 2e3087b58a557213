"""The closing summary: counted figures, then every promise with what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from voicepilot.cli.demo.history import Figures
from voicepilot.cli.demo.promises import Promise
from voicepilot.cli.screen import Line


def summary_lines(
    counted: Figures, promises: Sequence[Promise], *, took: float, finished: bool, limit: float
) -> Iterator[Line]:
    """Every line of the summary."""
    yield Line(f"Counted by the demo itself, in {took:.0f} s", "chapter")
    for name, value in _figures(counted):
        yield Line(f"  {name:<27}  {value}")
    yield Line("")
    yield Line("Promises", "chapter")
    width = max((len(promise.text) for promise in promises), default=0)
    for promise in promises:
        yield Line(
            f"  {'kept  ' if promise.kept else 'BROKEN'}  {promise.text:<{width}}  {promise.detail}",
            "good" if promise.kept else "bad",
        )
        for broken in promise.broken:
            yield Line(f"          {broken}", "bad")
    yield Line("")
    yield _verdict(promises, finished=finished, limit=limit)


def _figures(counted: Figures) -> list[tuple[str, str]]:
    latency = f"{counted.mean_latency:.2f} s ({counted.undisturbed_latency:.2f} s where nothing was in the way)"
    renewals = f"{counted.automatic} by themselves, {counted.by_hand} by hand, {counted.for_connections} to connect"
    sockets = "not counted on this system" if counted.sockets_left is None else str(counted.sockets_left)
    return [
        ("sessions", str(counted.sessions)),
        ("renewals", f"{counted.renewals} ({renewals})"),
        ("retries", f"{counted.retries} key requests were refused and made again"),
        ("mean renewal latency", latency),
        ("seconds without a valid key", f"{counted.without_key:.1f}"),
        ("conversation turns", str(counted.turns)),
        ("tasks left", str(counted.tasks_left)),
        ("sockets left", sockets),
    ]


def _verdict(promises: Sequence[Promise], *, finished: bool, limit: float) -> Line:
    broken = sum(not promise.kept for promise in promises)
    if not finished:
        return Line(f"The story did not come to its end within {limit:g} s.", "bad")
    if broken:
        return Line(f"{broken} of {len(promises)} promises were broken.", "bad")
    return Line(f"All {len(promises)} promises were kept.", "good")
