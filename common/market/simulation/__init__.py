"""A market that is made up: good for load, charts and tests of the path, worth nothing as a model of any market.

book     its order book, and what that was at every update still kept
makers   who keep orders in it around a price, and make it agree with trades
chance   what is drawn, from what is handed in
pace     how often it trades, how far its price moves, how large its trades are
walls    large orders that come, are pulled before they are met or stand to be eaten, and those that hide their size
"""
