"""What a conversation survives, what it does not, and how it ends, by the clock of a virtual day."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.conversation.numbered import frames
from tests.conversation.world import BY_HAND, TEXT, Talk, a_manager, a_talk, leftovers

from voicepilot import (
    ConversationClosedError,
    ConversationConfig,
    ConversationLifecycleHooks,
    ConversationLostError,
    KeyServiceError,
    SessionConfig,
    SessionError,
)
from voicepilot.conversation.happenings import ConversationEnded, ConversationRestored, Reconnecting
from voicepilot.conversation.state import Phase
from voicepilot.errors import Fault, FaultDomain
from voicepilot.testing import EmulatedLine, FakeKeyService, VirtualClock

FORBIDDEN = Fault(code="X", message="no", remediation="", retryable=False, domain=FaultDomain.TRANSPORT, status=403)


async def still_talks(talk: Talk) -> None:
    """Somebody says something, and is answered; what was said before is known."""
    words = f"after{len(talk.of('response.done'))}"
    await talk.conversation.say(words)
    await talk.until(lambda: f"re {words}" in talk.answered(), limit=60)


class TestOutages:
    async def test_five_minutes_are_survived(self) -> None:
        async with a_talk() as talk:
            await still_talks(talk)
            talk.line.outage(299.9)
            await asyncio.sleep(100)
            await talk.conversation.say("meanwhile")
            await asyncio.sleep(210)
            assert talk.user_words() == ["after0", "meanwhile"]
            await still_talks(talk)
            (restored,) = talk.of("voicepilot.restored")
            assert isinstance(restored, ConversationRestored)
            assert 299.9 <= restored.outage <= 301
            assert restored.attempts > 10
            assert talk.types().count("voicepilot.reconnecting") == 1
            assert talk.errors() == []

    async def test_a_second_more_is_not(self) -> None:
        async with a_talk() as talk:
            talk.line.outage(320)
            began = talk.clock.now()
            await asyncio.sleep(299)
            assert talk.of("voicepilot.ended") == []
            await asyncio.sleep(2)
            assert isinstance(talk.lost, ConversationLostError)
            assert talk.lost.fault.code == "CONVERSATION_LOST"
            assert talk.lost.fault.cause == "CONNECTION_REFUSED"
            ended = talk.stream[-1][1]
            assert isinstance(ended, ConversationEnded)
            assert ended.reason == "connection-lost"
            assert 300 <= ended.at - began <= 301
            with pytest.raises(ConversationLostError):
                await talk.conversation.say("too late")
            with pytest.raises(ConversationLostError):
                await talk.conversation.recv()

    async def test_dials_are_few_in_a_long_outage(self) -> None:
        async with a_talk() as talk:
            talk.line.outage(290)
            await asyncio.sleep(290)
            assert 35 <= len(talk.line.record.refusals()) <= 60
            await talk.hear_out()
            await still_talks(talk)

    async def test_retry_after_is_kept(self) -> None:
        async with a_talk() as talk:
            talk.line.faults.add("connect:429:retry_after=30")
            talk.line.cut()
            await talk.hear_out()
            assert talk.conversation.phase is Phase.WAITING
            await asyncio.sleep(15)
            assert len(talk.line.record.connections()) == 2
            assert len(talk.line.record.refusals()) == 1
            await still_talks(talk)

    async def test_a_fault_that_cannot_be_cured_ends_it_at_once(self) -> None:
        async with a_talk() as talk:
            talk.line.refuse(FORBIDDEN)
            talk.line.cut()
            await asyncio.sleep(1)
            assert isinstance(talk.lost, ConversationLostError)
            assert talk.lost.fault is FORBIDDEN

    async def test_a_refused_key_is_replaced_and_not_sent_again(self) -> None:
        async with a_talk() as talk:
            talk.line.faults.refuse_connections(401, 3)
            talk.line.cut()
            await talk.hear_out()
            await still_talks(talk)
            refused = [entry.credential for entry in talk.line.record.refusals()]
            opened = [entry.opened.credential for entry in talk.line.record.connections()]
            assert len({*refused, *opened}) == 5, "no key was dialled with twice"

    async def test_keys_that_expired_during_the_outage_are_renewed(self) -> None:
        async with a_talk(keys=FakeKeyService(key_life=60)) as talk:
            talk.line.outage(200)
            await asyncio.sleep(220)
            await still_talks(talk)

    async def test_an_outage_of_the_key_service_is_an_outage(self) -> None:
        async with a_talk() as talk:
            talk.keys.fail(KeyServiceError("busy", code="MINT_503", retryable=True), 3)
            talk.line.cut()
            await asyncio.sleep(60)
            await still_talks(talk)
            assert talk.types().count("voicepilot.reconnecting") == 1


class TestSilence:
    async def test_a_frozen_server_is_noticed_within_ten_seconds(self) -> None:
        async with a_talk() as talk:
            await still_talks(talk)
            await asyncio.sleep(7.3)
            talk.line.freeze()
            frozen = talk.clock.now()
            await talk.conversation.say("are you there")
            await talk.until(lambda: bool(talk.of("voicepilot.restored")))
            fell = next(at for at, event in talk.stream if isinstance(event, Reconnecting))
            assert 4.5 <= fell - frozen <= 10
            await talk.hear_out()
            assert talk.answered()[-1] == "re are you there"
            assert talk.errors() == []

    @pytest.mark.parametrize("heartbeat", [0.5, 20.0])
    async def test_as_soon_as_the_heartbeat_says(self, heartbeat: float) -> None:
        async with a_talk(config={"heartbeat_seconds": heartbeat}) as talk:
            await asyncio.sleep(50)
            talk.line.freeze()
            frozen = talk.clock.now()
            await talk.until(lambda: bool(talk.of("voicepilot.reconnecting")))
            assert heartbeat <= talk.clock.now() - frozen <= 2 * heartbeat + 0.1

    async def test_an_hour_of_silence_is_no_alarm(self) -> None:
        async with a_talk(session_life=7_200.0) as talk:
            await asyncio.sleep(3_600)
            assert talk.happenings() == []
            assert len(talk.line.record.connections()) == 1

    async def test_nor_is_a_slow_line(self) -> None:
        async with a_talk(latency=1.9, spread=0.2) as talk:
            await asyncio.sleep(600)
            await still_talks(talk)
            assert talk.types().count("voicepilot.reconnecting") == 0

    async def test_nor_is_a_reader_who_does_not_read(self) -> None:
        async with a_talk(config={"max_event_backlog": 20}, read=False) as talk:
            await talk.conversation.say(" ".join(["words"] * 500))
            await asyncio.sleep(600)
            assert talk.conversation.phase is Phase.LIVE
            assert len(talk.line.record.connections()) == 1
            reader = asyncio.create_task(talk.read())
            await asyncio.sleep(5)
            assert talk.answered() == ["re " + " ".join(["words"] * 500)]
            assert "voicepilot.reconnecting" not in talk.types()
            await talk.conversation.close()
            await reader

    async def test_a_server_that_freezes_while_the_next_connection_is_dialled(self) -> None:
        async with a_talk(session_life=100.0) as talk:
            talk.line.faults.add("connect:slow:seconds=3")
            await talk.until(lambda: talk.conversation.phase is Phase.PREPARING)
            talk.line.freeze()
            await talk.until(lambda: talk.conversation.connections == 2)
            await still_talks(talk)

    async def test_a_frozen_standby_costs_nothing(self) -> None:
        async with a_talk(session_life=100.0) as talk:
            talk.line.faults.add("session:freeze:after_events=1:count=2")
            await talk.until(lambda: talk.conversation.phase is Phase.PREPARING)
            await still_talks(talk)
            await talk.until(lambda: talk.conversation.connections == 2)
            assert "voicepilot.reconnecting" not in talk.types()


class TestSleep:
    @pytest.mark.parametrize("seconds", [8.0, 60.0, 1_800.0, 40_000.0])
    async def test_a_machine_that_slept_finds_its_conversation_again(self, seconds: float) -> None:
        clock = VirtualClock()
        async with a_talk(clock=clock, keys=FakeKeyService(key_life=120)) as talk:
            await still_talks(talk)
            clock.suspend(seconds)
            if seconds > 60:
                talk.line.cut()  # the provider has given up meanwhile
            await asyncio.sleep(30)
            await still_talks(talk)
            assert talk.errors() == []

    async def test_a_short_sleep_is_no_fall(self) -> None:
        async with a_talk() as talk:
            talk.clock.suspend(300)
            await asyncio.sleep(30)
            assert talk.happenings() == []


class TestEnds:
    async def test_the_end_of_the_session_is_the_end_of_the_stream(self) -> None:
        async with a_talk() as talk:
            await talk.manager.end_session(talk.session_id)
            await asyncio.sleep(1)
            assert isinstance(talk.stream[-1][1], ConversationEnded)
            assert talk.lost is None
            with pytest.raises(ConversationClosedError):
                await talk.conversation.say("too late")

    async def test_a_limit_of_the_session_ends_it(self) -> None:
        clock = VirtualClock()
        line = EmulatedLine(clock=clock)
        async with a_manager(line, FakeKeyService(), clock) as talk:
            session = await talk.manager.start_session(SessionConfig(max_duration_seconds=60))
            async with talk.manager.connect(session.session_id, url=line.url, **TEXT) as conversation:
                talk.conversation = conversation
                await asyncio.wait_for(talk.read(), 100)
            assert talk.stream[-1][1].reason == "limit-reached"
            assert talk.clock.now() - talk.stream[0][0] < 61

    @pytest.mark.parametrize("how", ["end_session", "dispose", "close"])
    @pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.NEW, Phase.OVER}])
    async def test_it_ends_in_any_phase(self, phase: Phase, how: str) -> None:
        clock = VirtualClock()
        line = EmulatedLine(clock=clock, latency=0.05, session_life=100.0)
        async with a_manager(line, FakeKeyService(), clock) as talk:
            hooks = ConversationLifecycleHooks(on_session_suspending=lambda *_: asyncio.sleep(0.5))
            talk.manager.register_conversation_hooks(hooks)
            conversation = talk.conversation = talk.manager.connect(talk.session_id, url=line.url, **BY_HAND)
            opening = asyncio.ensure_future(conversation.__aenter__())
            reader = None
            if phase is not Phase.CONNECTING:
                await opening
                reader = asyncio.create_task(talk.read())
                await lead_to(talk, phase)
            else:
                await asyncio.sleep(0.01)
            assert conversation.phase is phase
            began = clock.now()
            match how:
                case "end_session":
                    await talk.manager.end_session(talk.session_id)
                case "dispose":
                    await talk.manager.dispose()
                case _:
                    await conversation.close()
            assert clock.now() - began <= 3
            assert conversation.phase is Phase.OVER
            if reader is not None:
                await asyncio.wait_for(reader, 1)
                assert isinstance(talk.stream[-1][1], ConversationEnded)
            else:
                with pytest.raises(SessionError):
                    await asyncio.wait_for(opening, 1)
            await conversation.close()

    async def test_a_session_has_one_conversation_at_a_time(self) -> None:
        async with a_talk() as talk:
            with pytest.raises(SessionError, match="has a conversation already"):
                async with talk.manager.connect(talk.session_id, url=talk.line.url):
                    raise AssertionError
            await still_talks(talk)
            await talk.conversation.close()
            async with talk.manager.connect(talk.session_id, url=talk.line.url, **TEXT) as another:
                await another.say("hello")

    async def test_options_that_the_provider_refuses_are_told_to_the_caller(self) -> None:
        clock = VirtualClock()
        line = EmulatedLine(clock=clock)
        async with a_manager(line, FakeKeyService(), clock) as talk:
            with pytest.raises(ConversationLostError) as caught:
                async with talk.manager.connect(talk.session_id, url=line.url, output_modalities=["smell"]):
                    raise AssertionError
            assert caught.value.fault.code == "SESSION_OPTIONS_REFUSED"
            assert caught.value.fault.retryable is False

    async def test_a_first_connection_that_cannot_be_had_is_given_up(self) -> None:
        clock = VirtualClock()
        line = EmulatedLine(clock=clock)
        line.outage(1_000)
        async with a_manager(line, FakeKeyService(), clock) as talk:
            began = clock.now()
            with pytest.raises(ConversationLostError) as caught:
                async with talk.manager.connect(talk.session_id, url=line.url):
                    raise AssertionError
            assert 29 <= clock.now() - began <= 31
            assert caught.value.fault.code == "CONNECTION_TIMEOUT"


async def lead_to(talk: Talk, phase: Phase) -> None:
    """Let the conversation come into that phase and stay there a moment."""
    match phase:
        case Phase.WAITING:
            talk.line.outage(50)
            await asyncio.sleep(20)
        case Phase.PREPARING:
            await talk.speak(frames(0, 2), pace=0)
            await talk.conversation.send({"type": "session.update", "session": {"type": "realtime"}})
            talk.line.faults.add("connect:slow:seconds=5")
        case Phase.SETTLING:
            await talk.speak(frames(0, 5), pace=0)
    await talk.until(lambda: talk.conversation.phase is phase)


class TestHooks:
    @pytest.mark.parametrize("bad", ["raises", "hangs", "is slow"])
    async def test_no_hook_can_hold_up_a_conversation(self, bad: str) -> None:
        async def hook(*_: Any) -> None:
            if bad == "raises":
                raise ValueError("mine")
            await asyncio.sleep(1_000 if bad == "hangs" else 3)

        async with a_talk(session_life=60.0) as talk:
            talk.manager.register_conversation_hooks(
                ConversationLifecycleHooks(on_session_suspending=hook, on_session_resumed=hook)
            )
            await talk.until(lambda: talk.conversation.connections == 2, limit=60)
            await still_talks(talk)
            talk.line.cut()
            await talk.hear_out()
            await still_talks(talk)

    async def test_each_move_is_told_once(self) -> None:
        told: list[str] = []

        async with a_talk(session_life=600.0) as talk:
            hooks = ConversationLifecycleHooks(
                on_session_suspending=lambda _, reason: told.append(reason),
            )
            talk.manager.register_conversation_hooks(hooks)
            await asyncio.sleep(550)
            assert told == ["handover"]
            talk.line.cut()
            await talk.hear_out()
            assert told == ["handover", "reconnect"]


class TestConfiguration:
    async def test_a_server_that_never_confirms_the_options_is_believed_to_have_them(self) -> None:
        async with a_talk() as talk:
            talk.line.faults.add("update:missing")
            await still_talks(talk)
            talk.line.cut()
            await talk.until(lambda: bool(talk.of("voicepilot.restored")))
            (restored,) = talk.of("voicepilot.restored")
            assert restored.restored.configured is False
            await still_talks(talk)

    async def test_changed_options_outlive_the_connection(self) -> None:
        async with a_talk({"instructions": "be nice", **TEXT}) as talk:
            await talk.conversation.update(instructions="be curt")
            await asyncio.sleep(1)
            talk.line.cut()
            await talk.hear_out()
            assert talk.line.conversation().session["instructions"] == "be curt"
            assert talk.line.conversation().session["output_modalities"] == ["text"]

    async def test_nothing_is_left_when_opening_is_given_up(self) -> None:
        clock = VirtualClock()
        line = EmulatedLine(clock=clock)
        line.faults.add("connect:hang")
        async with a_manager(line, FakeKeyService(), clock) as talk:
            config = ConversationConfig(open_timeout_seconds=5, restore_timeout_seconds=2)
            with pytest.raises(TimeoutError):
                async with (
                    asyncio.timeout(1),
                    talk.manager.connect(talk.session_id, url=line.url, config=config),
                ):
                    raise AssertionError
            await asyncio.sleep(3)
            assert [name for name in leftovers() if "connection" in name] == []
