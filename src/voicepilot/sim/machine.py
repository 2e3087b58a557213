"""The machine that the manager runs on: it sleeps, and its wall clock jumps, when the spells say so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from voicepilot.sim.accounts import Account
from voicepilot.sim.excuses import Disturbances
from voicepilot.sim.faults import MACHINE, Spell, Trouble
from voicepilot.testing.virtual import EPOCH, VirtualClock


class Machine:
    """Moves the clock of a world."""

    def __init__(self, clock: VirtualClock, wrong: Disturbances, accounts: Mapping[str, Account]) -> None:
        self._clock = clock
        self._wrong = wrong
        self._accounts = accounts

    def begin(self, spells: Iterable[Spell]) -> None:
        """Wait for the spells that befall the machine."""
        for spell in spells:
            if spell.trouble in MACHINE:
                self._wait(spell)

    def _wait(self, spell: Spell) -> None:
        left = spell.begins - (self._clock.now() - EPOCH)
        asyncio.get_running_loop().call_later(max(0.0, left), self._befall, spell)

    def _befall(self, spell: Spell) -> None:
        now = self._clock.now() - EPOCH
        if spell.begins > now + 1e-6:
            self._wait(spell)
        elif spell.trouble is Trouble.SUSPEND:
            self._clock.suspend(spell.ends - spell.begins)
            self._wrong.slept(now, self._clock.now() - EPOCH)
            for account in self._accounts.values():
                account.steady = False
        else:
            self._clock.set_wall(spell.factor)
            asyncio.get_running_loop().call_later(spell.ends - spell.begins, self._clock.set_wall, 0.0)
