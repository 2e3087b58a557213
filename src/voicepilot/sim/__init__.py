"""The simulator: the real manager in virtual time, on days at the provider that are as bad as you like.

See docs/simulator.md.
"""

from voicepilot.sim.faults import Episodes, Latency, Manners, Spell, Trouble
from voicepilot.sim.invariants import INVARIANTS, Broken
from voicepilot.sim.report import Report, report_on
from voicepilot.sim.scenarios import SCENARIOS, Habits, Scenario, scenario_named
from voicepilot.sim.setup import Setup
from voicepilot.sim.world import Outcome, Plan, simulate

__all__ = [
    "INVARIANTS",
    "SCENARIOS",
    "Broken",
    "Episodes",
    "Habits",
    "Latency",
    "Manners",
    "Outcome",
    "Plan",
    "Report",
    "Scenario",
    "Setup",
    "Spell",
    "Trouble",
    "report_on",
    "scenario_named",
    "simulate",
]
