"""Bars of any timeframe.

choice       where a timeframe's bars come from: chosen once
source       what every such source answers: read, a page, live, what changed
days         the source of whole days: stored ones, and minutes where those are not up to date
minutes      the source of whole minutes
by_trade     the source of all others: trades
recipe       what is made: candles or footprints
closed       closed bars out of stored minutes
tail         the newest of them, kept as JSON
data         all that is read of one symbol
frames       candles as frames: windows, flags and filling
footprints   bars with what was bought and sold at each price
together     several kinds of bars as of one commit
flow         what order flow is worked out of: candles, rows, what levels add up to, minutes after them
orderflow    bars with their order flow, a row each
indicators   indicators of bars, out of as many before them as they take to be exact
profiles     the levels of periods, or of any span, as one bar with many rows
viewport     candles and their profile, with the rows that suit a picture
live         the bars that grow, from commit messages
changes      which bars changed since a cursor
page         a run of bars as it goes into an answer
"""
