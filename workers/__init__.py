"""Symbol workers: trades from a source, through the pure core, into Redis, one commit at a time."""
