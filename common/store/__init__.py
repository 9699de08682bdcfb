"""The only code that speaks Redis: keys, clients, scripts, leases, one symbol's writes, everybody's reads."""
