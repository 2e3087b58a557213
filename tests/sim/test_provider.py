"""The simulated provider behind the real key service."""

from __future__ import annotations

import asyncio

import pytest

from voicepilot import errors
from voicepilot.credentials import ApiKey, EphemeralKeyService, OpenAIProfile
from voicepilot.ports import KeyRequest
from voicepilot.sim import Latency, Spell, Trouble
from voicepilot.sim.provider import Asked, SimulatedProvider
from voicepilot.testing import VirtualClock
from voicepilot.testing.virtual import EPOCH

SOON = Latency(((0, 0.1), (1, 0.1)))


class Line:
    """A key service on a provider with these spells."""

    def __init__(self, *spells: Spell) -> None:
        self.clock = VirtualClock()
        self.provider = SimulatedProvider(spells, SOON, 1, self.clock)
        self.asked: list[Asked] = []
        self.provider.heard = self.asked.append
        self.service = EphemeralKeyService(
            OpenAIProfile(base_url="https://simulated.example/v1"),
            credential=ApiKey("sk-1"),
            clock=self.clock,
            transport=lambda: self.provider,
        )

    async def key(self, who: str = "s") -> tuple[str, float]:
        await self.service.initialize()
        request = KeyRequest(session_id=who, session={"instructions": who})
        key = await self.service.request_ephemeral_key(request)
        return key.reveal(), key.expires_in


def now(trouble: Trouble, **more: float) -> Spell:
    return Spell(trouble=trouble, begins=0, ends=60, **more)


async def test_a_key_is_good_for_as_long_as_the_provider_knows() -> None:
    line = Line()
    value, expires_in = await line.key()
    truth = line.provider.keys[value]
    assert truth.caller == "s"
    believed = line.clock.now() - EPOCH + expires_in
    assert truth.valid_until - 1 <= believed <= truth.valid_until + 0.02
    assert [(asked.caller, asked.number, asked.outcome) for asked in line.asked] == [("s", 1, "key")]


@pytest.mark.parametrize(
    ("spell", "error"),
    [
        (now(Trouble.OUTAGE), errors.NetworkError),
        (now(Trouble.ERRORS), errors.ProviderUnavailableError),
        (now(Trouble.RATE_LIMIT, retry_after=7.0), errors.RateLimitError),
        (now(Trouble.HANG), errors.KeyTimeoutError),
        (now(Trouble.REFUSED), errors.AuthenticationError),
        (now(Trouble.GARBLED), errors.BadReplyError),
    ],
)
async def test_a_trouble_is_what_it_is_on_the_wire(spell: Spell, error: type[errors.KeyServiceError]) -> None:
    line = Line(spell)
    with pytest.raises(error) as caught:
        await line.key()
    assert caught.value.retry_after == spell.retry_after
    await asyncio.sleep(60)
    await line.key()  # and then it is over


async def test_a_late_answer_comes_whoever_cancels_it() -> None:
    line = Line(now(Trouble.LATE))
    began = asyncio.get_running_loop().time()
    value, _ = await line.key()
    assert asyncio.get_running_loop().time() - began > 12
    assert value in line.provider.keys


async def test_a_repeated_key_has_the_life_that_is_left() -> None:
    line = Line(Spell(trouble=Trouble.REPEAT, begins=100, ends=200))
    first, _ = await line.key()
    await asyncio.sleep(150)
    again, expires_in = await line.key()
    assert again == first
    assert 448 <= expires_in <= 451


async def test_a_wrong_clock_that_is_told_does_no_harm() -> None:
    for ahead in (-300.0, 300.0):
        _, expires_in = await Line(now(Trouble.SKEW, factor=ahead)).key()
        assert 598 <= expires_in <= 600


async def test_keys_can_be_short_and_answers_slow() -> None:
    line = Line(now(Trouble.SHORT_KEYS, factor=20.0), now(Trouble.SLOW, factor=10.0))
    _, expires_in = await line.key()
    assert 18 <= expires_in <= 20
    assert asyncio.get_running_loop().time() >= 1.0


async def test_a_rate_limit_can_serve_some() -> None:
    line = Line(now(Trouble.RATE_LIMIT, per_second=2.0, retry_after=1.0))
    asked = await asyncio.gather(*(line.key(f"s{number}") for number in range(5)), return_exceptions=True)
    assert sum(isinstance(each, tuple) for each in asked) == 2
    await asyncio.sleep(1.0)
    await line.key("late")


async def test_a_share_of_the_requests_is_hit_whatever_their_order() -> None:
    spell = now(Trouble.ERRORS, share=0.5)
    outcomes = []
    for order in (range(100), reversed(range(100))):
        line = Line(spell)
        await asyncio.gather(*(line.key(f"s{number}") for number in order), return_exceptions=True)
        outcomes.append({asked.caller: asked.outcome for asked in line.asked})
    assert outcomes[0] == outcomes[1]
    assert 30 <= list(outcomes[0].values()).count("key") <= 70
