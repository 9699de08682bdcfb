"""The clock: the one process that asks what is due and enqueues it (docs/queue.md)."""
