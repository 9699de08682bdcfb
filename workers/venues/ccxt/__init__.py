"""Any exchange of ccxt, for all those that have no folder of their own. Needs the extra `ccxt`."""
