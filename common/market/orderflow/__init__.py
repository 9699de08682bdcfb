"""Order flow: what the trades of a bar, and its rows, say beyond its candle.

delta   the running delta of a bar: how low and how high it went, and how parts of a bar are put together

What is asked of many bars at once is in common.frames.orderflow, over columns. docs/orderflow.md has every formula.
"""
