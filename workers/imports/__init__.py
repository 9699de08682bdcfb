"""Bulk imports: files to sealed days, by whole columns. A process of its own, which may load Polars.

importer     claims the symbol, term by term, until all is written; `work`: what is to do, and what was done
term         from a won claim to the last file
days         batches of trades, in nearly any order, to the minutes of each `day`; `validity`: which trades count;
             `again`: those whose ids were applied before
writer       days written in atomic steps; `joined`: with what the store has; `trades`: and what the archive gets
keeping      which days the store keeps; `reach`: how far back it goes; `below`: days that the archive alone has
tenure       the symbol held while something takes long
files        files in batches of columns; `candles`: files of minutes; `order`: in which order, and where to go on
target       the symbol it writes to
simulated    the past of a simulated market, made and imported before a worker first claims it
"""
