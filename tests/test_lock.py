"""The lock pins everything with hashes and names no index."""

from __future__ import annotations

import re
from pathlib import Path

LOCK = (Path(__file__).parent.parent / "requirements" / "dev.txt").read_text()


def test_no_index_and_no_address() -> None:
    assert not re.search(r"https?://|file://|--(extra-)?index-url|--find-links|--trusted-host", LOCK)


def test_every_requirement_is_pinned_and_hashed() -> None:
    logical = LOCK.replace("\\\n", " ").splitlines()
    requirements = [line for line in logical if line.strip() and not line.lstrip().startswith("#")]
    assert len(requirements) > 40
    for line in requirements:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,-]+\])?==\S+", line), line
        assert "--hash=sha256:" in line, line
