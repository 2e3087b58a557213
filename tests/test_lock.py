"""The locks pin everything with hashes and name no index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LOCKS = {file.stem: file.read_text() for file in (Path(__file__).parent.parent / "requirements").glob("*.txt")}
every_lock = pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)


def test_there_are_locks_for_developers_and_for_what_they_seldom_run() -> None:
    assert set(LOCKS) == {"dev", "fuzz", "mutate"}


@every_lock
def test_no_index_and_no_address(lock: str) -> None:
    assert not re.search(r"https?://|file://|--(extra-)?index-url|--find-links|--trusted-host", lock)


@every_lock
def test_every_requirement_is_pinned_and_hashed(lock: str) -> None:
    logical = lock.replace("\\\n", " ").splitlines()
    requirements = [line for line in logical if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    for line in requirements:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,-]+\])?==\S+", line), line
        assert "--hash=sha256:" in line, line
