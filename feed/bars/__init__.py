"""Bars of any timeframe.

minutes      made of whole minutes, as stored
days         made of stored days, and of minutes where those are not up to date
by_trade     made of trades: seconds, and whatever is not made of whole minutes
frames       windows, flags and filling, for the forms and timeframes that no tail serves
footprints   bars with what was bought and sold at each price
tail         the newest closed bars, kept as JSON
live         the bars that grow, from commit messages
changes      what changed since a cursor
page         a run of bars as it goes into an answer
"""
