"""What the demo's manager is made of: the real parts, set up for keys that live seconds."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from voicepilot.cli.demo.story import SESSION, TERMS
from voicepilot.config import ConfigurationManager, ProviderSettings, Settings
from voicepilot.credentials import EphemeralKeyService
from voicepilot.emulator import RealtimeEmulator
from voicepilot.ports import Clock, Host, Transcripts
from voicepilot.privacy import PrivacyController
from voicepilot.recovery import BreakerOptions, RecoveryExecutor, RecoveryRegistrar
from voicepilot.runtime.manager import SessionManager

API_KEY = "sk-demo-the-emulator-takes-any"

BREAKER = BreakerOptions(first_break=1.0, growth=1.0, failures_in_a_row=8, minimum_throughput=1_000)
"""A break of seconds would take what is left of a key of 20 s."""


class Parts(NamedTuple):
    """The manager and those of its parts that are watched."""

    manager: SessionManager
    executor: RecoveryExecutor
    controller: PrivacyController


def make_parts(
    emulator: RealtimeEmulator, controller: PrivacyController, transcripts: Transcripts, host: Host, clock: Clock
) -> Parts:
    """Put them together. Not from_settings: somebody's environment and voicepilot.toml have no part in the story."""
    settings = Settings(
        provider=ProviderSettings(base_url=emulator.base_url),
        sessions={"max_concurrent_sessions": TERMS.limit, **SESSION},  # type: ignore[arg-type]  # pydantic converts
    )
    configuration = ConfigurationManager(settings)
    executor = RecoveryExecutor(breaker=BREAKER, clock=clock)
    keys = EphemeralKeyService(settings.provider, credential=API_KEY, clock=clock, recovery_executor=executor)
    manager = SessionManager(
        keys,
        configuration=configuration,
        privacy_controller=controller,
        transcripts=transcripts,
        host=host,
        clock=clock,
        owned=(configuration, keys, executor, controller),
    )
    registrar = RecoveryRegistrar()
    manager.register_recovery_actions(registrar)
    registrar.add_step(TERMS.plan_step, partial(_provider_answers, keys))
    manager.set_recovery_executor(executor, registrar.plan(TERMS.plan_step, fallback=TERMS.fallback))
    return Parts(manager, executor, controller)


async def _provider_answers(keys: EphemeralKeyService, _: str) -> bool:
    """The plan's step: ask whether a key can be had after all; if so, the next round is made at once."""
    return (await keys.test_authentication()).success
