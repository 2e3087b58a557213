"""Doubles for tests: ours and yours."""
