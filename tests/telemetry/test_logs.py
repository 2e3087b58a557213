"""Logs: quiet as a library, readable or JSON when asked for, and without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.telemetry.watching import a_watched_world

from voicepilot import ConnectionPhase, ConnectionStatus, Fault, Usage
from voicepilot.errors import AuthenticationError, ConfigurationError, RateLimitError
from voicepilot.telemetry import configure_logging
from voicepilot.telemetry.logs import FIELDS

KEY = "ek_canary_0123456789"


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What configure_logging shows; afterwards the logger is as before."""
    stream = io.StringIO()
    logger = logging.getLogger("voicepilot")
    before = (logger.level, logger.propagate)
    yield stream
    configure_logging(stream=stream).dispose()
    assert (logger.level, logger.propagate) == before
    assert stream not in [getattr(handler, "stream", None) for handler in logger.handlers]


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


async def test_each_event_is_a_record_with_its_fields(output: io.StringIO) -> None:
    configure_logging("json", level="debug", stream=output)
    async with a_watched_world() as world:
        session = await world.manager.start_session(labels={"team": "a"})
        world.fake.fail(RateLimitError("say sk-abcdefghijk", status=429, request_id="req_1"), 9)
        await world.manager.renew_session(session.session_id)
        await world.manager.update_session_config(session.session_id, {"max_total_tokens": 100})
        used = Usage(input_tokens=90, input_audio_seconds=2, output_audio_seconds=1)
        world.manager.report_usage(session.session_id, used)
        lost = Fault(code="CUT", message="1006", remediation="Wait.", retryable=True)
        world.link(session.session_id).report(ConnectionPhase.WAITING, ConnectionStatus.FAILED, lost)
        await world.manager.end_session()
    told = lines(output)
    degraded = [line for line in told if line["event"] == "degraded-changed"]
    assert [(line["degraded"], line["level"]) for line in degraded] == [(True, "warning")]
    (counted,) = [line for line in told if line["event"] == "usage-counted"]
    assert (counted["tokens"], counted["audio_seconds"], counted["level"]) == (90, 3, "debug")
    (limit,) = [line for line in told if line["event"] == "limit-approaching"]
    assert (limit["limit"], limit["used"], limit["allowed"], limit["level"]) == ("max_total_tokens", 90, 100, "warning")
    assert [line["event"] for line in told] == world.recorder.types()
    assert {line["session_id"] for line in told} == {session.session_id}
    assert all(line["labels"] == {"team": "a"} for line in told)
    error = next(line for line in told if line["event"] == "renewal-error")
    assert {name: error[name] for name in ("level", "code", "cause", "status", "request_id", "phase", "retryable")} == {
        "level": "warning",
        "code": "RENEWAL_FAILED",
        "cause": "RATE_LIMITED",
        "status": 429,
        "request_id": "req_1",
        "phase": "active",
        "retryable": True,
    }
    assert "say" not in output.getvalue()
    fields = {name for line in told for name in line} - {"event", "level", "logger", "timestamp"}
    assert fields == set(FIELDS) - {"kind"}


async def test_a_terminal_is_told_in_lines_a_person_can_read(output: io.StringIO) -> None:
    configure_logging("terminal", level="debug", stream=output)
    async with a_watched_world() as world:
        await world.manager.start_session()
        await world.manager.end_session(reason="done")
    assert "session-ended" in output.getvalue().splitlines()[-1]
    assert "reason=done" in output.getvalue()
    assert "\x1b[" not in output.getvalue()  # no colours where there is no terminal


async def test_phase_changes_are_for_debugging_only(output: io.StringIO) -> None:
    configure_logging("json", stream=output)
    async with a_watched_world() as world:
        await world.manager.start_session()
        await world.manager.end_session()
    assert [line["event"] for line in lines(output)] == ["session-started", "session-ended"]


async def test_handlers_of_the_application_see_whose_event_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with a_watched_world() as world:
        world.fake.fail(AuthenticationError("no", status=401))
        with pytest.raises(Exception, match="no"):
            await world.manager.start_session()
    record = next(record for record in caplog.records if record.name == "voicepilot.events")
    assert record.getMessage().startswith("authentication-error session-")
    assert record.getMessage().endswith("INVALID_CREDENTIALS")


async def test_nothing_is_computed_for_a_level_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[object] = []
    monkeypatch.setattr("voicepilot.telemetry.logs._fields", computed.append)
    logging.getLogger("voicepilot").setLevel(logging.ERROR)
    try:
        async with a_watched_world() as world:
            await world.manager.start_session()
    finally:
        logging.getLogger("voicepilot").setLevel(logging.NOTSET)
    assert computed == []


def test_secrets_are_hidden_in_messages_fields_and_tracebacks(output: io.StringIO) -> None:
    configure_logging("json", stream=output, secrets=["hunter2"])
    logger = logging.getLogger("voicepilot.anything")
    error = ValueError(f"{KEY} in an exception")
    logger.error("said %s and hunter2", KEY, exc_info=error, extra={"api_key": "0123", "note": [f"Bearer {KEY}"]})
    told = lines(output)[0]
    assert told["event"] == "said <hidden> and <hidden>"
    assert told["api_key"] == "<hidden>"
    assert "ValueError: <hidden> in an exception" in told["exception"]
    assert KEY not in output.getvalue()


def test_what_another_handler_left_on_the_record_is_no_field(output: io.StringIO) -> None:
    other = logging.StreamHandler(io.StringIO())
    other.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("voicepilot")
    logger.addHandler(other)
    configure_logging("json", stream=output)
    logger.warning("hello")
    logger.removeHandler(other)
    assert set(lines(output)[0]) == {"event", "level", "logger", "timestamp"}


def test_other_loggers_are_left_alone(output: io.StringIO) -> None:
    configure_logging("json", stream=output)
    logging.getLogger("somebody.else").error("hello")
    assert output.getvalue() == ""


def test_configuring_again_replaces_what_was_before(output: io.StringIO) -> None:
    first = configure_logging("json", stream=output)
    with configure_logging("json", stream=output):
        first.dispose()
        logging.getLogger("voicepilot").warning("once")
    logging.getLogger("voicepilot").warning("not shown")
    assert [line["event"] for line in lines(output)] == ["once"]


@pytest.mark.parametrize(("wrong", "field"), [({"style": "xml"}, "style"), ({"level": "loud"}, "level")])
def test_what_cannot_be_configured_is_said_and_changes_nothing(wrong: dict[str, Any], field: str) -> None:
    before = list(logging.getLogger("voicepilot").handlers)
    with pytest.raises(ConfigurationError) as refused:
        configure_logging(**wrong)
    assert refused.value.field == field
    assert logging.getLogger("voicepilot").handlers == before


@pytest.mark.sockets
def test_a_library_is_quiet() -> None:
    code = """
import asyncio, voicepilot.telemetry as t, voicepilot as vp
from voicepilot.testing import FakeKeyService
async def main():
    keys = t.WatchedKeyService(FakeKeyService())
    async with vp.SessionManager(keys) as manager:
        with t.instrument(manager, keys):
            keys.fail(vp.RateLimitError("no"), 1)
            await manager.start_session({"retry_backoff_ms": 1})
            manager.report_connection(manager.get_current_session().session_id, vp.ConnectionStatus.FAILED)
            await manager.end_session()
asyncio.run(main())
"""
    seen = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (seen.stdout, seen.stderr, seen.returncode) == ("", "", 0)


@pytest.mark.sockets
def test_importing_voicepilot_imports_neither_structlog_nor_opentelemetry() -> None:
    heavy = "{'structlog', 'opentelemetry'}"
    code = f"import sys, voicepilot, voicepilot.runtime.manager; print({heavy} & set(sys.modules))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "set()"


async def test_a_logger_that_raises_hurts_nobody() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("full")

    logger = logging.getLogger("broken")
    logger.addHandler(broken := Broken())
    async with a_watched_world(watch={"logger": logger}) as world:
        session = await world.manager.start_session()
        await asyncio.sleep(1)
        await world.manager.end_session()
    logger.removeHandler(broken)
    assert world.recorder.types(session.session_id)[-1] == "session-ended"
    assert len(world.spans("voicepilot.session.end")) == 1
