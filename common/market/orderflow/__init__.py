"""Order flow: what the trades of a bar, and its rows, say beyond its candle. One bar, one number at a time.

delta      the running delta of a bar: how low and how high it went, and how parts of a bar are put together
ratios     parts of a whole, in basis points
rows       the grid of rows: where a price belongs, and how high a row is to be
vwap       the mean price by volume, and bands around it
anchors    since when a running sum is counted
viewport   the bucket, or timeframe, that a picture of some width is best drawn with

What is asked of many bars at once is in common.frames.orderflow, over columns. docs/orderflow.md has every formula.
"""
