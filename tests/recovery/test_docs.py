from __future__ import annotations

import re

from tests.recovery.cast import DENIED, a_context
from tests.recovery.tables import PAGE, renewed
from tests.support import a_world
from voicepilot import recovery
from voicepilot.recovery import RecoveryExecutor
from voicepilot.recovery.news import News


def test_the_page_shows_the_tables_as_they_are() -> None:
    page = PAGE.read_text()
    assert page == renewed(page), "docs/recovery.md is stale: python -m tests.recovery.tables"


def test_every_kind_of_news_is_described() -> None:
    page = PAGE.read_text()
    assert [kind.__name__ for kind in News.__args__ if f"| `{kind.__name__}` |" not in page] == []


async def test_the_example_runs() -> None:
    (example,) = re.findall(r"^```python[^\n]*\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    shown: list[str] = []
    async with a_world() as world:
        names = {"manager": world.manager, "show": lambda *said: shown.extend(said)}
        exec(compile(example, "docs/recovery.md", "exec"), names)  # noqa: S102 - our own page
        executor = names["executor"]
        assert isinstance(executor, RecoveryExecutor)
        session_id = (await world.manager.start_session()).session_id
        await executor.gave_up(a_context("renew", session_id), DENIED)
        assert shown == [DENIED.message, DENIED.remediation]


def test_every_promised_name_exists() -> None:
    assert [name for name in recovery.__all__ if not hasattr(recovery, name)] == []
    assert recovery.__all__ == sorted(set(recovery.__all__), key=lambda name: (not name.isupper(), name))
