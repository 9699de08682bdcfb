"""What can be listened to: one file a channel, and the table of them.

channel    what a channel is: what it takes, and the series it makes of that
candles    bars, as they are without a channel
trades     every trade, in the order in which it was applied
touched    bars of which it is known that a commit touched them: read once more, and told
rows       bars with rows: told as what changed of them
footprint  bars with what was bought and sold at each price
orderflow  bars with what their trades say beyond their candles
book       the levels of a book nearest to its middle, and the best of them
heatmap    cells of time and price: traded_grid and depth_grid, of which all listeners hold the same (held_grid)
table      all of them, by their names
"""
