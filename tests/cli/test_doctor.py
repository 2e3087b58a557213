from __future__ import annotations

import msgspec
import pytest

from voicepilot.cli.doctor import code_of, json_report, report
from voicepilot.credentials.doctor import CheckResult


def result(name: str, status: str, remedy: str = "") -> CheckResult:
    return msgspec.convert(
        {"name": name, "status": status, "detail": f"{name} looked at", "remedy": remedy}, CheckResult
    )


WELL = (result("settings", "pass"), result("clock", "warn", "Set it."), result("tls", "skipped"))


@pytest.mark.parametrize(
    ("failed", "code"), [((), 0), (("settings",), 2), (("credential",), 2), (("tls",), 1), (("mint", "websocket"), 1)]
)
def test_the_exit_code_tells(failed: tuple[str, ...], code: int) -> None:
    assert code_of((*WELL, *(result(name, "fail") for name in failed))) == code


def test_the_report_has_a_line_for_each_check_and_the_remedy_below() -> None:
    lines = [line.text for line in report((*WELL, result("mint", "fail", "Check the key.")))]
    assert lines == [
        "pass     settings  settings looked at",
        "warn     clock     clock looked at",
        "                   Set it.",
        "skipped  tls       tls looked at",
        "fail     mint      mint looked at",
        "                   Check the key.",
        "",
        "Something must be put right before sessions can be started.",
    ]
    assert [line.text for line in report(WELL)][-1] == "Sessions can be started."


def test_json_is_for_programs() -> None:
    assert msgspec.json.decode(json_report(WELL[:1])) == {
        "healthy": True,
        "checks": [{"name": "settings", "status": "pass", "detail": "settings looked at", "remedy": ""}],
    }
