"""Bulk imports: files to sealed days, by whole columns. A process of its own, which may load Polars."""
