"""The order book of one market.

book       levels, and staying in step with the venue
recorder   its history as runs: what stood at which price, from when to when
chunk      one minute of that history, and its packed form
"""
