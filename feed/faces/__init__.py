"""Other products' wire formats. Each translates names and parameters, asks a query, and writes the answer its own way.

multi_timeframe     several timeframes of a symbol in one call: `/api/multi-timeframe/...`
"""
