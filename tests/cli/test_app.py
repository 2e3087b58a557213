from __future__ import annotations

import subprocess
import sys

import pytest

import voicepilot
from voicepilot.cli.app import run_app

COMMANDS = ("demo", "talk", "emulate", "doctor")


def test_help_needs_neither_aiohttp_nor_the_manager() -> None:
    program = (
        "import sys; from voicepilot.cli.app import run_app; code = run_app(['--help']);"
        "heavy = {'aiohttp', 'rich', 'pydantic_settings', 'voicepilot.runtime.manager', 'openai'} & set(sys.modules);"
        "sys.exit(code or ', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_reads_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(arguments) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("Usage: voicepilot")
    assert "..." not in shown.out.replace("[ARGS]...", ""), "a summary was cut"
    assert max(len(line) for line in shown.out.splitlines()) <= 80


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["--version"]) == 0
    assert capsys.readouterr().out == f"voicepilot {voicepilot.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "No such command 'frobnicate'. See: voicepilot --help"),
        (["emulate", "--prt", "1"], "No such option: --prt (Possible options: --port"),
        (["demo", "--nope"], "No such option: --nope. See: voicepilot demo --help"),  # not the hidden --speed
        (["emulate", "--port", "abc"], "Invalid value for '--port'"),
        (["emulate", "--port", "99999"], "port must be 0 to 65535, not 99999."),
        (["emulate", "--key-life", "0"], "key_life must be more than 0"),
        (["emulate", "--fault", "mint:explode"], "mint has no fault 'explode': use one of"),
        (["emulate", "--script", "/no/such/file"], "cannot read the script /no/such/file"),
        (["emulate", "--certificate", "x.pem"], "certificate and private_key go together"),
        (["demo", "extra"], "unexpected extra argument(s) (extra). See: voicepilot demo --help"),
        (["doctor", "--timeout", "0"], "Invalid value for '--timeout'"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("voicepilot: ")
    assert said in shown.err
    assert shown.err.count("\n") == 1
