"""Writes the tables of docs/recovery.md from the code. `python -m tests.recovery.tables`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from voicepilot.recovery.breaker import RULES
from voicepilot.recovery.breaker_options import BOUNDS, BreakerOptions
from voicepilot.recovery.policy import ENVELOPES, GUARDRAILS, Backoff, RetryPolicy

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def grows(policy: RetryPolicy) -> str:
    """How a policy's waits grow."""
    if policy.backoff is Backoff.LINEAR:
        return f"+{policy.step:g}"
    return f"x{policy.growth:g}" if policy.backoff in {Backoff.EXPONENTIAL, Backoff.HYBRID} else ""


def envelopes() -> list[str]:
    rows = [
        f"| {domain} | {p.backoff} | {p.initial:g} | {grows(p)} | {p.cap:g} | {p.attempts} | {p.budget:g} "
        f"| {p.cool_down:g} | {p.jitter} |"
        for domain, p in ENVELOPES.items()
    ]
    bounds = [f"`{name}` {b.low:g} to {b.high:g} {b.unit}" for name, b in GUARDRAILS.items()]
    head = "| domain | backoff | initial | grows | cap | attempts | budget | cool-down | jitter |"
    return [head, "|---" * 9 + "|", *rows, "", f"Bounds: {', '.join(bounds)}."]


def breaker() -> list[str]:
    defaults = BreakerOptions()
    rows = []
    for field in msgspec.structs.fields(BreakerOptions):
        b = BOUNDS[field.name]
        none = ", or None" if b.optional else ""
        rows.append(f"| `{field.name}` | {getattr(defaults, field.name):g} | {b.low:g} to {b.high:g} {b.unit}{none} |")
    return ["| `BreakerOptions` | default | bounds |", "|---|---|---|", *rows]


def table() -> list[str]:
    rows = []
    for rule in RULES:
        guard = (rule.when.__doc__ or "").rstrip(".") if rule.when else ""
        does = (rule.do.__doc__ or "").splitlines()[0]
        rows.append(f"| {rule.circuit} | {rule.on.__name__} | {guard} | {does} | {rule.to or ''} |")
    return ["| in | when | and if | do | then be |", "|---|---|---|---|---|", *rows]


def generated() -> str:
    return "\n".join([BEGIN, *envelopes(), "", *breaker(), "", *table(), END])


def renewed(page: str) -> str:
    """`page` with its generated part made anew."""
    head, rest = page.split(BEGIN)
    return head + generated() + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
