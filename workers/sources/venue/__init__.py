"""A venue as a source.

source      its live trades at once, and behind them what is missing
backfill    that, newest hole first, page by page
checks      the newest closed minute against the venue's own candle
book        its order book, kept in step and recorded
relisting   a market that the venue lists otherwise from now on
"""
