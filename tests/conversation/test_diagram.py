from __future__ import annotations

from tests.conversation.diagram import PAGE, with_table


def test_the_page_shows_the_table_as_it_is() -> None:
    page = PAGE.read_text()
    assert page == with_table(page), "docs/conversation-table.md is stale: python -m tests.conversation.diagram"
