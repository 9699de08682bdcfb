"""Speed and memory, measured: every figure the project claims is a row here. Never a test: machines are noisy."""
