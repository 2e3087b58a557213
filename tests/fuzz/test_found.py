"""What once broke a promise, and what the fuzzer begins with, breaks none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.folders import FOUND, SEEDS
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.usefixtures("bare_place")

INPUTS = [pytest.param(file, id=f"{file.parent.name}/{file.name}") for file in (*FOUND.glob("*/*"), *SEEDS.glob("*/*"))]


@pytest.mark.parametrize("file", INPUTS)
def test_no_promise_is_broken_by_what_is_known(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


def test_every_target_has_something_to_begin_with() -> None:
    assert {folder.name for folder in SEEDS.iterdir() if folder.is_dir()} == set(TARGETS)
    assert {file.stem for file in SEEDS.glob("*.words")} == set(TARGETS)
