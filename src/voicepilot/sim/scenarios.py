"""The scenarios by name: what the people do, what goes wrong, and how the manager is set up, as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import msgspec

from voicepilot.errors import ConfigurationError
from voicepilot.sim.faults import Episodes, Latency, Manners, Trouble

MINUTE, HOUR = 60.0, 3_600.0


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What callers do. Times in seconds; shares are of the moments at which somebody does something."""

    arrive: tuple[float, float] = (0, 600)  # when the first call of each begins
    call: tuple[float, float] = (20 * MINUTE, 100 * MINUTE)  # how long a call lasts
    away: tuple[float, float] = (5, 60)  # until the next
    speak: tuple[float, float] = (30, 240)  # between two moments
    silent: float = 0.005  # says nothing any more, so that inactivity ends the session
    pause: float = 0.005  # pauses for a while
    paused: tuple[float, float] = (60, 900)
    renew: float = 0.002  # asks for a key by hand
    reconfigure: float = 0.002  # changes margin, heartbeat or inactivity
    report: float = 0.01  # a transport reports how the connection is
    reject: float = 0.0  # a transport says that the provider refused the key


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of day."""

    name: str
    description: str
    troubles: tuple[Episodes, ...] = ()
    latency: Latency = Latency()
    habits: Habits = Habits()
    hooks: Manners | None = None  # None: the application has none
    handlers: Manners | None = None
    purger: Manners = Manners()
    plan: Manners | None = None  # a step of a recovery plan
    config: Mapping[str, float] = {}  # session options that belong to the story
    concurrent_mints: int | None = None  # None: as set


_OUTAGE, _ERRORS, _LIMIT, _HANG = Trouble.OUTAGE, Trouble.ERRORS, Trouble.RATE_LIMIT, Trouble.HANG

_SCENARIOS = (
    Scenario(
        name="calm-day",
        description="Nothing is wrong at the provider; people come, talk, fall silent, pause, and go.",
    ),
    Scenario(
        name="provider-bad-day",
        description="Errors, rate limits, slow hours, hangs, nonsense, a few 401, short outages and a long one.",
        troubles=(
            Episodes(trouble=_ERRORS, every=(10 * MINUTE, 50 * MINUTE), lasts=(5, 90), share=(0.2, 0.9)),
            Episodes(trouble=Trouble.SLOW, every=(30 * MINUTE, 3 * HOUR), lasts=(60, 600), factor=(3, 12)),
            Episodes(trouble=_LIMIT, every=(30 * MINUTE, 2 * HOUR), lasts=(5, 120), retry_after=(1, 20)),
            Episodes(trouble=_OUTAGE, every=(20 * MINUTE, 2 * HOUR), lasts=(1, 45)),
            Episodes(trouble=_OUTAGE, first=(30 * MINUTE, 3 * HOUR), every=(HOUR, HOUR), lasts=(120, 480), at_most=1),
            Episodes(trouble=_HANG, every=(40 * MINUTE, 3 * HOUR), lasts=(3, 40), share=(0.3, 1)),
            Episodes(trouble=Trouble.GARBLED, every=(HOUR, 4 * HOUR), lasts=(5, 60), share=(0.2, 0.6)),
            Episodes(trouble=Trouble.REFUSED, every=(2 * HOUR, 6 * HOUR), lasts=(2, 15), share=(0.1, 0.5)),
        ),
    ),
    Scenario(
        name="short-outages",
        description="Outages and errors (500, 503) of up to 4.8 s, over before the margin is: nobody may notice.",
        troubles=(
            Episodes(trouble=_OUTAGE, every=(3 * MINUTE, 9 * MINUTE), lasts=(0.5, 4.8)),
            Episodes(trouble=_ERRORS, every=(5 * MINUTE, 20 * MINUTE), lasts=(0.5, 4.8)),
        ),
    ),
    Scenario(
        name="wide-margin",
        description="Renewals begin a minute before the key lapses, and outages last 25 to 50 s: nobody may notice.",
        troubles=(Episodes(trouble=_OUTAGE, every=(4 * MINUTE, 10 * MINUTE), lasts=(25, 50.4)),),
        habits=Habits(reconfigure=0),
        config={"renewal_margin_seconds": 60.0},
    ),
    Scenario(
        name="rate-limit-storm",
        description="For minutes at a time the provider serves one request in two seconds, or none, and answers 429.",
        troubles=(
            Episodes(
                trouble=_LIMIT,
                first=(5 * MINUTE, 15 * MINUTE),
                every=(20 * MINUTE, 60 * MINUTE),
                lasts=(3 * MINUTE, 12 * MINUTE),
                retry_after=(2, 30),
            ),
            Episodes(
                trouble=_LIMIT,
                every=(30 * MINUTE, 90 * MINUTE),
                lasts=(2 * MINUTE, 10 * MINUTE),
                retry_after=(1, 5),
                per_second=0.5,
            ),
        ),
    ),
    Scenario(
        name="long-outage",
        description="The provider is gone for 5 to 40 minutes, twice: every key lapses, and everybody must come back.",
        troubles=(
            Episodes(
                trouble=_OUTAGE,
                first=(10 * MINUTE, 30 * MINUTE),
                every=(HOUR, 2 * HOUR),
                lasts=(5 * MINUTE, 40 * MINUTE),
                at_most=2,
            ),
        ),
    ),
    Scenario(
        name="laptop-lids",
        description="The machine sleeps again and again, for seconds or for hours, also in the middle of a renewal.",
        troubles=(
            Episodes(trouble=Trouble.SUSPEND, every=(60, 15 * MINUTE), lasts=(1, 20)),
            Episodes(trouble=Trouble.SUSPEND, every=(15 * MINUTE, HOUR), lasts=(30, 20 * MINUTE)),
            Episodes(trouble=Trouble.SUSPEND, every=(2 * HOUR, 4 * HOUR), lasts=(HOUR, 2 * HOUR)),
            Episodes(trouble=Trouble.WALL_JUMP, every=(30 * MINUTE, HOUR), lasts=(60, HOUR), factor=(-5, 5)),
        ),
    ),
    Scenario(
        name="herd",
        description="Everybody starts in the same two seconds; the spread must keep them from renewing together.",
        habits=Habits(arrive=(0, 2), call=(24 * HOUR, 24 * HOUR), silent=0, pause=0, renew=0, reconfigure=0, report=0),
        config={"renewal_spread_seconds": 60.0, "start_timeout_seconds": 120.0},
        latency=Latency(((0, 0.05), (0.5, 0.1), (0.99, 0.3), (1, 0.5))),
        concurrent_mints=1_000,
    ),
    Scenario(
        name="hostile-application",
        description="Hooks, handlers, purger and plan are slow, hang, raise, swallow cancellation, and call back.",
        troubles=(
            Episodes(trouble=_ERRORS, every=(5 * MINUTE, 20 * MINUTE), lasts=(5, 60), share=(0.3, 1)),
            Episodes(trouble=Trouble.LATE, every=(10 * MINUTE, 30 * MINUTE), lasts=(5, 60), share=(0.3, 1)),
            Episodes(trouble=Trouble.REPEAT, every=(10 * MINUTE, 40 * MINUTE), lasts=(30, 300), share=(0.2, 0.6)),
        ),
        habits=Habits(
            call=(3 * MINUTE, 40 * MINUTE), pause=0.03, paused=(5, 200), renew=0.04, reconfigure=0.04, reject=0.01
        ),
        config={"max_duration_seconds": 1_800.0},
        hooks=Manners(slow=0.15, hangs=0.06, deaf=0.04, raises=0.1, calls_back=0.05),
        handlers=Manners(slow=0.15, hangs=0.05, deaf=0.03, raises=0.1, calls_back=0.02),
        purger=Manners(slow=0.05, hangs=0.03, raises=0.05),
        plan=Manners(slow=0.3, hangs=0.1, raises=0.2),
    ),
    Scenario(
        name="clock-chaos",
        config={"max_duration_seconds": 3_000.0},
        description="The wall clock jumps by hours, the provider's clock is wrong, the machine sleeps, keys are short.",
        troubles=(
            Episodes(trouble=Trouble.WALL_JUMP, every=(60, 20 * MINUTE), lasts=(30, HOUR), factor=(-7_200, 7_200)),
            Episodes(trouble=Trouble.SKEW, every=(60, 30 * MINUTE), lasts=(60, HOUR), factor=(-300, 300)),
            Episodes(trouble=Trouble.SHORT_KEYS, every=(20 * MINUTE, HOUR), lasts=(60, 900), factor=(12, 120)),
            Episodes(trouble=Trouble.SUSPEND, every=(20 * MINUTE, HOUR), lasts=(1, 300)),
        ),
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _SCENARIOS}


def scenario_named(name: str) -> Scenario:
    """The scenario of that name. Raises `ConfigurationError` that names those there are."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    close = difflib.get_close_matches(name, SCENARIOS, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(SCENARIOS)}"
    raise ConfigurationError(
        f"--scenario {name}: no such scenario; {hint}", field="scenario", remediation="See --list for what each is."
    )
