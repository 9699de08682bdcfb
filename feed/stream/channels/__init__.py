"""What can be listened to: one file a channel, and the table of them.

channel    what a channel is: what it takes, and the series it makes of that
candles    bars, as they are without a channel
trades     every trade, in the order in which it was applied
rows       bars that are read again when they have changed: told as what changed of them
footprint  bars with what was bought and sold at each price
orderflow  bars with what their trades say beyond their candles
book       the levels of a book nearest to its middle, and the best of them
table      all of them, by their names
"""
