"""The pure core's algebra over whole columns, in Polars. Values in, values out; no Python loop per row."""
