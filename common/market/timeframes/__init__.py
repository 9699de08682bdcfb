"""Time as bars see it.

timeframe             `<n><unit>`, and where its bars open
session               when a market trades, as a table
calendars             such tables by name
calendar_exceptions   what a calendar has otherwise on some trading dates
periods               trading days out of minutes, weeks and months out of days
"""
