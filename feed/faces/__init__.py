"""Faces: the wire formats of others (UDF, Binance, Polygon, Arrow streams), one file each.

A face translates parameters and answers. What it answers with comes from feed.queries and feed.hub like everything
else, so a bar is the same bar on every face. Each file offers `routes()`, which feed.app adds to its own.
"""
