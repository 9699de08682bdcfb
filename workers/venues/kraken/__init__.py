"""Kraken spot, by its WebSocket v2; `v1` is what recordings have."""
