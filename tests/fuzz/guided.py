"""Fuzzes one target, guided by coverage: `python -m tests.fuzz.guided NAME SECONDS`. Started by `python -m tests.fuzz`.

atheris has to see our modules being imported, so that it can count which branches an input takes.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # only `make fuzz` installs it
from tests.fuzz.folders import FOUND, SEEDS, folder_of

LONGEST = 4_096  # bytes of an input
STUCK = 10  # seconds after which an input counts as a hang
MOST_MEMORY = 2_048  # megabytes

with atheris.instrument_imports(include=["voicepilot", "tests.fuzz"]):
    from tests.fuzz.targets import TARGETS


def main(name: str, seconds: str) -> None:
    """Fuzz until the time is over. Of the inputs that break a promise, one for each place is kept as `broken-…`."""
    folder = folder_of(name)
    corpus, dictionary = folder / "corpus", folder / "words"
    corpus.mkdir(parents=True, exist_ok=True)
    words = (SEEDS / f"{name}.words").read_text(encoding="utf-8").splitlines()
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words), encoding="utf-8")
    places = [corpus, SEEDS / name, *([FOUND / name] if (FOUND / name).is_dir() else [])]
    options = {
        "dict": dictionary,
        "artifact_prefix": f"{folder}/",
        "max_total_time": seconds,
        "max_len": LONGEST,
        "timeout": STUCK,
        "rss_limit_mb": MOST_MEMORY,
        "print_final_stats": 1,
    }
    arguments = [name, *map(str, places), *(f"-{option}={value}" for option, value in options.items())]
    atheris.Setup(arguments, _keeping(TARGETS[name], folder))
    atheris.Fuzz()


def _keeping(promise: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """Goes on after a failure, so that what is easily broken does not hide what is not."""
    for old in folder.glob("broken-*"):
        old.unlink()

    def attempt(data: bytes) -> None:
        try:
            promise(data)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            kept = folder / f"broken-{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
            if not kept.exists() or kept.stat().st_size > len(data):
                traceback.print_exc()
                kept.write_bytes(data)

    return attempt


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"')


if __name__ == "__main__":
    main(*sys.argv[1:])
