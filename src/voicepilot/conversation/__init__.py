"""A managed realtime connection: a conversation that outlives the connections it runs over."""
