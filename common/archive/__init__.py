"""The archive: what is older than the store keeps, as Parquet that any tool opens (docs/archive.md)."""
