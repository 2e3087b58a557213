"""What a sceptical reader of the code tried, and found: each test was a defect once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from tests.conversation.core import LATER, LISTENING, Core, typed
from tests.conversation.numbered import FRAME, frames, silence
from tests.conversation.world import BY_HAND, TEXT, VAD_UNWRITTEN, Talk, a_manager, a_talk, leftovers

from voicepilot import ConversationLifecycleHooks
from voicepilot.conversation import effects as fx
from voicepilot.conversation import inputs as happen
from voicepilot.conversation.sockets import WebSocketDialler
from voicepilot.emulator import RealtimeEmulator
from voicepilot.errors import AuthenticationError, ConversationClosedError, ConversationLostError
from voicepilot.testing import EmulatedLine, FakeKeyService, VirtualClock
from voicepilot.testing.wire import ClientEnd

Json = dict[str, Any]
IN_TROUBLE: Json = {"type": "server_error", "code": None, "message": "The server had an error.", "event_id": None}


class TestOpening:
    async def test_a_conversation_that_is_over_cannot_be_opened_again(self) -> None:
        """It waited for ever."""
        clock = VirtualClock()
        line = EmulatedLine(clock=clock)
        async with a_manager(line, FakeKeyService(), clock) as talk:
            conversation = talk.manager.connect(talk.session_id, url=line.url)
            async with conversation:
                pass
            with pytest.raises(ConversationClosedError):
                await conversation.__aenter__()
            async with talk.manager.connect(talk.session_id, url=line.url):
                pass

    async def test_what_is_said_before_it_is_opened_is_refused_and_not_lost(self) -> None:
        clock = VirtualClock()
        line = EmulatedLine(clock=clock)
        async with a_manager(line, FakeKeyService(), clock) as talk:
            conversation = talk.manager.connect(talk.session_id, url=line.url)
            with pytest.raises(ConversationClosedError, match="async with"):
                await conversation.say("hello")
            with pytest.raises(ConversationClosedError, match="async with"):
                await conversation.recv()


async def test_what_waits_is_what_was_said_although_the_application_uses_its_event_again() -> None:
    async with a_talk(BY_HAND) as talk:
        talk.line.outage(3)
        await asyncio.sleep(0.5)
        part = {"type": "input_text", "text": ""}
        for word in ("one", "two", "three"):
            part["text"] = word
            item = {"type": "message", "role": "user", "content": [part]}
            await talk.conversation.send({"type": "conversation.item.create", "item": item})
        await talk.hear_out()
        assert talk.user_words() == ["one", "two", "three"]


async def test_a_session_that_is_ended_while_a_key_is_fetched_is_no_lost_conversation() -> None:
    async def takes_its_time(_: object) -> None:
        await asyncio.sleep(0.5)

    async with a_talk() as talk:
        talk.manager.register_conversation_hooks(ConversationLifecycleHooks(on_session_ending=takes_its_time))
        talk.keys.hang()
        talk.line.cut()
        await asyncio.sleep(1)
        await end(talk)
        await asyncio.sleep(1)
        assert talk.lost is None
        assert [event.reason for event in talk.of("voicepilot.ended")] == ["user-requested"]


async def test_a_session_that_gets_no_keys_any_more_is_a_lost_conversation() -> None:
    async with a_talk() as talk:
        talk.keys.fail(AuthenticationError("no"), 100)
        talk.line.cut()
        await asyncio.sleep(60)
        assert isinstance(talk.lost, ConversationLostError)
        talk.keys.heal()
        await end(talk)


async def end(talk: Talk) -> None:
    await talk.manager.end_session(talk.session_id)
    talk.session_id = (await talk.manager.start_session()).session_id  # for what is asked of it afterwards


class TestAnErrorThatNamesNoEvent:
    """A provider in trouble says that something failed, and not what (openai-realtime-console issues 51, 493)."""

    def test_lets_the_next_answer_be_asked_for(self) -> None:
        core = Core().connect().say("response.create").hear("error", error=IN_TROUBLE)
        assert core.say("response.create").sent() == ["response.create"]

    def test_lets_the_answer_go_that_waits(self) -> None:
        core = Core().connect().say("response.create").say("response.create")
        assert core.hear("error", error=IN_TROUBLE).sent() == ["response.create"]

    def test_is_not_about_what_was_asked_for_while_an_answer_is_under_way(self) -> None:
        core = Core().connect().say("response.create").hear_answer("a", to="created").say("response.create")
        assert core.hear("error", error=IN_TROUBLE).sent() == []

    def test_is_not_that_the_session_expired(self) -> None:
        core = Core().connect().say("response.create")
        core.hear("error", error={**IN_TROUBLE, "type": "invalid_request_error", "code": "session_expired"})
        core.fall().restore()
        assert core.sent() == ["response.create"]


class TestAReaderWhoDoesNotKeepUp:
    async def test_costs_no_audio_when_the_connection_falls(self) -> None:
        """The server may have heard somebody speak: nobody looked."""
        async with a_talk(VAD_UNWRITTEN, read=False, config={"max_event_backlog": 20}) as talk:
            await talk.conversation.say("count " * 30)
            await asyncio.sleep(2)
            await talk.speak(frames(0, round(20 / FRAME)))
            talk.line.cut()
            reader = asyncio.create_task(talk.read())
            await talk.speak(silence(1))
            await talk.hear_out()
            assert talk.spoken_frames() == list(range(round(20 / FRAME)))
            await talk.conversation.close()
            await reader

    async def test_has_so_much_to_catch_up_and_no_more(self) -> None:
        async with a_talk(read=False, config={"max_event_backlog": 20}) as talk:
            for _ in range(10):
                await talk.conversation.say("count " * 30)
            await talk.hear_out()
            assert len(talk.conversation._events) == 20
            reader = asyncio.create_task(talk.read())
            await talk.hear_out()
            assert len(talk.answered()) == 10
            await talk.conversation.close()
            await reader

    async def test_does_not_hold_up_the_next_connection(self) -> None:
        async with a_talk(read=False, config={"max_event_backlog": 20}, session_life=300) as talk:
            await talk.conversation.say("count " * 30)
            await asyncio.sleep(3_000)
            assert talk.dials() < 25  # it was 180: a key each, and a task that waited with it
            assert sum(task.get_name() == "voicepilot-connection" for task in asyncio.all_tasks()) <= 2
            reader = asyncio.create_task(talk.read())
            await talk.hear_out()
            await talk.conversation.say("here")
            await talk.hear_out()
            assert talk.answered()[-1] == "re here"
            await talk.conversation.close()
            await reader

    async def test_does_not_hold_up_the_first_connection(self) -> None:
        clock = VirtualClock()
        began = clock.now()
        async with a_talk(config={"max_event_backlog": 1}, clock=clock):
            assert clock.now() - began < 1


class Narrow:
    """A socket that takes so many characters a second; a ping does not get past what is on its way."""

    def __init__(self, socket: ClientEnd, pace: float) -> None:
        self.server_time = socket.server_time
        self.unsent = 0
        self.receive, self.close = socket.receive, socket.close
        self._socket = socket
        self._pace = pace

    async def send(self, text: str) -> None:
        self.unsent = len(text)
        while self.unsent > self._pace:
            await asyncio.sleep(1)
            self.unsent -= int(self._pace)
        self.unsent = 0
        await self._socket.send(text)

    async def ping(self) -> None:
        if not self.unsent:
            await self._socket.ping()


class NarrowLine(EmulatedLine):
    """An uplink by which a picture takes its time."""

    pace = 100_000.0

    async def dial(self, url: str, token: str) -> Any:  # Any: another socket than it says
        return Narrow(await super().dial(url, token), self.pace)


class TestALongFrame:
    """Its upload takes longer than two heartbeats, in which the server has nothing to say."""

    async def send(self, pace: float) -> Talk:
        clock = VirtualClock()
        line = NarrowLine(clock=clock)
        line.pace = pace
        async with a_manager(line, FakeKeyService(), clock) as talk:
            async with talk.manager.connect(talk.session_id, url=line.url) as talk.conversation:
                reader = asyncio.create_task(talk.read())
                sender = asyncio.create_task(talk.conversation.say("x" * 3_000_000, respond=False))
                await asyncio.sleep(40)
                sender.cancel()
            await reader
        return talk

    async def test_that_is_being_taken_shows_that_the_server_lives(self) -> None:
        """The connection was given up for silence, and the frame sent again on the next, for ever."""
        talk = await self.send(pace=100_000)
        assert talk.types()[1:] == ["conversation.item.added", "conversation.item.done", "voicepilot.ended"]

    @pytest.mark.parametrize("count", [1, 100])
    async def test_of_a_replay_may_take_longer_than_an_attempt_that_does_not_get_on(self, count: int) -> None:
        clock = VirtualClock()
        line = NarrowLine(clock=clock)
        line.pace = 1e9
        async with a_manager(line, FakeKeyService(), clock) as talk:
            async with talk.manager.connect(talk.session_id, url=line.url) as talk.conversation:
                reader = asyncio.create_task(talk.read())
                for _ in range(count):
                    await talk.conversation.say("x" * (3_000_000 // count), respond=False)
                await talk.hear_out()
                line.pace = 30_000 if count > 1 else 250_000
                line.cut()
                await asyncio.sleep(200)
                assert [event.attempts for event in talk.of("voicepilot.restored")] == [1]
            await reader

    async def test_that_is_stuck_does_not(self) -> None:
        assert (await self.send(pace=0)).of("voicepilot.reconnecting")


class TestAHandoverThatIsCutShort:
    """The next connection is lost after the answer under way was interrupted, and before the move."""

    def cut_short(self) -> Core:
        core = Core(session=LISTENING).connect(life=600)
        core.prepare().restore()
        core.say_audio().hear_item(typed("said meanwhile"))
        core.give(happen.Suspended()).hear_answer("a", to="begun").listen(21)
        return core.give(happen.DeadlinePassed(happen.Deadline.CUT))

    def test_asks_again_on_a_new_connection(self) -> None:
        core = self.cut_short()
        core.give(happen.Fell(core.incoming, LATER))
        assert core.ordered(fx.Dial)
        core.restore()
        assert core.sent() == ["response.create", "input_audio_buffer.append"]

    def test_holds_up_nothing_that_is_asked_afterwards(self) -> None:
        core = self.cut_short()
        core.give(happen.Fell(core.incoming, LATER)).restore()
        core.hear_answer("b").say("response.create")
        assert core.sent() == ["response.create"]


class TestWhereItIsDialled:
    async def dialled(self, url: str, model: str | None) -> str:
        clock = VirtualClock()
        line = EmulatedLine(clock=clock)
        keys = FakeKeyService()
        async with a_manager(line, keys, clock) as talk:
            session = await talk.manager.start_session(model="theirs")
            async with talk.manager.connect(session.session_id, url=url, model=model):
                return str(line.record.connections()[0].opened.model)

    async def test_a_model_that_was_given_is_asked_for_although_the_key_is_for_the_same(self) -> None:
        assert await self.dialled("ws://line.invalid/v1/realtime", "theirs") == "theirs"
        assert await self.dialled("ws://line.invalid/v1/realtime?model=other", "theirs") == "theirs"

    async def test_an_address_that_was_given_stays_as_it_is_otherwise(self) -> None:
        assert await self.dialled("ws://line.invalid/v1/realtime?model=other", None) == "other"


class TestWhatIsNoEvent:
    async def test_of_a_connection_being_made_ready_is_not_told(self) -> None:
        async with a_talk(session_life=40) as talk:
            await talk.until(lambda: len(talk.line.record.connections()) == 2)
            talk.line._wires[1].client.arrive('{"type": "conversation.item.added", "event_id": "broken"}')
            talk.line._wires[0].client.arrive('{"type": "conversation.item.added", "event_id": "incomplete"}')
            await talk.hear_out()
            assert [event["event_id"] for event in talk.of("conversation.item.added")] == ["incomplete"]


class TestASessionThatOnlyTranscribes:
    """It gives no answers (realtime-wire.md A1), so that it owes none."""

    async def test_is_not_asked_for_one_after_a_fall(self) -> None:
        core = Core(session={**LISTENING, "type": "transcription"}).connect().say_audio()
        core.hear("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
        core.hear("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id="u")
        core.hear("input_audio_buffer.committed", item_id="u", previous_item_id=None).fall()
        assert "voicepilot.turn-interrupted" not in core.told()
        assert "response.create" not in core.restore().sent(ever=True)


class TestASummary:
    async def talk(self, summarise: Any, check: Callable[[Talk], Awaitable[None]]) -> None:
        clock = VirtualClock()
        line = EmulatedLine(clock=clock)
        async with a_manager(line, FakeKeyService(), clock) as talk:
            tight = {"replay_token_budget": 40}
            connect = talk.manager.connect(talk.session_id, url=line.url, config=tight, summarise=summarise, **TEXT)
            async with connect as talk.conversation:
                reader = asyncio.create_task(talk.read())
                for word in ("one", "two", "three"):
                    await talk.conversation.say(f"{word} " * 8)
                    await talk.hear_out()
                line.cut()
                await asyncio.sleep(1)
                await check(talk)
            await reader

    async def test_stands_in_the_place_of_what_did_not_fit(self) -> None:
        asked: list[tuple[Json, ...]] = []

        async def sum_up(items: tuple[Json, ...]) -> str:
            asked.append(items)
            return "They counted."

        async def check(talk: Talk) -> None:
            (items,) = asked
            words = [item["content"][0]["text"].split()[-2:] for item in items]
            assert words == [["one", "one"]] * 2 + [["two", "two"]] * 2
            assert len(talk.conversation._driver.state.mirror) == 3
            talk.line.cut()
            await talk.hear_out()
            assert talk.said()[0] == "system: They counted."
            assert talk.errors() == []

        await self.talk(sum_up, check)

    async def test_that_is_no_text_costs_nothing_of_the_conversation(self) -> None:
        async def check(talk: Talk) -> None:
            assert len(talk.conversation._driver.state.mirror) == 6

        await self.talk(lambda _: asyncio.sleep(0, 5), check)

    async def test_that_fails_is_told_without_its_words(self, caplog: pytest.LogCaptureFixture) -> None:
        async def fail(items: tuple[Json, ...]) -> str:
            raise ValueError(items)

        async def check(_: Talk) -> None:
            assert "ValueError" in caplog.text
            assert "one one" not in caplog.text

        await self.talk(fail, check)

    async def test_under_way_ends_with_the_session(self) -> None:
        ended: list[bool] = []

        async def linger(_: tuple[Json, ...]) -> str:
            try:
                await asyncio.sleep(15)
            finally:
                ended.append(True)
            return "late"

        async def check(talk: Talk) -> None:
            await talk.manager.end_session(talk.session_id)
            await asyncio.sleep(0)
            assert ended

        await self.talk(linger, check)


class TestAtTheEnd:
    async def test_no_hook_is_called_that_had_to_wait(self) -> None:
        calls: list[str] = []

        async def takes_its_time(_: object, __: str) -> None:
            calls.append("suspending")
            await asyncio.sleep(3)

        hooks = ConversationLifecycleHooks(
            on_session_suspending=takes_its_time,
            on_session_resumed=lambda _: calls.append("resumed"),
            on_session_ending=lambda _: calls.append("ending"),
        )
        async with a_talk() as talk:
            await talk.manager.renew_session(talk.session_id)
            talk.manager.register_conversation_hooks(hooks)
            talk.line.cut()
            await talk.until(lambda: bool(talk.of("voicepilot.restored")))
            await talk.manager.end_session(talk.session_id)
            await asyncio.sleep(5)
            assert calls == ["suspending", "ending"]
            await end(talk)

    async def test_the_end_is_the_last_that_is_told(self) -> None:
        async with a_talk(config={"max_outage_seconds": 1}) as talk:
            await talk.manager.update_session_config(talk.session_id, {"max_duration_seconds": 300})
            talk.line.outage(600)
            await asyncio.sleep(290)
            assert isinstance(talk.lost, ConversationLostError)
            with pytest.raises(ConversationLostError):
                await talk.conversation.recv()

    def test_nothing_that_was_said_stays_in_the_state(self) -> None:
        core = (
            Core({"instructions": "words"}, on_interrupted_turn="retry")
            .connect()
            .say("response.create", response={"instructions": "words"})
        )
        core.hear_answer("a", to="begun").fall()
        assert core.state.reask
        core.give(happen.CloseAsked("closed"))
        assert not core.state.reask
        assert not core.state.turn.asked
        assert not core.state.session


@pytest.mark.sockets
async def test_a_connection_does_not_keep_the_key_it_was_opened_with() -> None:
    """aiohttp keeps the request with the response, and the response with the WebSocket."""
    dialler = WebSocketDialler()
    async with RealtimeEmulator() as emulator:
        socket = await dialler.dial(f"ws{emulator.base_url.removeprefix('http')}/realtime?model=m", "sk-of-nobody")
        requests = [one for one in gc.get_objects() if isinstance(one, aiohttp.RequestInfo)]
        assert requests
        assert "sk-of-nobody" not in str([dict(one.headers) for one in requests])
        await socket.close()
        await dialler.dispose()


async def test_an_end_cancels_the_dial_under_way() -> None:
    """PRODUCT.md: it cancels what the session was waiting for (mint, hook, dial)."""
    async with a_talk() as talk:
        talk.line.faults.add("connect:hang")
        talk.line.cut()
        await talk.until(lambda: talk.conversation.phase == "connecting")
        await talk.manager.end_session(talk.session_id)
        await asyncio.sleep(0.1)
        assert [name for name in leftovers() if "connection" in name] == []
