"""What is asked, and the answer to it.

queries   candles, the growing bar, footprints, and the caches they share
trades    time and sales
books     the current book and the quote
market    whether a market is open
fleet     all symbols with their health, and what the store says of itself
"""
