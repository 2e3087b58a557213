"""EphemeralKeyService in virtual time, on a transport of the test's own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from voicepilot import errors
from voicepilot.credentials import (
    ApiKey,
    EphemeralKeyService,
    KeyExpired,
    KeyRefused,
    KeyRenewed,
    Limits,
    OpenAIProfile,
    Secret,
)
from voicepilot.credentials.profiles import AzurePreviewProfile
from voicepilot.network.reply import Reply
from voicepilot.ports import KeyRequest
from voicepilot.recovery import Backoff, BreakerOptions, OperationOver, RecoveryExecutor, RetryPolicy, RetryScheduled
from voicepilot.testing.virtual import VirtualClock


class Wire:
    """A transport that answers as told, and a good key otherwise."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.answers: list[Callable[[], Awaitable[Reply]]] = []
        self.sent: list[Mapping[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.busy = self.busiest = 0
        self.closed = False

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        self.sent.append(headers)
        self.bodies.append(json.loads(body))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            return await (self.answers.pop(0) if self.answers else self.good)()
        finally:
            self.busy -= 1

    async def close(self) -> None:
        self.closed = True

    async def good(self) -> Reply:
        value = f"ek_{len(self.sent)}"
        await asyncio.sleep(0.1)
        return self.reply(200, {"value": value, "expires_at": self.clock.wall() + 60})

    def reply(self, status: int, answer: dict[str, Any]) -> Reply:
        return Reply(status, {"content-type": "application/json"}, json.dumps(answer).encode(), self.clock.wall())

    async def refused(self) -> Reply:
        return self.reply(401, {"error": {"code": "invalid_api_key"}})

    async def hangs(self) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
def wire() -> Wire:
    return Wire(VirtualClock())


def make(wire: Wire, credential: Any = "key-1", **more: Any) -> EphemeralKeyService:
    return EphemeralKeyService(OpenAIProfile(), credential=credential, clock=wire.clock, transport=lambda: wire, **more)


def ask(session_id: str = "s1", **more: Any) -> KeyRequest:
    return KeyRequest(session_id=session_id, **more)


def armed(service: EphemeralKeyService) -> bool:
    return service._lapses._timer is not None


def timers() -> list[asyncio.TimerHandle]:
    return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


async def settled(rounds: int = 10) -> None:
    for _ in range(rounds):
        await asyncio.sleep(0)


async def test_a_key_ages_while_the_machine_sleeps_with_the_answer_on_its_way(wire: Wire) -> None:
    async def sleeps_before_it_is_read() -> Reply:
        reply = await wire.good()
        wire.clock.suspend(45)
        return reply

    wire.answers = [sleeps_before_it_is_read]
    async with make(wire) as service:
        key = await service.request_ephemeral_key(ask())
    assert key.expires_in == pytest.approx(15)


async def test_a_key_that_lapsed_while_the_machine_slept_is_asked_for_again(wire: Wire) -> None:
    async def sleeps_too_long() -> Reply:
        reply = await wire.good()
        wire.clock.suspend(3_600)
        return reply

    wire.answers = [sleeps_too_long]
    async with make(wire) as service:
        with pytest.raises(errors.BadReplyError) as caught:
            await service.request_ephemeral_key(ask())
    assert (caught.value.code, caught.value.retryable) == ("KEY_EXPIRY_PAST", True)


async def test_each_session_gets_a_key_of_its_own(wire: Wire) -> None:
    async with make(wire) as service:
        first, second, third = await asyncio.gather(
            service.request_ephemeral_key(ask("a")),
            service.request_ephemeral_key(ask("b")),
            service.renew_key(ask("a")),
        )
    assert len({first.reveal(), second.reveal(), third.reveal()}) == 3
    assert (first.issued_for, second.issued_for, third.issued_for) == ("a", "b", "a")


@pytest.mark.parametrize(("asked", "sent"), [(600.0, 600), (10.9, 10), (1.0, 10), (9_999.0, 7_200)])
async def test_the_life_of_a_key_is_always_sent_and_within_bounds(wire: Wire, asked: float, sent: int) -> None:
    async with make(wire) as service:
        await service.request_ephemeral_key(ask(life_seconds=asked))
    assert wire.bodies[0]["expires_after"] == {"anchor": "created_at", "seconds": sent}


@pytest.mark.parametrize(
    ("request_", "session"),
    [
        (ask(), {"type": "realtime", "model": "gpt-realtime-2.1"}),
        (ask(model="m"), {"type": "realtime", "model": "m"}),
        (ask(session={"model": "m"}), {"type": "realtime", "model": "m"}),
        (
            ask(session={"voice": "x"}, labels={"a": "b"}),
            {"type": "realtime", "voice": "x", "model": "gpt-realtime-2.1"},
        ),
        (
            ask(session={"tracing": {"metadata": {"a": "mine"}}}, labels={"a": "b", "c": "d"}),
            {"type": "realtime", "tracing": {"metadata": {"a": "mine", "c": "d"}}, "model": "gpt-realtime-2.1"},
        ),
        (
            ask(session={"tracing": "auto"}, labels={"a": "b"}),
            {"type": "realtime", "tracing": "auto", "model": "gpt-realtime-2.1"},
        ),
        (ask(session={"type": "transcription"}), {"type": "transcription"}),
    ],
)
async def test_what_a_session_wants_goes_into_its_mint(
    wire: Wire, request_: KeyRequest, session: dict[str, Any]
) -> None:
    async with make(wire) as service:
        await service.request_ephemeral_key(request_)
    assert wire.bodies[0]["session"] == session


def test_the_preview_body_is_flat_and_has_no_invented_fields() -> None:
    profile = AzurePreviewProfile(endpoint="https://mine.openai.azure.com", model="d")
    body = json.loads(profile.body(ask(session={"voice": "verse"}, labels={"a": "b"})))
    assert body == {"model": "d", "voice": "verse"}
    assert profile.mint_url == (
        "https://mine.openai.azure.com/openai/realtimeapi/sessions?api-version=2025-04-01-preview"
    )


@pytest.mark.parametrize("options", [{"voice": object()}, {"model": 7}, {"tracing": {"metadata": 7}}, {object(): 1}])
async def test_options_that_are_not_json_are_a_refused_request(wire: Wire, options: dict[Any, Any]) -> None:
    async with make(wire) as service:
        with pytest.raises(errors.RequestRefusedError) as caught:
            await service.request_ephemeral_key(ask(session=options, labels={"a": "b"}))
    assert caught.value.code == "SESSION_OPTIONS_INVALID"
    assert wire.sent == []


async def test_nothing_before_initialize_and_nothing_after_dispose(wire: Wire) -> None:
    service = make(wire)
    states: list[bool] = []
    for _ in range(2):
        states.append(service.is_initialized)
        with pytest.raises(errors.NotInitializedError, match="EphemeralKeyService"):
            await service.request_ephemeral_key(ask())
        with pytest.raises(errors.NotInitializedError):
            await service.test_authentication()
        await service.initialize()
        await service.initialize()
        states.append(service.is_initialized)
        await service.dispose()
        await service.dispose()
    assert states == [False, True, False, True]
    assert wire.sent == []
    assert wire.closed


async def test_a_rotated_credential_takes_effect_at_the_next_mint(wire: Wire) -> None:
    keys = iter(["one", "two"])
    async with make(wire, lambda: next(keys)) as service:
        await service.request_ephemeral_key(ask())
        await service.renew_key(ask())
        service.set_credential("three")
        await service.renew_key(ask())
    assert [sent["Authorization"] for sent in wire.sent] == ["Bearer one", "Bearer two", "Bearer three"]


async def test_a_401_refreshes_the_credential_once(wire: Wire) -> None:
    keys = iter(["stale", "fresh"])
    wire.answers = [wire.refused]
    async with make(wire, lambda: next(keys)) as service:
        await service.request_ephemeral_key(ask())
    assert [sent["Authorization"] for sent in wire.sent] == ["Bearer stale", "Bearer fresh"]


async def test_a_credential_is_told_that_it_was_refused(wire: Wire) -> None:
    told: list[bool] = []

    class Caching(ApiKey):
        async def secret(self, *, refresh: bool = False) -> Secret:
            told.append(refresh)
            return Secret("fresh" if refresh else "cached")

    wire.answers = [wire.refused]
    async with make(wire, Caching("unused")) as service:
        await service.request_ephemeral_key(ask())
    assert told == [False, True]


async def test_a_second_401_is_final(wire: Wire) -> None:
    keys = iter("abc")
    wire.answers = [wire.refused] * 3
    async with make(wire, lambda: next(keys)) as service:
        with pytest.raises(errors.AuthenticationError) as caught:
            await service.request_ephemeral_key(ask())
    assert len(wire.sent) == 2
    assert not caught.value.retryable
    assert caught.value.__context__ is None


async def test_a_401_for_a_key_that_cannot_change_is_final_at_once(wire: Wire) -> None:
    wire.answers = [wire.refused]
    async with make(wire, "key-1") as service:
        with pytest.raises(errors.AuthenticationError):
            await service.request_ephemeral_key(ask())
    assert len(wire.sent) == 1


async def test_a_provider_that_does_not_answer_is_given_up_on_in_time(wire: Wire) -> None:
    wire.answers = [wire.hangs]
    async with make(wire) as service:
        with pytest.raises(errors.KeyTimeoutError, match="10 s") as caught:
            await service.request_ephemeral_key(ask())
    assert caught.value.retryable
    assert asyncio.get_running_loop().time() == pytest.approx(10)


async def test_a_credential_that_does_not_come_is_given_up_on_in_time(wire: Wire) -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with make(wire, never, limits=Limits(total_seconds=3)) as service:
        with pytest.raises(errors.KeyTimeoutError, match="credential") as caught:
            await service.request_ephemeral_key(ask())
    assert caught.value.code == "CREDENTIAL_TIMEOUT"
    assert asyncio.get_running_loop().time() == pytest.approx(3)


async def test_mints_are_bounded_and_take_turns_in_order_of_arrival(wire: Wire) -> None:
    done: list[str] = []

    async def mint(session_id: str) -> None:
        await service.request_ephemeral_key(ask(session_id))
        done.append(session_id)

    async with make(wire, limits=Limits(concurrent_mints=2)) as service:
        await asyncio.gather(*(mint(str(number)) for number in range(8)))
    assert wire.busiest == 2
    assert done == [str(number) for number in range(8)]


async def test_waiting_for_a_turn_does_not_count_as_a_slow_provider(wire: Wire) -> None:
    async def slow() -> Reply:
        await asyncio.sleep(8)
        return await wire.good()

    wire.answers = [slow] * 4
    async with make(wire, limits=Limits(concurrent_mints=1)) as service:
        await asyncio.gather(*(service.request_ephemeral_key(ask(str(number))) for number in range(4)))


@pytest.mark.parametrize("turns", range(12))
async def test_a_mint_can_be_cancelled_at_every_point(wire: Wire, turns: int) -> None:
    async def credential() -> str:
        await asyncio.sleep(0)
        return "key-1"

    async def good() -> Reply:
        for _ in range(4):
            await asyncio.sleep(0)
        return wire.reply(200, {"value": "ek_1", "expires_at": wire.clock.wall() + 60})

    wire.answers = [good]
    async with make(wire, credential, limits=Limits(concurrent_mints=1)) as service:
        mint = asyncio.ensure_future(service.request_ephemeral_key(ask()))
        await settled(turns)
        if not mint.done():
            mint.cancel()
            with pytest.raises(asyncio.CancelledError):
                await mint
        assert wire.busy == 0
        assert service._mints == {}
        await service.request_ephemeral_key(ask("next"))  # its turn was given back


@pytest.mark.parametrize("turns", range(8))
async def test_ending_a_session_ends_its_mint_and_no_other(wire: Wire, turns: int) -> None:
    wire.answers = [wire.hangs]
    async with make(wire) as service:
        mint = asyncio.ensure_future(service.request_ephemeral_key(ask("a")))
        other = asyncio.ensure_future(service.request_ephemeral_key(ask("b")))
        await settled(turns)
        if turns == 0:
            mint.cancel()  # it has not begun, so only its task can be ended
            return
        await service.end_session("a")
        await service.end_session("a")
        with pytest.raises(errors.SessionEndedError):
            await mint
        assert (await other).issued_for == "b"
        assert service._mints == {}


async def test_a_new_life_knows_nothing_of_the_keys_of_the_one_before(wire: Wire) -> None:
    heard: list[KeyExpired] = []
    service = make(wire)
    async with service:
        await service.request_ephemeral_key(ask("a"))
    async with service:
        service.on_key_expired(heard.append)
        await asyncio.sleep(120)
    assert heard == []


async def test_a_key_that_comes_in_the_moment_its_session_ends_is_dropped(wire: Wire) -> None:
    arrival: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    wire.answers = [lambda: arrival]
    heard: list[object] = []
    async with make(wire) as service:
        service.on_key_renewed(heard.append)
        service.on_key_expired(heard.append)
        mint = asyncio.ensure_future(service.request_ephemeral_key(ask("a")))
        await settled()
        arrival.set_result(wire.reply(200, {"value": "ek_late", "expires_at": wire.clock.wall() + 60}))
        await service.end_session("a")
        with pytest.raises(errors.SessionEndedError):
            await mint
        await asyncio.sleep(120)
    assert heard == []


async def test_a_short_key_is_told_of_in_time_though_a_longer_one_came_first(wire: Wire) -> None:
    heard: list[tuple[str, float]] = []

    async def short() -> Reply:
        return wire.reply(200, {"value": "ek_short", "expires_at": wire.clock.wall() + 2})

    async with make(wire) as service:
        service.on_key_expired(lambda news: heard.append((news.session_id, asyncio.get_running_loop().time())))
        await service.request_ephemeral_key(ask("long"))
        wire.answers = [short]
        await service.request_ephemeral_key(ask("short"))
        await asyncio.sleep(3)
    ((session_id, moment),) = heard
    assert (session_id, round(moment, 3)) == ("short", 2.1)
    assert timers() == []


async def test_dispose_ends_the_mints_under_way_and_arms_nothing(wire: Wire) -> None:
    wire.answers = [wire.hangs]
    service = make(wire, limits=Limits(concurrent_mints=1))
    await service.initialize()
    service.on_key_expired(lambda _: None)
    mints = [asyncio.ensure_future(service.request_ephemeral_key(ask(name))) for name in "ab"]
    await settled()
    await service.dispose()
    for mint in mints:
        with pytest.raises(errors.NotInitializedError, match="disposed"):
            await mint
    assert not armed(service)


async def test_news_is_told_with_the_session_and_never_the_key(wire: Wire) -> None:
    heard: list[object] = []
    async with make(wire) as service:
        service.on_key_renewed(heard.append)
        service.on_key_expired(heard.append)
        service.on_authentication_error(heard.append)
        await service.request_ephemeral_key(ask("a"))
        await service.renew_key(ask("a"))
        wire.answers = [wire.refused]
        with pytest.raises(errors.AuthenticationError):
            await service.renew_key(ask("a"))
        await asyncio.sleep(61)
    fault = errors.AuthenticationError("x").fault
    assert [type(news) for news in heard] == [KeyRenewed, KeyRenewed, KeyRefused, KeyExpired]
    assert heard[:2] == [
        KeyRenewed(session_id="a", expires_in=60.0, first=True),
        KeyRenewed(session_id="a", expires_in=60.0, first=False),
    ]
    assert isinstance(heard[2], KeyRefused)
    assert (heard[2].session_id, heard[2].fault.code) == ("a", fault.code)
    assert heard[3] == KeyExpired(session_id="a")
    assert "ek_" not in repr(heard)


async def test_a_missing_credential_is_an_authentication_error_too(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    heard: list[KeyRefused] = []
    async with make(wire, None) as service:
        service.on_authentication_error(heard.append)
        with pytest.raises(errors.MissingCredentialsError, match="OPENAI_API_KEY"):
            await service.request_ephemeral_key(ask())
    assert [news.fault.code for news in heard] == ["MISSING_CREDENTIALS"]


async def test_a_key_expires_once_per_session_and_not_when_renewed_or_ended(wire: Wire) -> None:
    heard: list[tuple[str, float]] = []
    async with make(wire) as service:
        service.on_key_expired(lambda news: heard.append((news.session_id, asyncio.get_running_loop().time())))
        for session_id in ("lapses", "renewed", "ended"):
            await service.request_ephemeral_key(ask(session_id))
        await asyncio.sleep(30)
        await service.renew_key(ask("renewed"))
        await service.end_session("ended")
        await asyncio.sleep(45)
        assert [session_id for session_id, _ in heard] == ["lapses"]
        assert heard[0][1] == pytest.approx(60.1, abs=0.01)
        await asyncio.sleep(600)
        assert [session_id for session_id, _ in heard] == ["lapses", "renewed"]


async def test_expiry_is_noticed_soon_after_the_machine_slept(wire: Wire) -> None:
    heard: list[KeyExpired] = []
    async with make(wire) as service:
        service.on_key_expired(heard.append)
        await service.request_ephemeral_key(ask())
        wire.clock.suspend(3600)
        await asyncio.sleep(5.1)
        assert heard == [KeyExpired(session_id="s1")]


async def test_nothing_is_armed_while_nobody_listens(wire: Wire) -> None:
    heard: list[KeyExpired] = []
    async with make(wire) as service:
        await service.request_ephemeral_key(ask())
        assert not armed(service)
        with service.on_key_expired(heard.append) as subscription:
            assert armed(service)
        assert not armed(service)
        subscription.dispose()
        service.on_key_expired(heard.append)
        await asyncio.sleep(61)
    assert heard == [KeyExpired(session_id="s1")]


async def test_who_listens_late_does_not_hear_of_what_ended_before(wire: Wire) -> None:
    heard: list[KeyExpired] = []
    async with make(wire) as service:
        await service.request_ephemeral_key(ask())
        await asyncio.sleep(120)
        service.on_key_expired(heard.append)
        await asyncio.sleep(120)
    assert heard == []


async def test_a_handler_that_raises_hurts_nobody(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[KeyRenewed] = []

    def broken(_: KeyRenewed) -> None:
        raise RuntimeError("broken handler")

    async with make(wire) as service:
        service.on_key_renewed(broken)
        service.on_key_renewed(heard.append)
        await service.request_ephemeral_key(ask())
    assert len(heard) == 1
    assert "on_key_renewed" in caplog.text


async def test_a_handler_may_subscribe_and_unsubscribe_while_it_is_called(wire: Wire) -> None:
    calls: list[str] = []

    def once(_: KeyRenewed) -> None:
        calls.append("once")
        subscription.dispose()
        service.on_key_renewed(lambda _: calls.append("later"))

    async with make(wire) as service:
        subscription = service.on_key_renewed(once)
        await service.request_ephemeral_key(ask())
        assert calls == ["once"]
        await service.renew_key(ask())
        assert calls == ["once", "later"]


def test_an_async_handler_is_refused_because_nothing_could_await_it(wire: Wire) -> None:
    async def handler(_: KeyRenewed) -> None: ...

    with pytest.raises(TypeError, match="on_key_renewed"):
        make(wire).on_key_renewed(handler)


async def test_the_authentication_test_asks_for_the_shortest_life_and_says_so(wire: Wire) -> None:
    async with make(wire) as service:
        report = await service.test_authentication()
    assert (report.success, report.has_valid_credentials, report.can_create_sessions) == (True, True, True)
    assert report.endpoint == "https://api.openai.com/v1/realtime/client_secrets"
    assert report.latency == pytest.approx(0.1)
    assert wire.bodies[0]["expires_after"]["seconds"] == 10
    assert "10 s" in report.note
    assert report.fault is None


@pytest.mark.parametrize(("status", "valid"), [(401, False), (403, True), (404, True), (429, True), (503, None)])
async def test_the_authentication_test_says_what_to_fix(wire: Wire, status: int, valid: bool | None) -> None:
    async def answer() -> Reply:
        return wire.reply(status, {})

    wire.answers = [answer]
    async with make(wire) as service:
        report = await service.test_authentication()
    assert (report.success, report.can_create_sessions, report.has_valid_credentials) == (False, False, valid)
    assert report.fault is not None
    assert report.fault.remediation


async def test_the_authentication_test_is_executed_whole_by_the_recovery_executor(wire: Wire) -> None:
    async def down() -> Reply:
        return wire.reply(503, {})

    wire.answers = [down, down]
    executor = RecoveryExecutor()
    told: list[RetryScheduled | OperationOver] = []
    executor.subscribe(RetryScheduled, told.append)
    executor.subscribe(OperationOver, told.append)
    async with make(wire, recovery_executor=executor) as service:
        report = await service.test_authentication()
    assert (report.success, len(wire.bodies)) == (True, 3)
    assert [type(each) for each in told] == [RetryScheduled, RetryScheduled, OperationOver]
    assert {(each.context.operation, each.context.endpoint) for each in told} == {
        ("test_authentication", service.endpoint)
    }
    assert set(executor.breakers()) == {service.endpoint}


async def test_an_authentication_test_before_an_open_breaker_asks_nobody_and_says_why(wire: Wire) -> None:
    async def down() -> Reply:
        return wire.reply(503, {})

    wire.answers = [down] * 9
    executor = RecoveryExecutor(
        policies={"test_authentication": RetryPolicy(backoff=Backoff.NONE, attempts=1)},
        breaker=BreakerOptions(failures_in_a_row=1, first_break=30),
    )
    async with make(wire, recovery_executor=executor) as service:
        assert not (await service.test_authentication()).success
        report = await service.test_authentication()
    assert len(wire.bodies) == 1
    assert report.fault is not None
    assert (report.success, report.fault.code, report.has_valid_credentials) == (False, "ATTEMPT_REFUSED", None)


async def test_a_credential_of_the_callers_is_not_closed_but_our_own_is(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []

    class Held(ApiKey):
        async def close(self) -> None:
            closed.append(self)

    async with make(wire, Held("key-1")):
        pass
    assert closed == []
    ours = Held("key-1")
    monkeypatch.setattr("voicepilot.credentials.provider.EnvironmentKey", lambda *_: ours)
    async with make(wire, None):
        pass
    assert closed == [ours]


async def test_nothing_is_logged_at_a_level_people_see(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with make(wire) as service:
        await service.request_ephemeral_key(ask())
    assert caplog.records == []
