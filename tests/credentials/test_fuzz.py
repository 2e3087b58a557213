"""Whatever a provider answers, a mint gives a good key or a typed error, and the credential goes nowhere else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.credentials.test_replies import AZURE, NOW, OPENAI, PREVIEW, REQUEST, SECRET, key
from tests.fuzz.judging import judge_key
from tests.fuzzing import Tally, fuzzed, little_kept
from yarl import URL

from voicepilot.credentials import EphemeralKeyService, Limits, OpenAIProfile
from voicepilot.credentials.endpoints import AZURE_SUFFIXES, checked_azure_endpoint, checked_base_url
from voicepilot.credentials.profiles import Profile
from voicepilot.errors import ConfigurationError, KeyServiceError
from voicepilot.network.reply import Reply
from voicepilot.network.route import is_loopback
from voicepilot.ports import EphemeralKey

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
expiries = json_values | st.floats(NOW - 100, NOW + 9_000) | st.integers(int(NOW), int(NOW) + 9_000)
values = json_values | st.text(max_size=30) | st.sampled_from(["ek_1", SECRET.reveal(), "ek_\n"])
answers = st.one_of(
    st.fixed_dictionaries({}, optional={"value": values, "expires_at": expiries, "session": json_values}),
    st.fixed_dictionaries({"value": values, "expires_at": expiries}, optional={"error": json_values}),
    st.fixed_dictionaries(
        {"client_secret": st.fixed_dictionaries({"value": values, "expires_at": expiries}) | json_values},
        optional={"id": json_values},
    ),
    json_values,
)
bodies = answers.map(lambda answer: json.dumps(answer).encode()) | st.binary(max_size=60)
headers = st.fixed_dictionaries(
    {"content-type": st.sampled_from(["application/json", "application/json; charset=utf-8", "text/html", ""])},
    optional={
        "date": st.sampled_from([formatdate(NOW, usegmt=True), "nonsense", ""]),
        "retry-after": st.text(max_size=12),
        "retry-after-ms": st.text(max_size=12),
        "x-should-retry": st.text(max_size=5),
        "x-request-id": st.text(max_size=20),
    },
)
statuses = st.sampled_from([200, 200, 200, 201, 302, 400, 401, 429, 503]) | st.integers(100, 999)


def judged(outcome: EphemeralKey | KeyServiceError, status: int) -> None:
    judge_key(outcome, status, SECRET.reveal())


def outcome_of(answer: Reply, profile: Profile) -> EphemeralKey | KeyServiceError:
    try:
        return key(answer, profile)
    except KeyServiceError as error:
        return error


@given(status=statuses, sent=headers, body=bodies, profile=st.sampled_from([OPENAI, AZURE, PREVIEW]))
@fuzzed(300)
def test_whatever_comes_is_a_good_key_or_a_typed_error(
    tally: Tally, status: int, sent: dict[str, str], body: bytes, profile: Profile
) -> None:
    tally("mint replies", 1)
    judged(outcome_of(Reply(status, sent, body, NOW), profile), status)


def test_nothing_is_kept_of_a_reply(tally: Tally) -> None:
    @given(status=statuses, sent=headers, body=bodies)
    @fuzzed(10)
    def judge(status: int, sent: dict[str, str], body: bytes) -> None:
        tally("mint replies", 1)
        judged(outcome_of(Reply(status, sent, body + b" " * 100_000, NOW), OPENAI), status)

    with little_kept(100_000):
        judge()


# -- on the wire ------------------------------------------------------------------------------------------------------


class Stranger:
    """A host nobody should talk to."""

    def __init__(self) -> None:
        self.heard = 0

    async def hear(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard += 1
        writer.close()


class Scripted:
    """A provider that answers every request with the bytes it was given, whatever they are."""

    def __init__(self) -> None:
        self.answer = b""
        self.asked: list[bytes] = []

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(host: Stranger | Scripted) -> AsyncIterator[str]:
    server = await asyncio.start_server(host.hear, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


AWAY = ["http://{away}/v1", "//{away}/", "http://{away}@{away}/", "/elsewhere", "", "http://[", "\\\\{away}"]
names = st.sampled_from(
    ["Location", "Content-Location", "Refresh", "Link", "Alt-Svc", "Set-Cookie", "X-Accel-Redirect"]
)
lines = st.tuples(
    names, st.sampled_from(AWAY) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9)
)
wires = st.fixed_dictionaries(
    {
        "status": st.sampled_from([200, 201, 300, 301, 302, 303, 305, 307, 308, 401, 407, 429, 503])
        | st.integers(0, 999),
        "lines": st.lists(lines, max_size=3),
        "kind": st.sampled_from(["application/json", "text/html"]),
        "length": st.sampled_from([None, 0, 1, -1, 5_000_000]),
        "body": bodies,
    }
)


def on_the_wire(made: dict[str, Any], away: str) -> bytes:
    """A reply as bytes; `length` is added to the true one, so that it may be a lie."""
    body: bytes = made["body"]
    told = [f"{name}: {value.replace('{away}', away)}" for name, value in made["lines"]]
    if made["length"] is not None:
        told.append(f"Content-Length: {len(body) + made['length']}")
    head = [f"HTTP/1.1 {made['status']} X", f"Content-Type: {made['kind']}", "Connection: close", *told]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


@pytest.mark.sockets
def test_no_answer_sends_the_credential_to_another_host(tally: Tally) -> None:
    stranger, provider = Stranger(), Scripted()

    async def mint(service: EphemeralKeyService) -> EphemeralKey | KeyServiceError:
        try:
            return await service.request_ephemeral_key(REQUEST)
        except KeyServiceError as error:
            return error

    async def opened(stack: AsyncExitStack) -> tuple[str, EphemeralKeyService]:
        away, home = [await stack.enter_async_context(listening(host)) for host in (stranger, provider)]
        profile = OpenAIProfile(base_url=f"http://{home}/v1")
        service = EphemeralKeyService(profile, credential=SECRET.reveal(), limits=Limits(total_seconds=5))
        return away, await stack.enter_async_context(service)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        stack = AsyncExitStack()
        away, service = runner.run(opened(stack))

        @given(made=wires)
        @fuzzed(30)
        def answer(made: dict[str, Any]) -> None:
            tally("mint replies", 1)
            provider.answer = on_the_wire(made, away)
            provider.asked.clear()
            judged(runner.run(mint(service)), made["status"])
            (asked,) = provider.asked
            assert asked.startswith(b"POST /v1/realtime/client_secrets ")
            assert b"Cookie" not in asked

        answer()
        runner.run(stack.aclose())
    assert stranger.heard == 0


labels = st.sampled_from(
    ["mine", "openai", "azure", "com", "cn", "openai.azure.com", "cognitiveservices.azure.us", "evil", "localhost"]
)
hosts = st.lists(labels, min_size=1, max_size=5).map(".".join) | st.sampled_from(["127.0.0.1", "[::1]", "0x7f.1"])
addresses = st.builds(
    lambda scheme, user, host, rest: f"{scheme}://{user}{host}{rest}",
    st.sampled_from(["https", "http", "HTTPS", "ftp"]),
    st.sampled_from(["", "", "", "user@", "mine.openai.azure.com@", "a:b@"]),
    hosts,
    st.sampled_from(
        ["", "/", "/v1", ":443/v1", "/mine.openai.azure.com", "?x", "#mine.openai.azure.com", "\\@evil", ".", "%2e"]
    ),
)


@given(address=addresses)
@fuzzed(100)
def test_an_address_that_passes_is_encrypted_or_loopback_and_no_look_alike(tally: Tally, address: str) -> None:
    tally("addresses", 1)
    with suppress(ConfigurationError):
        assert_safe(URL(checked_base_url(address)))
    with suppress(ConfigurationError):
        url = URL(checked_azure_endpoint(address))
        assert_safe(url)
        assert is_loopback(url.host or "") or (url.host or "").rstrip(".").endswith(AZURE_SUFFIXES)


def assert_safe(url: URL) -> None:
    host = url.host or ""
    assert url.scheme == "https" or is_loopback(host)
    assert url.user is None
    assert "azure.com" not in host or host.rstrip(".").endswith(AZURE_SUFFIXES)
