"""What is hidden, what is not, and that nothing it is given makes it fail."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicepilot.telemetry.redact import CIRCULAR, HIDDEN, TOO_DEEP, Redactor

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl"
redact = Redactor()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the key sk-proj-abcDEF123456 is wrong", f"the key {HIDDEN} is wrong"),
        ("got ek_68af296e8e408191.", f"got {HIDDEN}"),
        ("openai-insecure-api-key.ek_68af296e8e408191", f"openai-insecure-api-key.{HIDDEN}"),
        (f"token {JWT}!", f"token {HIDDEN}!"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {HIDDEN}"),
        ("authorization: abc", f"authorization: {HIDDEN}"),
        ("BEARER 0123456789", f"BEARER {HIDDEN}"),
        ("{'api-key': '0123abcd'}", f"{{'api-key': '{HIDDEN}'}}"),
        ('{"API_KEY":"0123abcd"}', f'{{"API_KEY":"{HIDDEN}"}}'),
        ("https://x.example/v1?api-key=0123abcd&model=m", f"https://x.example/v1?api-key={HIDDEN}&model=m"),
        ("client_secret=hush", f"client_secret={HIDDEN}"),
        ("Q" * 84, HIDDEN),
    ],
)
def test_a_secret_in_a_text_is_hidden(text: str, shown: str) -> None:
    assert redact.text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "session-1795369285894-a35046ba-2614-48f0-b19c-eb338941d8f1",
        "risk-free task-oriented weeks",
        "no API key: OPENAI_API_KEY is not set",
        "RATE_LIMITED",
        "the api key is refused",
        "gpt-realtime-2.1",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact.text(text) == text


@pytest.mark.parametrize(
    "name",
    ["api_key", "API-Key", "x-api-key", "apiKey", "Authorization", "token", "accessToken", "client_secret", "PASSWORD",
     "credential", "openai_api_keys", "Set-Cookie", "private_key", "tokenValue", "azure_openai_api_key"],
)  # fmt: skip
def test_whatever_stands_under_a_secret_name_is_hidden(name: str) -> None:
    assert redact(None, "", {name: "plain"}) == {name: HIDDEN}
    assert redact(None, "", {"outer": [{name: {"value": "plain"}}]}) == {"outer": [{name: HIDDEN}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [("total_tokens", 12), ("credential_status", "valid"), ("credential_source", "keyring"), ("key_seconds_left", 9.0),
     ("token", None), ("has_valid_credentials", True), ("key", "a")],
)  # fmt: skip
def test_a_name_that_only_sounds_secret_hides_nothing(name: str, value: object) -> None:
    assert redact(None, "", {name: value}) == {name: value}


def test_a_password_of_digits_is_hidden() -> None:
    assert redact(None, "", {"password": 1234}) == {"password": HIDDEN}


def test_values_of_yours_are_hidden_wherever_they_stand() -> None:
    yours = Redactor(["hunter2", "hunter2-long", ""])
    assert yours.text("HUNTER2-LONG and hunter2") == f"{HIDDEN} and {HIDDEN}"
    assert yours.value({"hunter2": ["hunter2"]}) == {HIDDEN: [HIDDEN]}
    assert "hunter2" not in repr(yours)


def test_circular_data_is_cut_where_it_begins_again() -> None:
    circle: dict[str, Any] = {"key": "sk-abcdefgh"}
    circle["itself"] = circle
    circle["list"] = [circle]
    assert redact.value(circle) == {"key": HIDDEN, "itself": CIRCULAR, "list": [CIRCULAR]}


def test_one_thing_seen_twice_is_no_circle() -> None:
    shared = ["a"]
    assert redact.value([shared, shared]) == [["a"], ["a"]]


def test_what_is_nested_without_end_is_cut() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    assert TOO_DEEP in repr(redact.value(deep))


class Point(msgspec.Struct):
    x: int
    api_key: str


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Holder:
    def __repr__(self) -> str:
        return "Holder(ek_0123456789)"


def test_data_of_any_kind_is_shown_plainly() -> None:
    assert redact.value(Point(1, "hush")) == {"x": 1, "api_key": HIDDEN}
    assert redact.value(b"abc") == "<3 bytes>"
    assert redact.value(Holder()) == f"Holder({HIDDEN})"
    assert redact.value(Broken()) == "<Broken that cannot be shown: RuntimeError>"
    assert redact.value({1: {"a"}}) == {"1": ["a"]}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(plain, st.binary(min_size=9, max_size=40))
def test_a_key_inside_anything_never_shows(data: object, raw: bytes) -> None:
    key = "ek_" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert key not in repr(redact.value([data, {"x": data, "said": f"it is {key}, is it"}]))


@pytest.mark.slow
@given(plain)
def test_redacting_twice_changes_nothing_more(data: object) -> None:
    once = redact.value(data)
    assert redact.value(once) == once
