"""Changing what a symbol is while it is served: its decimals, its ids, its calendar, how long it is kept."""
