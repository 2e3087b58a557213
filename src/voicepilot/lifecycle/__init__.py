"""The life of a session as a pure function over a table: no waiting, no clock, no chance, no I/O."""
