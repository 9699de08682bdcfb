"""Questions, and the answers to them: a file for each. What one takes and what answers it is its ENDPOINT.

endpoint        what an endpoint is, and how one is asked
parameters      those that several of them take
queries         the caches they share, and one symbol as a question is asked about it
fleet           all symbols, and what the store and its queue say of themselves

validator       whether what was answered of a closed range is still so
stated_pages    pages that are kept for as long as nothing is written
joined_trades   trades joined to orders
flow_parameters those of rows, and by what rules these are looked at

candles, current, footprint, orderflow, indicators, profile, trades, book, quote, heatmap, viewport, gaps, market,
symbol_health                                                                                about one symbol
symbols, health, indicator_list                                                              about all of them
"""
