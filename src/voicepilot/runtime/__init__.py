"""The asyncio shell around the lifecycle: it waits, fails and talks so that the core need not."""
