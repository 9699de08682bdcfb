"""The fleet on this machine: the store, the Procfile's processes, and what starts and stops them."""
