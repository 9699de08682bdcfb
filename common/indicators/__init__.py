"""Indicators over bars: arrays in, arrays out. One table says what there is, and computes it (docs/indicators.md).

ids         what an id says: RSI_14, VWAP_hlc3_week
table       all kinds of them
kinds       what a kind is: its numbers, bounds, outputs, memory, and what computes it
warmup      how many bars before the first one shown make its value exact
bars        what they are computed of
anchors     since when running sums run
values      the values of one indicator
live        the same of a bar that still grows
engine      TA-Lib, loaded with the first question
windows     sums, highest and lowest of windows, and what is undefined

averages, momentum, trends, ranges, volumes, running    the kinds
"""
