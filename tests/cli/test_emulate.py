"""`voicepilot emulate` as other projects have it: with any fault, and from a bare install."""

from __future__ import annotations

import importlib.metadata
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from voicepilot.emulator.faults import KINDS

pytestmark = pytest.mark.sockets

FROM_A_BARE_INSTALL = """
import sys
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(",")))  # what is None here cannot be imported
from voicepilot.cli.app import main
main()
"""


@contextmanager
def emulating(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    command = [sys.executable, "-c", FROM_A_BARE_INSTALL, ",".join(sorted(not_ours())), "emulate", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, *options], text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, json.loads(line)
        finally:
            process.kill()


def not_ours() -> set[str]:
    """The modules of everything installed that a bare install does not bring."""
    bare, homes = {"voicepilot-sessions"}, importlib.metadata.packages_distributions()
    while more := {name for each in bare for name in needed_by(each)} - bare:
        bare |= more
    others = {module for module, owners in homes.items() if bare.isdisjoint(map(normal, owners))}
    return {module for module in others if module.isidentifier()} - {"coverage"}  # which measures this very process


def needed_by(distribution: str) -> set[str]:
    try:
        requirements = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:  # for another system or Python
        return set()
    return {normal(re.split(r"[^\w.-]", line)[0]) for line in requirements if "extra ==" not in line}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def asked(url: str, **body: Any) -> Any:
    headers = {"Authorization": "Bearer sk-test-0123456789"}
    data = json.dumps(body).encode() if body else None
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(url, data, headers)) as response:  # noqa: S310 - loopback
        return json.load(response)


def test_it_runs_from_a_bare_install() -> None:
    assert {"openai", "pytest", "hypothesis", "trustme", "azure", "keyring", "watchfiles"} <= not_ours()
    with emulating() as (process, ready):
        key = asked(f"{ready['base_url']}/realtime/client_secrets", session={"type": "realtime"})["value"]
        record = json.dumps(asked(f"{ready['azure_endpoint']}/_emulator/record"))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert '"kind": "mint"' in record
    assert key not in record


def test_every_fault_can_be_commanded() -> None:
    every = {(place, kind) for place, kinds in KINDS.items() for kind in kinds if place != "live"}
    options = [f"--fault={place}:{'503' if kind == 'status' else kind}" for place, kind in sorted(every)]
    with emulating(*options) as (_, ready):
        pending = asked(f"{ready['azure_endpoint']}/_emulator/faults")["faults"]
        assert {(fault["place"], fault["kind"]) for fault in pending} == every
        told = asked(f"{ready['azure_endpoint']}/_emulator/faults", fault="mint:429:count=2,retry_after=3")
    assert told == {"place": "mint", "kind": "status", "count": 2, "status": 429, "retry_after": 3.0}
